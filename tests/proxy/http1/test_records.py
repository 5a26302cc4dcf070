"""The last requests of a worker: which are kept, for how long, what is said of them, and what is not held by them."""

from __future__ import annotations

import gc
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from heads import request_head
from playbook import Origin, Playbook, service

from discovery.model import (
    AccessLog,
    Endpoint,
    LogFormat,
    Position,
    Protocol,
    RecordSettings,
    Route,
    RouteMatch,
    Settings,
)
from discovery.policies import RetryPolicy
from mesh.record import Record
from proxy.http1.parties import ClientSide, Exchange, ListenerRuntime, RouteRuntime
from proxy.http1.records import Kept, Records, Versions, record_of
from proxy.kernel.cells import Slot
from proxy.kernel.scan import Head

# What a Record has that no line of the access log has.
BEYOND = {"body_bytes", "listener", "peer", "worker", "config_version", "tried", "headers", "kept"}


@pytest.fixture
def other() -> Any:
    origin = Origin()
    yield origin
    origin.close()


def ended(name: str, head: Head | None = None, **given: Any) -> Exchange:
    """A request that went well unless `given` says otherwise."""
    exchange = Exchange.__new__(Exchange)
    listener = ListenerRuntime("web", Protocol.HTTP, cast(Slot, None))
    head = head or request_head(b"GET /p HTTP/1.1\r\nHost: a.test\r\n\r\n")
    client = ClientSide()
    client.peer = b"192.0.2.9"
    exchange.start(client, listener, head, 1_000_000, 1_001_000)
    exchange.method, exchange.host, exchange.client = head.method(), head.host(), b"192.0.2.1"
    exchange.request_id = name.encode()
    exchange.status = 200
    exchange.finished = 1_010_000
    for key, value in given.items():
        setattr(exchange, key, value)
    return exchange


def keep(records: Records, *names: str, **given: Any) -> None:
    for name in names:
        records.keep(ended(name, **given))


def names(records: Records, only_errors: bool = False) -> list[str]:
    """Of all that is kept, in the order in which they ended; those that went well first."""
    found = list(records.newest(records.count() + 1, only_errors))[::-1]
    return [record.request_id for record in sorted(found, key=lambda record: record.kept, reverse=True)]


# --- which are kept -----------------------------------------------------------------------------------------------


def test_the_oldest_are_forgotten_first() -> None:
    records = Records(RecordSettings(size=3))
    for count in range(8):
        keep(records, f"r{count}")
        assert names(records) == [f"r{number}" for number in range(max(0, count - 2), count + 1)]
    assert records.find("r4") == []
    assert [record.request_id for record in records.find("r6")] == ["r6"]
    assert records.count() == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": 500},
        {"status": 503, "flags": "UH"},
        {"status": 404, "flags": "NR"},
        {"flags": "UC"},  # the response broke off
        {"retries": 1},
        {"denied": "budget"},
        {"tried": []},
    ],
)
def test_no_number_of_successes_pushes_out_what_went_wrong(wrong: dict[str, Any]) -> None:
    records = Records(RecordSettings(size=4, errors=4, sample=1.0))
    keep(records, "bad", **wrong)
    keep(records, *(f"good{count}" for count in range(1000)))
    (found,) = records.find("bad")
    assert (found.kept, found.status) == ("error", wrong.get("status", 200))
    assert records.count() == 5


def test_what_went_well_is_no_error() -> None:
    records = Records(RecordSettings())
    keep(records, "a", status=404, upstream_status=404)
    keep(records, "b", status=304)
    assert [record.kept for record in records.newest(9)] == ["sample", "sample"]
    assert list(records.newest(9, only_errors=True)) == []


def test_a_sample_follows_from_the_id_and_errors_are_kept_all_the_same() -> None:
    ids = [f"request-{count}" for count in range(2000)]
    one, other = (Records(RecordSettings(size=4000, errors=4000, sample=0.25)) for _ in range(2))
    keep(one, *ids)
    keep(other, *reversed(ids))
    assert sorted(names(one)) == sorted(names(other))  # all proxies on the way have the same
    assert 400 <= one.count() <= 600  # ids are given, so this is always the same number
    keep(one, *ids, status=500)
    assert len(names(one, only_errors=True)) == 2000


def test_a_share_of_none_is_none() -> None:
    records = Records(RecordSettings(sample=0.0))
    keep(records, *(f"r{count}" for count in range(100)))
    keep(records, "bad", status=500)
    assert names(records) == ["bad"]


def test_a_ring_of_none_is_off() -> None:
    records = Records(RecordSettings(size=0, errors=2))
    keep(records, "good")
    keep(records, "bad", status=500)
    assert names(records) == ["bad"]
    assert records.is_on
    records.apply(RecordSettings(size=2, errors=0))
    keep(records, "bad", status=500)
    keep(records, "good")
    assert names(records) == ["good"]
    assert not Records(RecordSettings(size=0, errors=0)).is_on


@pytest.mark.parametrize("size", [0, 1, 3, 5, 9])
@pytest.mark.parametrize("before", [0, 2, 5, 7])
def test_another_size_keeps_the_newest_that_fit(size: int, before: int) -> None:
    records = Records(RecordSettings(size=5))
    ids = [f"r{count}" for count in range(before)]
    keep(records, *ids)
    records.apply(RecordSettings(size=size))
    kept = ids[-5:][-size:] if size else []
    assert names(records) == kept
    keep(records, "new", "newer")
    assert names(records) == ([*kept, "new", "newer"][-size:] if size else [])


def test_the_newest_of_both_rings_come_first() -> None:
    records = Records(RecordSettings(size=3, errors=3))
    for count in range(8):
        keep(records, f"r{count}", status=500 if count % 2 else 200, finished=2_000_000 + count)
    assert [record.request_id for record in records.newest(4)] == ["r7", "r6", "r5", "r4"]
    assert [record.request_id for record in records.newest(9)] == ["r7", "r6", "r5", "r4", "r3", "r2"]
    assert [record.request_id for record in records.newest(2, only_errors=True)] == ["r7", "r5"]
    moment = datetime.fromisoformat(records.since())
    assert moment == datetime.fromisoformat(list(records.newest(9))[-1].ts) + timedelta(seconds=1)


def test_requests_that_end_meanwhile_change_no_answer() -> None:
    records = Records(RecordSettings(size=3))
    keep(records, "a", "b", "c")
    telling = records.newest(3)
    first = next(telling)
    keep(records, "d", "e")
    assert {first.request_id, *(record.request_id for record in telling)} == {"a", "b", "c"}


def test_an_id_that_came_twice_has_two_records() -> None:
    records = Records(RecordSettings())
    keep(records, "again", finished=2_000_000)
    keep(records, "again", status=503, finished=3_000_000)
    assert [(record.kept, record.status) for record in records.find("again")] == [("error", 503), ("sample", 200)]
    assert records.find("€") == []


# --- what is kept of them -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "longest"), [("method", 32), ("path", 512), ("host", 256), ("user_agent", 256), ("flag_details", 256)]
)
def test_text_of_clients_is_cut(name: str, longest: int) -> None:
    long = {"method": b"M", "path": b"/", "host": b"h", "user_agent": b"u"}
    if name in long:
        long[name] *= 900
    line = b"%b %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: %b\r\n\r\n"
    head = request_head(line % (long["method"], long["path"], long["host"], long["user_agent"]))
    records = Records(RecordSettings())
    keep(records, "long", head=head, flags="DPE", detail="d" * 900, status=400)
    (record,) = records.find("long")
    assert len(getattr(record, name)) == longest


def test_a_request_that_is_long_everywhere_has_its_names_and_its_target() -> None:
    head = request_head(
        b"%b /%b HTTP/1.1\r\nHost: %b\r\nUser-Agent: %b\r\n\r\n" % (b"M" * 900, b"t" * 5000, b"h" * 900, b"u" * 900)
    )
    records = Records(RecordSettings())
    route = RouteRuntime()
    route.route = Route(name="r" * 200, position=Position(file="hive.yaml", line=7))
    route.log_part = None
    keep(records, "x" * 128, head=head, route=route, flags="DPE", detail="d" * 900, status=400)
    (record,) = records.find("x" * 128)
    assert (record.route, record.rule_source, record.host) == ("r" * 200, "hive.yaml:7", "h" * 256)
    assert record.path.startswith("/ttt")
    assert len(msgspec.json.encode(record)) < 1500
    route.route = Route(name="r", position=Position(file="f" * 900, line=7))
    route.log_part = None
    keep(records, "far", route=route)
    (record,) = records.find("far")
    assert (record.route, record.rule_source) == ("r", "")  # the place is too long, the name is not


def test_any_byte_has_a_text() -> None:
    head = request_head(b'GET /\xff HTTP/1.1\r\nHost: a\r\nUser-Agent: "\\ \xe9\x80\r\n\r\n'.replace(b"/\xff", b"/x"))
    records = Records(RecordSettings())
    keep(records, "odd", head=head)
    (record,) = records.find("odd")
    assert record.user_agent == '"\\ \xe9\x80'
    assert msgspec.json.decode(msgspec.json.encode(record), type=Record) == record


def test_a_request_has_the_version_that_it_began_under() -> None:
    versions = Versions()
    for version in range(1, 100):
        versions.put(version, version * 1000)
    assert [versions.at(moment) for moment in (99_500, 99_000, 98_999, 50_000)] == [99, 99, 98, 50]
    assert versions.at(30_000) == 0  # forgotten


def test_an_entry_that_is_filled_again_has_nothing_of_the_last() -> None:
    records = Records(RecordSettings(size=1))
    head = request_head(b"GET /p HTTP/1.0\r\nHost: a\r\nUser-Agent: x\r\n\r\n")
    keep(records, "one", head=head, assigned=5, version="v1", wanted="app@v2", body_bytes=7, probing=True)
    keep(records, "two")
    fresh = Records(RecordSettings())
    keep(fresh, "two")
    (again,), (two,) = records.find("two"), fresh.find("two")
    assert msgspec.structs.replace(again, ts="") == msgspec.structs.replace(two, ts="")


def test_whoever_has_no_ring_gets_the_same() -> None:
    exchange = ended("one", flags="UC", tried=[])
    records, kept = Records(RecordSettings(), worker=3), Kept()
    records.keep(exchange)
    kept.take(exchange, 0)
    headers = (("accept", "*/*"),)
    (found,) = records.find("one")
    assert record_of(kept, records.wall_offset, 3, "error", headers) == msgspec.structs.replace(found, headers=headers)


# --- in the data plane --------------------------------------------------------------------------------------------


def test_a_record_says_what_the_access_log_says(origin: Origin, other: Origin, tmp_path: Path) -> None:
    """Field by field, for requests that meet all sorts of ends, so that the two never drift apart."""
    log = tmp_path / "log"
    logged = Settings(access_log=AccessLog(path=str(log), format=LogFormat.JSON))
    app = service("app", "127.0.0.1:1", origin, other, retry=RetryPolicy(max_retries=1))
    app = msgspec.structs.replace(
        app, endpoints=tuple(msgspec.structs.replace(each, version="v1") for each in app.endpoints)
    )
    routes = (
        Route(name="all", service="app", version="v1", position=Position(file="hive.yaml", line=3)),
        Route(name="gone", service="none", match=RouteMatch(path="/gone")),
    )
    with Playbook(app, service("none"), origins=(origin, other), routes=routes, settings=logged, log=log) as book:
        client = book.client()
        client.send(b"POST /a?b=1 HTTP/1.1\r\nHost: S.test\r\nUser-Agent: t\xe9st/1\r\nContent-Length: 4\r\n\r\nfour")
        book.until(lambda: origin.is_called() or other.is_called(), "a connection", also=_fds(origin, other))
        (origin if origin.is_called() else other).accept().answer(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        assert client.response().status == 201
        client.send(b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response().status == 503
        book.client().send(b"GET / HTTP/1.0\r\nHost: a\r\nBroken\r\n\r\n")
        left = book.client()
        left.send(b"GET /left HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        left.close()
        book.until(lambda: len(book.log_entries()) == 4, "all lines")
        entries = book.log_entries()
        records = {record.request_id: record for record in book.plane.newest(9, False)}
    assert len(records) == len(entries) == 4
    said: set[str] = set()
    for entry in entries:
        record = records[entry["request_id"]]
        for field in msgspec.structs.fields(Record):
            if field.name not in BEYOND:
                assert_alike(field.name, getattr(record, field.name), entry.get(field.name, field.default))
        said |= entry.keys()
    assert said <= {field.name for field in msgspec.structs.fields(Record)}
    assert {record.listener for record in records.values()} == {"web"}
    assert {record.peer for record in records.values()} == {"127.0.0.1"}
    assert {record.config_version for record in records.values()} == {book.version}
    first = records[entries[0]["request_id"]]
    assert (first.body_bytes, first.rule_source, first.version) == (4, "hive.yaml:3", "v1")


def assert_alike(name: str, ours: object, logged: object) -> None:
    if name == "ts":  # two clocks were compared at two moments
        apart = datetime.fromisoformat(str(ours)) - datetime.fromisoformat(str(logged))
        assert abs(apart) <= timedelta(milliseconds=2), (ours, logged)
    else:
        assert ours == logged, (name, ours, logged)


def _fds(*origins: Origin) -> tuple[int, ...]:
    return tuple(origin.socket.fileno() for origin in origins)


def test_records_keep_no_endpoint_and_no_route_alive(origin: Origin, other: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin, other)) as book:
        client = book.client()
        client.ask(target="/x")
        upstream = origin.accept()
        upstream.answer()
        assert client.response().status == 200
        rows = {book.numbers[f"endpoint/app/a/{origin.address}"], book.numbers["route/web/all"]}
        moved = service("app", endpoints=(Endpoint(id="b", address=other.address),))
        book.apply((moved,), (Route(name="new", service="app"),))
        assert upstream.is_ended_by_peer()

        def are_released() -> bool:
            gc.collect()
            return rows <= set(book.released)

        book.until(are_released, "the rows are released")
        (record,) = book.plane.newest(9, False)
        assert (record.endpoint, record.route) == (origin.address, "all")


def test_a_reload_keeps_what_fits(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,), settings=Settings(records=RecordSettings(size=3))) as book:
        client = book.client()

        def ask(*targets: str) -> None:
            for target in targets:
                client.ask(target=target)
                upstream.answer()
                assert client.response().status == 200

        def kept() -> list[str]:
            return [record.path for record in book.plane.newest(9, False)]

        client.ask(target="/0")
        upstream = origin.accept()
        upstream.answer()
        client.response()
        ask("/1", "/2", "/3")
        assert kept() == ["/3", "/2", "/1"]
        book.apply(book.snapshot.services, settings=Settings(records=RecordSettings(size=2)))
        ask("/4")
        assert kept() == ["/4", "/3"]
        book.apply(book.snapshot.services, settings=Settings(records=RecordSettings(size=0, errors=0)))
        assert book.plane.forwarder.records is None
        ask("/5")
        assert kept() == []
        book.apply(book.snapshot.services, settings=Settings())
        ask("/6")
        assert kept() == ["/6"]


def test_an_endpoint_that_failed_the_request_is_named(origin: Origin) -> None:
    with Playbook(service("app", "127.0.0.1:1", origin), origins=(origin,)) as book:
        for _ in range(2):  # at least one of the two meets the dead endpoint first
            client = book.client()
            client.ask()
            origin.accept().answer(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            assert client.response().status == 200
        records = list(book.plane.newest(9, True))
        assert records
        for record in records:
            assert (record.tried, record.endpoint, record.attempts) == (("127.0.0.1:1",), origin.address, 2)
