"""Requests that wait for a connection: they keep their place and their deadline, and none is forgotten."""

from __future__ import annotations

import resource
import time
from typing import Any

from instance import Instance
from raw_client import RawClient
from raw_origin import EMPTY, RawOrigin
from waiting import eventually

ONE_CONNECTION = {"pool": {"max_connections": 1}}

# So many that a call within a call for each of them would not fit on this stack (bytes). The usual stack is eight times
# as large, and would take that many more clients.
CROWD = 4000
SMALL_STACK = 1024 * 1024


def wait_behind(proxy: Instance, *targets: str) -> list[RawClient]:
    """A client per target, each certainly in the queue before the next one asks."""
    clients = []
    already = proxy.waiting()
    for count, target in enumerate(targets, start=already + 1):
        client = proxy.client()
        client.ask(target=target)
        clients.append(client)
        eventually(lambda count=count: proxy.waiting() == count, f"{count} requests wait")
    return clients


def test_requests_are_served_in_the_order_in_which_they_came(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, app=ONE_CONNECTION)
    client = proxy.client()
    client.ask(target="/0")
    upstream = origin.accept()
    upstream.request()
    clients = wait_behind(proxy, "/1", "/2", "/3")
    upstream.send(EMPTY)
    assert [upstream.answer(EMPTY).target for _ in clients] == ["/1", "/2", "/3"]
    assert [waiting.response().status for waiting in (client, *clients)] == [200] * 4
    assert proxy.waiting() == 0


def test_requests_keep_their_places_when_one_before_them_leaves(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, app=ONE_CONNECTION)
    proxy.client().ask(target="/0")
    upstream = origin.accept()
    upstream.request()
    clients = wait_behind(proxy, "/1", "/2", "/3", "/4")
    clients[0].close()
    proxy.logged(path="/1", status=499)
    upstream.send(EMPTY)
    assert [upstream.answer(EMPTY).target for _ in clients[1:]] == ["/2", "/3", "/4"]


def test_nobody_waits_longer_because_others_gave_up(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, app=ONE_CONNECTION, timeouts={"connect": "400ms"})
    proxy.client().ask(target="/0")
    origin.accept().request()
    targets = [f"/{number}" for number in range(1, 7)]
    clients = []
    for target in targets:
        clients += wait_behind(proxy, target)
        assert not clients[-1].is_ended_by_peer(0.06)  # their deadlines are not the same
    assert [client.response().status for client in clients] == [503] * len(clients)
    entries = [proxy.logged(path=target) for target in targets]
    assert [entry["flags"] for entry in entries] == ["UO"] * len(entries)
    longest = max(entry["duration_ms"] for entry in entries)
    assert 350 <= longest < 700, f"the longest wait was {longest} ms"


def test_timeout_of_the_route_goes_on_while_a_request_waits(hive, origin: RawOrigin) -> None:
    routes = [{"name": "quick", "service": "app", "timeout": "300ms"}]
    proxy = hive(origin, app=ONE_CONNECTION, routes=routes, timeouts={"connect": "10s"})
    busy = proxy.client()
    busy.ask(target="/0")
    origin.accept().request()
    (client,) = wait_behind(proxy, "/1")
    assert client.response().status == 503
    assert 250 <= proxy.logged(path="/1")["duration_ms"] < 600


def test_thousands_that_wait_are_all_answered_when_their_endpoints_are_removed(hive, origin: RawOrigin) -> None:
    pool: dict[str, Any] = {"max_connections": 1, "max_pending": CROWD}
    proxy = hive(
        origin,
        app={"pool": pool},
        program=True,  # a stack that overflows takes its process with it
        timeouts={"connect": "60s"},
        limits={"connections": CROWD + 100},
    )
    for pid in proxy.program.children():
        _, hard = resource.prlimit(pid, resource.RLIMIT_STACK)
        resource.prlimit(pid, resource.RLIMIT_STACK, (SMALL_STACK, hard))
    busy = proxy.client()
    busy.ask(target="/busy")
    upstream = origin.accept()
    upstream.request()
    crowd = [proxy.client() for _ in range(CROWD)]
    for client in crowd:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    eventually(lambda: proxy.waiting() == CROWD, f"{CROWD} requests wait")

    proxy.config["services"]["app"]["endpoints"] = []
    proxy.reload()
    upstream.send(EMPTY)
    assert busy.response().status == 200
    deadline = time.monotonic() + 10
    for client in crowd:
        client.socket.settimeout(max(0.1, deadline - time.monotonic()))
        assert client.read_until(b"\r\n").startswith(b"HTTP/1.1 503 ")
    assert proxy.client().get().status == 503  # and the worker is well
