"""A reactor that must end with nothing open, and streams on it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from streams import Pair, make_pair
from turning import Turning, open_descriptors

from proxy.kernel.netio import Reactor


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    """A reactor that must end with nothing open, nothing counted, and no bug but those a test took out of `bugs`."""
    before = open_descriptors()
    reactor = Reactor()
    bugs: list[BaseException] = []
    reactor.on_bug = lambda stream, bug: bugs.append(bug)
    yield reactor
    reactor.close()
    assert reactor.all_streams() == []
    assert reactor.open_streams == 0
    assert not bugs
    own = reactor.fileno()
    reactor.on_bug = None
    gc.collect()
    assert {entry for entry in open_descriptors() - before if not entry.startswith(f"{own} ")} == set()


@pytest.fixture
def turning(reactor: Reactor) -> Turning:
    return Turning(reactor)


@pytest.fixture
def pair(reactor: Reactor) -> Iterator[Pair]:
    """A stream of ours and a blocking socket for the other side."""
    yield from make_pair(reactor)
