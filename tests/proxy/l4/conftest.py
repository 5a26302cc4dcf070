"""What the playbooks of TCP connections start from."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from tcp_playbook import Origin


@pytest.fixture
def make_origin() -> Iterator[Callable[[], Origin]]:
    made: list[Origin] = []

    def make() -> Origin:
        made.append(Origin())
        return made[-1]

    yield make
    for origin in made:
        origin.close()


@pytest.fixture
def origin(make_origin: Callable[[], Origin]) -> Origin:
    return make_origin()


@pytest.fixture
def other(make_origin: Callable[[], Origin]) -> Origin:
    return make_origin()


@pytest.fixture
def full_backlog() -> Iterator[Callable[[], str]]:
    """Makes a socket whose backlog is full, so that connecting to it takes for ever; its address."""
    sockets: list[socket.socket] = []

    def make() -> str:
        listening = socket.create_server(("127.0.0.1", 0), backlog=0)
        sockets.append(listening)
        for _ in range(2):
            sockets.append(socket.socket())
            sockets[-1].setblocking(False)
            sockets[-1].connect_ex(listening.getsockname())
        return f"127.0.0.1:{listening.getsockname()[1]}"

    yield make
    for each in sockets:
        each.close()
