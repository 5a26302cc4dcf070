"""Fixtures of the end-to-end tests: `hive` starts a real hivemesh, `origin` is a scripted server behind it.

def test_a_request_reaches_the_origin(hive, origin):
    client = hive(origin).client()
    client.ask(target="/x")
    ...
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from instance import EndpointLike, Instance
from raw_origin import RawOrigin

Hive = Callable[..., Instance]


@pytest.fixture
def hive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hive]:
    """Call it with origins and settings (see tests/support/instance.py); it may be called more than once."""
    started: list[Instance] = []

    def start(*origins: EndpointLike, **settings: Any) -> Instance:
        directory: Path = tmp_path_factory.mktemp("hive")
        instance = Instance(directory, *origins, **settings)
        started.append(instance)
        return instance

    yield start
    for instance in started:
        instance.close()


@pytest.fixture
def origin() -> Iterator[RawOrigin]:
    with RawOrigin() as raw:
        yield raw


@pytest.fixture
def second_origin() -> Iterator[RawOrigin]:
    with RawOrigin() as raw:
        yield raw


@pytest.fixture
def refused_address() -> Iterator[str]:
    """An address where every connection is refused: bound, so nobody else takes it, and not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def silent_address() -> Iterator[str]:
    """An address where connecting neither succeeds nor fails: the accept queue of its listener is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex(listener.getsockname())
            waiting.append(connection)
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        for connection in waiting:
            connection.close()
