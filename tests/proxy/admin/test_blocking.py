"""Readers that wait: blocking queries and the stream of changes, against the real server."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import pytest
from admin_server import AdminServer
from fake_agent import FakeAgent

from discovery.changes import HealthReport
from discovery.model import EndpointState
from discovery.registry import Applied
from proxy.admin import watch
from proxy.admin.blocking import DEFAULT_WAIT, MAX_WAIT, Query, Waiting
from proxy.admin.durations import parse_go_duration
from proxy.admin.problems import Refusal

DEADLINE = 20.0
ENDPOINT = "/v1/services/cart/endpoints/c1"
Scenario = Callable[[aiohttp.ClientSession], Awaitable[None]]


@pytest.fixture
def server() -> Iterator[AdminServer]:
    with AdminServer(FakeAgent()) as running:
        yield running


def carry_out(server: AdminServer, scenario: Scenario) -> None:
    async def with_deadline() -> None:
        async with asyncio.timeout(DEADLINE), aiohttp.ClientSession(server.url) as session:
            await scenario(session)

    asyncio.run(with_deadline())


def register(server: AdminServer, port: int = 1) -> int:
    index: int = server.put(ENDPOINT, {"address": f"127.0.0.1:{port}"}).json["index"]
    return index


async def waiting(server: AdminServer, count: int = 1) -> None:
    """Until so many futures wait at the catalog."""
    catalog = server.agent.catalog
    while sum(len(futures) for futures in catalog._waiting.values()) < count:
        await asyncio.sleep(0.001)


# --- blocking queries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/v1/services/cart", "/v1/services/cart/endpoints", "/v1/health/service/cart", "/v1/catalog/services"]
)
def test_a_reader_waits_for_something_newer(server: AdminServer, path: str) -> None:
    first = server.get(path)
    index = first.headers["X-Hivemesh-Index"]

    async def scenario(session: aiohttp.ClientSession) -> None:
        query = asyncio.create_task(_get(session, f"{path}?index={index}&wait=10s"))
        await waiting(server)
        assert not query.done()
        changed = await asyncio.to_thread(register, server)
        status, headers, body = await query
        assert status == 200
        assert int(headers["X-Consul-Index"]) == changed
        assert "127.0.0.1" in body or "cart" in body

    carry_out(server, scenario)


async def _get(session: aiohttp.ClientSession, path: str) -> tuple[int, Any, str]:
    async with session.get(path) as response:
        return response.status, response.headers, await response.text()


def test_changes_of_others_wake_nobody(server: AdminServer) -> None:
    index = server.get("/v1/services/api/endpoints").headers["X-Hivemesh-Index"]
    register(server)

    async def scenario(session: aiohttp.ClientSession) -> None:
        path = f"/v1/services/api/endpoints?index={index}&wait=300ms"
        started = asyncio.get_running_loop().time()
        _, headers, _ = await _get(session, path)
        assert headers["X-Hivemesh-Index"] == index
        assert asyncio.get_running_loop().time() - started >= 0.3

    carry_out(server, scenario)


def test_an_index_from_before_a_restart_is_answered_at_once(server: AdminServer) -> None:
    assert server.get("/v1/services/api?index=999999&wait=10m").headers["X-Hivemesh-Index"] == "7"


@pytest.mark.parametrize("query", ["index=x", "index=-1", "wait=5", "wait=soon", "index=1&index=2"])
def test_a_wait_that_makes_no_sense_is_refused(server: AdminServer, query: str) -> None:
    reply = server.get(f"/v1/services/api?{query}")
    assert (reply.status, reply.json["field"]) == (422, query.partition("=")[0])


def test_a_reader_that_leaves_waits_no_more(server: AdminServer) -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        query = asyncio.create_task(_get(session, "/v1/services/api?index=7&wait=10m"))
        await waiting(server)
        query.cancel()
        while server.agent.catalog._waiting:
            await asyncio.sleep(0.001)

    carry_out(server, scenario)


def test_readers_are_answered_when_the_server_leaves() -> None:
    async def scenario(session: aiohttp.ClientSession) -> None:
        query = asyncio.create_task(_get(session, "/v1/services/api?index=7&wait=10m"))
        await waiting(server)
        assert server._server is not None
        stopping = server._server.stop_accepting()
        await asyncio.to_thread(server.run, stopping)
        status, headers, _ = await query
        assert (status, headers["X-Hivemesh-Index"]) == (200, "7")

    with AdminServer(FakeAgent()) as server:
        carry_out(server, scenario)


def test_how_long_is_waited() -> None:
    assert Query.of({}) == Query(0, DEFAULT_WAIT)
    assert Query.of({"index": "4", "wait": "1m30s"}) == Query(4, 90.0)
    assert Query.of({"wait": "2h"}).wait == MAX_WAIT
    assert Query.of({"wait": "0s"}).wait == DEFAULT_WAIT
    assert [Query(1, 160.0).seconds(share) for share in (0.0, 0.5, 1.0)] == [160.0, 165.0, 170.0]


def test_places_to_wait_are_limited() -> None:
    waiting = Waiting(1, random.Random(1))
    with waiting.place():
        with pytest.raises(Refusal, match="1 readers are waiting") as refused:
            waiting.place()
        assert refused.value.status == 429
    with waiting.place():
        pass


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10.0), ("1h15m", 4500.0), ("1.5s", 1.5), ("300ms", 0.3), ("2us", 2e-6), (".5m", 30.0), ("0", 0.0)],
)
def test_durations_of_go(text: str, seconds: float) -> None:
    assert parse_go_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "1x", "-1s", "1s ", "9000h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_go_duration(text)


# --- the stream of changes --------------------------------------------------------------------------------------------


class Stream:
    """Events as they come."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def event(self) -> tuple[str, Any]:
        """Name and data of the next one."""
        fields: dict[str, str] = {}
        async for line in self.response.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "event" in fields:
                data = json.loads(fields["data"])
                assert fields["id"] == str(data["index"])
                return fields["event"], data
            else:
                fields = {}
        raise EOFError


def watched(server: AdminServer, path: str, seen: str, scenario: Callable[[Stream], Awaitable[None]]) -> None:
    async def connect(session: aiohttp.ClientSession) -> None:
        headers = {"Last-Event-ID": seen} if seen else {}
        async with session.get(path, headers=headers) as response:
            assert response.headers["Content-Type"] == "text/event-stream"
            assert response.headers["Cache-Control"] == "no-store"
            await scenario(Stream(response))

    carry_out(server, connect)


def test_every_change_is_an_event(server: AdminServer) -> None:
    async def scenario(stream: Stream) -> None:
        assert await stream.event() == ("hello", {"index": 7})
        first = await asyncio.to_thread(register, server, 1)
        second = await asyncio.to_thread(register, server, 2)
        assert await stream.event() == ("change", {"index": first, "services": ["cart"]})
        assert await stream.event() == ("change", {"index": second, "services": ["cart"]})

    watched(server, "/v1/watch", "", scenario)


def test_one_service_alone_can_be_watched(server: AdminServer) -> None:
    async def scenario(stream: Stream) -> None:
        await stream.event()
        await asyncio.to_thread(register, server)
        reply = await asyncio.to_thread(server.post, "/v1/services/api/endpoints/api-1/drain")
        assert await stream.event() == ("change", {"index": reply.json["index"], "services": ["api"]})

    watched(server, "/v1/watch?service=api", "", scenario)


def test_who_comes_again_gets_what_was_missed(server: AdminServer) -> None:
    changes = [register(server, port) for port in (1, 2, 3)]

    async def scenario(stream: Stream) -> None:
        assert await stream.event() == ("hello", {"index": changes[-1]})
        assert [(await stream.event())[1]["index"] for _ in range(2)] == changes[1:]

    watched(server, "/v1/watch", str(changes[0]), scenario)


@pytest.mark.parametrize("seen", ["3", "99999"])
def test_who_missed_more_than_is_known_begins_anew(server: AdminServer, seen: str) -> None:
    async def scenario(stream: Stream) -> None:
        assert [(await stream.event())[0] for _ in range(2)] == ["hello", "reset"]

    watched(server, "/v1/watch", seen, scenario)


def test_silence_is_filled_with_comments(server: AdminServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "KEEP_ALIVE", 0.05)

    async def scenario(stream: Stream) -> None:
        await stream.event()
        assert await stream.response.content.readline() == b": keep-alive\n"

    watched(server, "/v1/watch", "", scenario)


def test_a_stream_ends_when_the_server_leaves() -> None:
    async def scenario(stream: Stream) -> None:
        await stream.event()
        assert server._server is not None
        await asyncio.to_thread(server.run, server._server.stop_accepting())
        with pytest.raises(EOFError):
            await stream.event()

    with AdminServer(FakeAgent()) as server:
        watched(server, "/v1/watch", "", scenario)


def test_a_stream_that_falls_behind_is_ended(server: AdminServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MAX_BEHIND", 3)

    async def many_at_once() -> None:
        for number in range(5):
            state = EndpointState.HEALTHY if number % 2 else EndpointState.UNHEALTHY
            server.agent.catalog.report(
                HealthReport(service="cart", id="c1", address="127.0.0.1:1", state=state, reason=str(number))
            )

    check = {"protocol": "ttl", "ttl": "1h"}
    server.put(ENDPOINT, {"address": "127.0.0.1:1", "health_check": check})

    async def scenario(stream: Stream) -> None:
        await stream.event()
        await asyncio.to_thread(server.run, many_at_once())
        with pytest.raises(EOFError):
            while True:
                await stream.event()

    watched(server, "/v1/watch", "", scenario)


def applied(index: int, *services: str, changed: bool = True) -> Applied:
    return Applied(index=index, services=frozenset(services), changed=changed)


def test_a_reader_that_is_too_slow_is_let_go() -> None:
    feed = watch.Feed(0)
    with feed.reader("") as slow, feed.reader("b") as other:
        for index in range(1, watch.MAX_BEHIND + 2):
            feed.applied(applied(index, "a"))
        assert (slow.is_late, len(slow.waiting)) == (True, 0)
        assert (other.is_late, len(other.waiting)) == (False, 0)


def test_the_feed_remembers_the_latest_changes_only() -> None:
    feed = watch.Feed(10)
    assert feed.missed(10, 10) == []
    assert feed.missed(9, 10) is None
    for index in range(11, 11 + watch.REMEMBERED + 5):
        feed.applied(applied(index, "a"))
    last = 10 + watch.REMEMBERED + 5
    missed = feed.missed(last - watch.REMEMBERED, last)
    assert missed is not None
    assert [change.index for change in missed] == list(range(last - watch.REMEMBERED + 1, last + 1))
    assert feed.missed(last - watch.REMEMBERED - 1, last) is None
    feed.applied(applied(last, changed=False))
    assert feed.missed(last, last) == []


def test_nothing_is_left_behind_by_a_server_that_closed() -> None:
    agent = FakeAgent()
    before = len(agent.catalog._subscribers)
    with AdminServer(agent):
        assert len(agent.catalog._subscribers) > before
    assert len(agent.catalog._subscribers) == before
