"""GET /v1/tap over a fake agent: what is asked for, what comes, how it ends."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from admin_server import DEADLINE, AdminServer
from fake_agent import FakeAgent
from waiting import eventually

from mesh.capture import ALWAYS, read_capture
from mesh.record import Record
from proxy.admin import tap
from proxy.control.messages import Seen, Tap


@pytest.fixture
def server() -> Iterator[AdminServer]:
    with AdminServer(FakeAgent()) as running:
        yield running


class Stream:
    def __init__(self, server: AdminServer, query: str = "", headers: dict[str, str] | None = None) -> None:
        self.server = server
        self._connection = http.client.HTTPConnection(server.address, timeout=DEADLINE)
        self._connection.request("GET", f"/v1/tap?{query}", headers=headers or {})
        self.response = self._connection.getresponse()

    def line(self) -> Any:
        """None when it has ended."""
        text = self.response.readline()
        return json.loads(text) if text else None

    def show(self, *records: Record, lost: int = 0) -> None:
        """As workers do."""

        async def show() -> None:
            for _, seen in self.server.agent.taps:
                seen(Seen(number=1, records=records, lost=lost))

        self.server.run(show())

    def close(self) -> None:
        self.response.close()
        self._connection.close()


@contextmanager
def tapping(server: AdminServer, query: str = "", **headers: str) -> Iterator[Stream]:
    stream = Stream(server, query, headers)
    try:
        yield stream
    finally:
        stream.close()
    eventually(lambda: not server.agent.taps, "the tap has ended")


def test_records_are_lines_as_they_come(server: AdminServer) -> None:
    with tapping(server) as stream:
        assert stream.response.status == 200
        assert stream.response.headers["Content-Type"] == "application/x-ndjson"
        assert stream.line() == {"lost": 0}  # it has begun
        assert server.agent.taps[0][0] == Tap(number=1)
        stream.show(Record(path="/a", status=200))
        assert stream.line() == {"path": "/a", "status": 200}
        stream.show(Record(path="/b"), Record(path="/c"), lost=3)
        assert [stream.line() for _ in range(3)] == [{"path": "/b"}, {"path": "/c"}, {"lost": 3}]


def test_what_is_asked_for_reaches_the_workers(server: AdminServer) -> None:
    query = urlencode({"filter": "status >= 500", "rate": "7", "open": "true"}) + "&header=X-A&header=*"
    with tapping(server, query):
        wanted = server.agent.taps[0][0]
    assert wanted == Tap(number=1, filter="status >= 500", headers=("x-a", "*"), is_open=True, most=7)


def test_it_ends_when_there_are_enough(server: AdminServer) -> None:
    with tapping(server, "count=2") as stream:
        stream.line()
        stream.show(Record(path="/1"))
        assert stream.line() == {"path": "/1"}
        stream.show(Record(path="/2"), Record(path="/3"))
        assert stream.line() == {"path": "/2"}
        assert stream.line() is None


def test_it_ends_when_the_server_leaves(server: AdminServer) -> None:
    with tapping(server) as stream:
        stream.line()
        assert server._server is not None
        server.run(server._server.stop_accepting())
        assert stream.line() is None


def test_a_stream_lives_though_nothing_happens(server: AdminServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "KEEP_ALIVE", 0.01)
    with tapping(server) as stream:
        assert [stream.line() for _ in range(3)] == [{"lost": 0}] * 3


def test_a_reader_that_takes_nothing_is_let_go(server: AdminServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "WRITE_TIMEOUT", 0.05)
    with tapping(server) as stream:
        stream.line()
        deadline = time.monotonic() + DEADLINE
        while server.agent.taps and time.monotonic() < deadline:
            stream.show(*[Record(path="/" + "x" * 8000)] * 100)
        assert not server.agent.taps


def test_what_waits_for_a_reader_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "MAX_BEHIND", 100)

    async def scenario() -> tuple[bytes, bytes]:
        reader = tap.Reader(0)
        reader.seen(Seen(number=1, records=(Record(path="/" + "x" * 60),) * 5, lost=2))
        first = reader.take()
        reader.seen(Seen(number=1, records=(Record(path="/again"),)))
        return first, reader.take()

    first, second = asyncio.run(scenario())
    assert first.splitlines()[1:] == [b'{"lost":6}']
    assert second == b'{"path":"/again"}\n'


def test_a_capture_begins_with_what_it_has(server: AdminServer) -> None:
    server.put("/v1/services/web/affinity", {"cookie": "hm"})
    server.put("/v1/services/web/load_balancing", {"strategy": "maglev", "hash_on": "header:x-user"})
    with tapping(server, urlencode({"capture": "true", "header": "x-more", "filter": "status == 200"})) as stream:
        lines = [stream.response.readline()]
        wanted = server.agent.taps[0][0]
        stream.show(Record(path="/?a=b"))
        lines.append(stream.response.readline())
    capture = read_capture(lines)
    assert set(capture.start.headers) == {*ALWAYS, "x-user", "x-more"}
    assert capture.start.cookies == ("hm",)
    assert capture.start.filter == wanted.filter == "status == 200"
    assert capture.start.config_version == server.agent.snapshot.version
    assert (wanted.headers, wanted.cookies, wanted.is_open) == (capture.start.headers, ("hm",), True)
    assert list(capture) == [Record(path="/?a=b")]


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("filter=rout+%3D%3D+1", "filter: column 1: 'rout' is no field, did you mean route"),
        ("filter=" + "x" * 5000, "filter: column 4097: expected at most 4096 characters, got 5000"),
        ("header=a+b", "header: 'a b' is not a header name, expected letters, digits and"),
        ("header=" + "x" * 300, "header: a name of 300 characters is too long, expected at most 256"),
        ("&".join(["header=a"] * 65), "header: 65 headers are too many, expected at most 64"),
        ("rate=0", "rate: '0' is not expected, expected a number from 1 to 1000000"),
        ("count=x", "count: 'x' is not expected, expected a number from 0 to"),
        ("open=maybe", "open: 'maybe' is neither, expected true or false"),
        ("filtre=1", "filtre: unknown parameter, expected filter, open, rate, count, capture, header"),
    ],
)
def test_bad_questions_are_told_what_was_expected(server: AdminServer, query: str, detail: str) -> None:
    reply = server.get(f"/v1/tap?{query}")
    assert reply.status == 422
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json["detail"].startswith(detail)
    assert server.agent.taps == []


def test_the_column_of_a_mistake_is_a_number_too(server: AdminServer) -> None:
    (problem,) = server.get("/v1/tap?" + urlencode({"filter": "status == 1 && rout"})).json["problems"]
    assert problem["position"] == {"file": "filter", "line": 1, "column": 16}


def test_more_taps_than_may_run_are_refused(server: AdminServer) -> None:
    server.agent.is_crowded = True
    reply = server.get("/v1/tap")
    assert (reply.status, reply.json["detail"]) == (429, "16 taps are running, which is the most; one must end first")


@pytest.mark.parametrize("query", ["open=true", "capture=true"])
def test_a_page_of_another_site_does_not_see_what_is_hidden(server: AdminServer, query: str) -> None:
    reply = server.get(f"/v1/tap?{query}", Sec_Fetch_Site="cross-site")
    assert (reply.status, server.agent.taps) == (403, [])


def test_the_token_is_needed_where_there_is_one() -> None:
    with AdminServer(FakeAgent(), token="t0ken") as server:
        for query in ("", "open=true"):
            assert server.get(f"/v1/tap?{query}").status == 401
        with tapping(server, "open=true", Authorization="Bearer t0ken") as stream:
            assert stream.response.status == 200
