"""Connections of an admin address: each ends in its time, there are so many, and those who wait for news are served."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from admin_server import AdminServer
from fake_agent import FakeAgent, shop
from msgspec.structs import replace
from waiting import eventually

from proxy.admin.plan import MOST_PLANS

HEAD = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
WHOLE = HEAD + b"\r\n"
WATCH = b"GET /v1/watch HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE = 16_000_000  # more than the kernel's buffers take
LATE = 20.0  # only a failing test waits as long


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as each:
        yield each


def start(stack: ExitStack, agent: FakeAgent, **limits: object) -> AdminServer:
    return stack.enter_context(AdminServer(agent, **limits))  # type: ignore[arg-type]


def connect(stack: ExitStack, server: AdminServer) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    return stack.enter_context(socket.create_connection((host, int(port)), timeout=LATE))


def rest_of(client: socket.socket) -> bytes:
    """All until the server ends the connection."""
    received = b""
    try:
        while piece := client.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def answer_of(client: socket.socket) -> bytes:
    client.sendall(WHOLE)
    return client.recv(65536)


def test_a_head_that_comes_byte_by_byte_ends_in_its_time(stack: ExitStack, agent: FakeAgent) -> None:
    server = start(stack, agent, request_timeout=0.2)
    silent, slow = connect(stack, server), connect(stack, server)
    slow.sendall(HEAD)
    for _ in range(100):
        try:
            slow.sendall(b"X: y\r\n")
        except OSError:
            break
        slow.settimeout(0.02)
        try:
            received = slow.recv(65536)
            break
        except TimeoutError:
            continue
        except OSError:
            received = b""
            break
    else:
        raise AssertionError("it goes on for ever")
    assert b" 408 " in received or received == b""
    assert b" 408 " in rest_of(silent)
    assert agent.admin.timed_out == 2
    assert server.get("/livez").status == 200


def test_a_further_head_has_a_time_of_its_own(stack: ExitStack, agent: FakeAgent) -> None:
    server = start(stack, agent, request_timeout=0.2, idle_timeout=LATE)
    client = connect(stack, server)
    assert b" 200 " in answer_of(client)
    client.sendall(HEAD)
    assert b" 408 " in rest_of(client)


def test_a_body_that_does_not_come_ends_in_its_time(stack: ExitStack, agent: FakeAgent) -> None:
    server = start(stack, agent, request_timeout=0.2)
    client = connect(stack, server)
    client.sendall(b"PUT /v1/services/api/domain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    assert rest_of(client) == b""
    assert agent.admin.timed_out == 1


def test_idle_connections_end(stack: ExitStack, agent: FakeAgent) -> None:
    server = start(stack, agent, idle_timeout=0.2)
    client = connect(stack, server)
    assert b" 200 " in answer_of(client)
    assert rest_of(client) == b""
    eventually(lambda: agent.admin.open == 0, "none is open")


def test_who_waits_for_news_or_streams_is_not_late(stack: ExitStack, agent: FakeAgent) -> None:
    server = start(stack, agent, request_timeout=0.1, idle_timeout=0.1)
    watching = connect(stack, server)
    watching.sendall(WATCH)
    assert b"event: hello" in watching.recv(65536) + watching.recv(65536)
    asking = connect(stack, server)
    asking.sendall(b"GET /v1/services?index=7&wait=700ms HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b" 200 " in asking.recv(65536)
    watching.setblocking(False)
    with pytest.raises(BlockingIOError):
        watching.recv(1)


def test_who_takes_nothing_of_an_answer_is_ended(stack: ExitStack) -> None:
    config = shop()
    metadata = {"large": "x" * LARGE}
    services = tuple(replace(service, metadata=metadata) for service in config.snapshot.services)
    agent = FakeAgent(replace(config, snapshot=replace(config.snapshot, services=services)))
    server = start(stack, agent, write_timeout=0.2, idle_timeout=LATE)
    client = connect(stack, server)
    client.sendall(b"GET /v1/config HTTP/1.1\r\nHost: localhost\r\n\r\n")
    eventually(lambda: agent.admin.timed_out == 1 and agent.admin.open == 0, "it is ended")
    assert len(rest_of(client)) < LARGE
    assert server.get("/livez").status == 200


def test_one_more_ends_the_one_that_has_been_at_rest_for_longest(stack: ExitStack, agent: FakeAgent) -> None:
    server = start(stack, agent, max_connections=3)
    held = [connect(stack, server) for _ in range(3)]
    for client in held:
        assert b" 200 " in answer_of(client)
    assert b" 200 " in answer_of(held[0])
    assert b" 200 " in answer_of(connect(stack, server))
    assert rest_of(held[1]) == b""
    assert b" 200 " in answer_of(held[2]) and b" 200 " in answer_of(held[0])
    assert agent.admin.refused == 1


def test_heads_that_are_not_finished_keep_nobody_out(stack: ExitStack, agent: FakeAgent) -> None:
    server = start(stack, agent, max_connections=20)
    for _ in range(100):
        connect(stack, server).sendall(HEAD)
    for _ in range(10):
        assert server.get("/livez").status == 200
    assert agent.admin.open <= 20
    assert agent.admin.refused >= 81


def test_one_more_than_all_that_are_busy_is_told_so(stack: ExitStack, agent: FakeAgent) -> None:
    server = start(stack, agent, max_connections=2)
    watching = [connect(stack, server) for _ in range(2)]
    for client in watching:
        client.sendall(WATCH)
        assert b" 200 " in client.recv(65536)
    assert b" 503 " in rest_of(connect(stack, server))
    watching[0].close()
    eventually(lambda: agent.admin.open == 1, "one has left")
    assert server.get("/livez").status == 200


def test_the_metrics_address_has_the_same_limits_and_both_are_counted(stack: ExitStack, agent: FakeAgent) -> None:
    server = start(stack, agent, only_metrics=True, request_timeout=0.2)
    assert b" 408 " in rest_of(connect(stack, server))
    text = server.get("/metrics").body.decode()
    assert 'hivemesh_admin_connections_ended_total{reason="timeout"} 1.0' in text
    assert "hivemesh_admin_connections_active 1.0" in text


def test_readers_that_wait_are_so_many(stack: ExitStack, agent: FakeAgent) -> None:
    server = start(stack, agent, max_waiting=1)
    watching = connect(stack, server)
    watching.sendall(WATCH)
    assert b" 200 " in watching.recv(65536)
    reply = server.get("/v1/watch")
    assert reply.status == 429 and "admin.max_waiting" in reply.json["detail"]


def test_plans_are_so_many_at_a_time(stack: ExitStack, agent: FakeAgent) -> None:
    """A body that is still to come holds its place, and for no longer than the request may take."""
    server = start(stack, agent, request_timeout=0.5)
    slow = [connect(stack, server) for _ in range(MOST_PLANS)]
    for client in slow:
        client.sendall(b"POST /v1/plan HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    eventually(lambda: server.post("/v1/plan").status == 429, "all places are taken")
    assert "2 plans" in server.post("/v1/plan").json["detail"]
    for client in slow:
        assert rest_of(client) == b""
    eventually(lambda: server.post("/v1/plan").status == 422, "there is room again")
