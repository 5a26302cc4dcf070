"""Lines of the access log: parseable whatever peers sent, with the documented fields, and filtered as configured."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from heads import request_head
from hypothesis import given
from hypothesis import strategies as st

from discovery.model import AccessLog as LogSettings
from discovery.model import Endpoint, LogFilter, LogFormat, PoolPolicy, Position, Route, Service
from proxy.accesslog import AccessLog
from proxy.http1.parties import ClientSide, Exchange, ListenerRuntime, RouteRuntime
from proxy.kernel.cells import Shared, Slot
from proxy.kernel.netio import Reactor
from proxy.kernel.scan import Head
from proxy.logfilter import LineFilter
from proxy.streamlog import TCP, StreamRecord
from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime

NOTHING = cast(Slot, None)  # nothing is counted here
NO_WORDS = cast(Shared, None)
TRACE = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"

# Every field there is, in the order in which they are written.
FIELDS = [
    "ts", "duration_ms", "request_id", "trace_id", "method", "scheme", "host", "path", "protocol", "status",
    "upstream_status", "flags", "flag_details", "route", "rule_source", "service", "version", "endpoint", "drawn",
    "attempts", "retries", "retry_denied", "probe", "bytes_in", "bytes_out", "client", "t_recv", "t_queue", "t_connect",
    "t_first_byte", "t_total", "user_agent",
]  # fmt: skip


def finished(head: Head | None = None, **given: Any) -> Exchange:
    """An exchange that has ended, with times that tell the parts apart."""
    now = Reactor().micros()
    exchange = Exchange.__new__(Exchange)
    head = head or request_head(b"GET /p?q HTTP/1.1\r\nHost: A.test\r\nUser-Agent: tests\r\n\r\n")
    exchange.start(cast(ClientSide, None), cast(ListenerRuntime, None), head, now, now + 1_000)
    exchange.method, exchange.host, exchange.path, exchange.query = head.method(), head.host(), head.path(), b""
    exchange.client = b"192.0.2.1"
    exchange.request_id = b"id-1"
    exchange.traceparent = TRACE
    exchange.status = 200
    exchange.finished = now + 12_345
    for name, value in given.items():
        setattr(exchange, name, value)
    return exchange


def served(version: str = "", **given: Any) -> Exchange:
    """One that an endpoint of this version answered, whether or not the route asked for the version."""
    exchange = finished(**given)
    route = RouteRuntime()
    route.route = Route(name='all "of" it', position=Position(file="hive.yaml", line=7))
    route.log_part = None
    service = ServiceRuntime(Service(name="app"), NOTHING, NO_WORDS)
    endpoint = Endpoint(id="a", address="10.0.0.1:80", version=version)
    exchange.route = route
    exchange.service = service
    exchange.endpoint = EndpointRuntime(service, endpoint, PoolPolicy(), NOTHING, NO_WORDS)
    exchange.attempts = max(exchange.attempts, 1)
    exchange.upstream_status = 200
    exchange.assigned = exchange.received + 2_000
    exchange.connected = exchange.assigned + 3_000
    exchange.first_byte = exchange.connected + 4_000
    return exchange


@contextmanager
def log_file(**settings: Any) -> Iterator[tuple[AccessLog, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        losses: list[str] = []
        log = AccessLog(LogSettings(path=str(path), **{"format": LogFormat.JSON, **settings}), NOTHING, losses.append)
        yield log, path
        log.close()
        assert not losses


def lines_of(*exchanges: Exchange, **settings: Any) -> list[str]:
    with log_file(**settings) as (log, path):
        for exchange in exchanges:
            log.write(exchange)
        log.flush()
        text = path.read_text(encoding="ascii")
    assert text == "" or text.endswith("\n")
    return text.splitlines()


def entry_of(exchange: Exchange) -> dict[str, Any]:
    (line,) = lines_of(exchange)
    pairs = json.loads(line, object_pairs_hook=list)
    entry = dict(pairs)
    # No name twice: a parser would silently take one of them.
    assert len(entry) == len(pairs)
    assert [name for name in FIELDS if name in entry] == list(entry)
    return entry


def test_all_fields_of_an_answered_request() -> None:
    exchange = served(
        version="v2",
        flags="fo",
        detail="moved on",
        denied="attempts",
        attempts=3,
        bytes_in=5,
        bytes_out=9,
        retries=2,
        probing=True,
        wanted="app@v1",
    )
    entry = entry_of(exchange)
    assert list(entry) == FIELDS
    started = datetime.fromisoformat(entry.pop("ts"))
    assert abs(started - datetime.now(UTC)) < timedelta(minutes=1)
    assert entry == {
        "duration_ms": 12.345,
        "request_id": "id-1",
        "trace_id": "a" * 32,
        "method": "GET",
        "scheme": "http",
        "host": "a.test",
        "path": "/p?q",
        "protocol": "HTTP/1.1",
        "status": 200,
        "upstream_status": 200,
        "flags": "fo",
        "flag_details": "moved on",
        "route": 'all "of" it',
        "rule_source": "hive.yaml:7",
        "service": "app",
        "version": "v2",
        "endpoint": "10.0.0.1:80",
        "drawn": "app@v1",
        "attempts": 3,
        "retries": 2,
        "retry_denied": "attempts",
        "probe": True,
        "bytes_in": 5,
        "bytes_out": 9,
        "client": "192.0.2.1",
        "t_recv": 1.0,
        "t_queue": 2.0,
        "t_connect": 3.0,
        "t_first_byte": 4.0,
        "t_total": 12.345,
        "user_agent": "tests",
    }


def test_a_request_that_met_no_route_leaves_out_what_there_is_not() -> None:
    entry = entry_of(finished(status=404, flags="NR", detail="no route matches this request"))
    assert entry["flags"] == "NR"
    absent = {"upstream_status", "route", "rule_source", "service", "version", "endpoint"}
    absent |= {"drawn", "retries", "retry_denied", "probe"}
    assert not absent & set(entry)
    assert not {"t_queue", "t_connect", "t_first_byte"} & set(entry)


@pytest.mark.parametrize("parts", [(), ("route",), ("route", "service"), ("route", "service", "endpoint")])
@pytest.mark.parametrize("flags", ["", "UF", "UF,DC"])
@pytest.mark.parametrize("detail", ["", "x"])
@pytest.mark.parametrize("version", ["", "v1"])
def test_every_combination_is_an_object(parts: tuple[str, ...], flags: str, detail: str, version: str) -> None:
    exchange = served(version=version, flags=flags, detail=detail)
    for part in {"route", "service", "endpoint"} - set(parts):
        setattr(exchange, part, None)
    # Without an endpoint the version is the one that was asked for.
    if "service" in parts and "endpoint" not in parts:
        exchange.version = version
    entry = entry_of(exchange)
    assert entry["flags"] == flags
    assert entry.get("flag_details", "") == detail
    assert ("route" in entry) == ("route" in parts)
    assert entry.get("version", "") == (version if "service" in parts else "")
    assert entry.get("service", "") == ("app" if "service" in parts else "")
    assert ("endpoint" in entry) == ("endpoint" in parts)


def test_an_attempt_that_ended_before_its_connection_was_made_takes_no_negative_time() -> None:
    exchange = served()
    exchange.connected = exchange.assigned - 5_000
    assert entry_of(exchange)["t_connect"] == 0


agents = st.binary(max_size=40).map(
    lambda raw: bytes(byte if byte == 9 or (byte >= 0x20 and byte != 0x7F) else 0x41 for byte in raw).strip(b" \t")
)
paths = st.binary(max_size=40).map(lambda raw: b"/" + bytes(0x21 + byte % 0x5E for byte in raw).replace(b"#", b'"'))


@given(paths, agents, st.sampled_from([b"GET", b"M-SEARCH", b"it's`|~"]), st.text(max_size=20), st.binary(max_size=20))
def test_whatever_peers_send_can_be_parsed(
    path: bytes, agent: bytes, method: bytes, detail: str, request_id: bytes
) -> None:
    detail = "".join(letter for letter in detail if not 0xD800 <= ord(letter) < 0xE000)
    head = request_head(method + b" " + path + b" HTTP/1.1\r\nHost: a\r\nUser-Agent: " + agent + b"\r\n\r\n")
    entry = entry_of(served(head=head, flags="UPE", detail=detail, request_id=request_id))
    assert entry["path"] == path.decode()
    assert entry["method"] == method.decode()
    assert entry["user_agent"] == agent.decode("latin-1")
    assert entry["request_id"] == request_id.decode("latin-1")
    assert entry.get("flag_details", "").encode("latin-1") == detail.encode()


TEXT = re.compile(
    r'\[(?P<start>[0-9T:.Z-]+)\] "(?P<method>\S+) (?P<path>\S*) (?P<protocol>HTTP/1\.[01])" (?P<status>\d+) '
    r"(?P<flags>\S+) (?P<rx>\d+) (?P<tx>\d+) (?P<duration>\d+) (?P<upstream>\d+|-) "
    r'"(?P<xff>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)" "(?P<id>(?:[^"\\]|\\.)*)" '
    r'"(?P<authority>(?:[^"\\]|\\.)*)" "(?P<host>(?:[^"\\]|\\.)*)"(?P<more>.*)'
)


def text_of(exchange: Exchange) -> dict[str, str]:
    (line,) = lines_of(exchange, format=LogFormat.TEXT)
    found = TEXT.fullmatch(line)
    assert found is not None, line
    return found.groupdict()


def test_the_text_format_is_the_one_of_envoy() -> None:
    head = request_head(b"PUT /p?q HTTP/1.0\r\nHost: A.test:80\r\nX-Forwarded-For: 1.1.1.1\r\nUser-Agent: t\r\n\r\n")
    found = text_of(served(head=head, bytes_in=5, bytes_out=9, flags="fo"))
    assert datetime.fromisoformat(found.pop("start")).tzinfo is not None
    assert found == {
        "method": "PUT", "path": "/p?q", "protocol": "HTTP/1.0", "status": "200", "flags": "fo", "rx": "5", "tx": "9",
        "duration": "12", "upstream": "4", "xff": "1.1.1.1", "agent": "t", "id": "id-1", "authority": "A.test:80",
        "host": "10.0.0.1:80", "more": "",
    }  # fmt: skip


def test_text_lines_say_behind_that_what_policies_did() -> None:
    found = text_of(served(wanted="v1", retries=2, denied="budget", probing=True, flags="fo,URX"))
    assert (found["flags"], found["more"]) == ("fo,URX", ' drawn="v1" retries=2 retry_denied=budget probe=true')


def test_what_there_is_not_is_a_dash() -> None:
    found = text_of(finished(request_head(b"GET / HTTP/1.0\r\n\r\n"), status=404))
    dashes = ("flags", "upstream", "xff", "agent", "authority", "host")
    assert {name: found[name] for name in dashes} == dict.fromkeys(dashes, "-")


@given(paths, agents)
def test_text_lines_keep_their_shape(path: bytes, agent: bytes) -> None:
    head = request_head(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nUser-Agent: " + agent + b"\r\n\r\n")
    found = text_of(served(head=head))
    assert json.loads(f'"{found["path"]}"') == path.decode()
    assert json.loads(f'"{found["agent"]}"') == (agent.decode("latin-1") or "-")


def test_only_errors() -> None:
    exchanges = [finished(status=status) for status in (200, 399, 400, 499, 503)]
    assert [json.loads(line)["status"] for line in lines_of(*exchanges, min_status=400)] == [400, 499, 503]


def test_only_slow_requests() -> None:
    exchanges = [finished() for _ in range(3)]
    for exchange, micros in zip(exchanges, (49_999, 50_000, 60_000), strict=True):
        exchange.finished = exchange.started + micros
    lines = lines_of(*exchanges, min_duration=0.05)
    assert [json.loads(line)["duration_ms"] for line in lines] == [50.0, 60.0]


def test_both_filters_hold() -> None:
    slow, failed, both = finished(), finished(status=500), finished(status=500)
    for exchange in (slow, both):
        exchange.finished = exchange.started + 60_000
    lines = lines_of(slow, failed, both, min_duration=0.05, min_status=500)
    assert len(lines) == 1


def kept(*exchanges: Exchange, **settings: Any) -> list[str]:
    """Request ids of those that are written."""
    return [json.loads(line)["request_id"] for line in lines_of(*exchanges, **settings)]


def named(name: str, **given: Any) -> Exchange:
    return finished(request_id=name.encode(), **given)


def slow(exchange: Exchange) -> Exchange:
    exchange.finished = exchange.started + 2_000_000
    return exchange


def test_only_some_statuses() -> None:
    exchanges = [named(str(status), status=status) for status in (199, 200, 299, 300, 404, 499, 500)]
    assert kept(*exchanges, status=((200, 299), (404, 404))) == ["200", "299", "404"]
    assert kept(*exchanges, status=((200, 299), (404, 404)), min_status=250) == ["299", "404"]
    assert kept(*exchanges, status=((200, 299),), min_status=300) == []


def test_only_what_was_sent_again_whoever_wanted_it() -> None:
    exchanges = [named("local"), named("once", attempts=1), named("replay", attempts=2), named("again", attempts=3)]
    assert kept(*exchanges, retried=True) == ["replay", "again"]


def test_only_some_flags_or_any() -> None:
    exchanges = [named("plain"), named("uf", flags="fo,UF"), named("ur", flags="UR")]
    assert kept(*exchanges, flags=("UF", "UO")) == ["uf"]
    assert kept(*exchanges, flags=("any",)) == ["uf", "ur"]


def test_a_line_passes_one_filter_and_all_its_conditions() -> None:
    exchanges = [
        named("plain"), slow(named("slow")), named("failed", status=500), slow(named("both", status=500)),
        named("again", attempts=2),
    ]  # fmt: skip
    either = (LogFilter(min_status=500), LogFilter(min_duration=1.0))
    assert kept(*exchanges, filters=either) == ["slow", "failed", "both"]
    assert kept(*exchanges, filters=(LogFilter(min_status=500, min_duration=1.0),)) == ["both"]
    # Conditions of the log itself are one more filter.
    assert kept(*exchanges, retried=True, filters=either) == ["slow", "failed", "both", "again"]


def test_a_sample_is_drawn_by_the_request_id() -> None:
    exchanges = [named(f"id-{number}") for number in range(2000)]
    first = kept(*exchanges, sample_pct=10.0)
    assert kept(*exchanges, filters=(LogFilter(sample_pct=10.0),)) == first
    # The draws are fixed; binomial, five deviations of 13.4.
    assert 133 < len(first) < 267
    assert set(first) < set(kept(*exchanges, sample_pct=20.0))
    assert kept(*exchanges, sample_pct=0.0) == []


@pytest.mark.parametrize(
    ("filters", "written"),
    [
        ({"min_status": 500}, 3),
        ({"status": ((500, 599),), "retried": True}, 3),
        ({"min_duration": 1.0}, 1),
        ({"flags": ("UF",)}, 1),
        ({"sample_pct": 0.0}, 0),
        ({"filters": (LogFilter(min_status=500), LogFilter(flags=("any",)))}, 1),
        ({"filters": (LogFilter(retried=True), LogFilter(min_duration=1.0), LogFilter(flags=("any",)))}, 2),
    ],
)
def test_streams_meet_the_conditions_that_they_can(filters: dict[str, Any], written: int) -> None:
    with log_file(**filters) as (log, path):
        for micros, flag in ((10, ""), (10, "UF"), (2_000_000, "")):
            record = StreamRecord(TCP, "web", b"192.0.2.1", 1, 1_000_000)
            record.finished = record.received = record.started + micros
            record.add_flag(flag)
            log.write_stream(record)
        log.flush()
        assert path.read_text().count("\n") == written


@given(
    st.builds(
        LogFilter,
        min_status=st.integers(0, 599),
        status=st.lists(st.tuples(st.integers(100, 599), st.integers(100, 599)), max_size=3).map(tuple),
        min_duration=st.sampled_from([0.0, 0.1, 1.0]),
        retried=st.booleans(),
        flags=st.lists(st.sampled_from(["UF", "UO", "any"]), max_size=2).map(tuple),
    ),
    st.integers(100, 599),
    st.sampled_from([0, 100_000, 1_000_000]),
    st.integers(0, 3),
    st.sampled_from(["", "UF", "fo,UO", "DC"]),
)
def test_conditions_hold_as_they_are_written(
    policy: LogFilter, status: int, micros: int, attempts: int, flags: str
) -> None:
    exchange = finished(status=status, attempts=attempts, flags=flags)
    exchange.finished = exchange.started + micros
    expected = (
        status >= policy.min_status
        and (not policy.status or any(first <= status <= last for first, last in policy.status))
        and micros >= policy.min_duration * 1_000_000
        and (not policy.retried or attempts > 1)
        and (not policy.flags or bool({*flags.split(","), *(["any"] if flags else [])} & set(policy.flags)))
    )
    assert LineFilter(policy).keeps(exchange) == expected


def test_after_a_rotation_lines_go_to_the_new_file() -> None:
    with log_file() as (log, path):
        log.write(finished(status=201))
        log.flush()
        path.rename(path.with_suffix(".1"))
        log.write(finished(status=202))
        log.reopen()
        log.write(finished(status=203))
        log.flush()
        old, new = (
            [json.loads(line)["status"] for line in each.read_text().splitlines()]
            for each in (path.with_suffix(".1"), path)
        )
        assert (old, new) == ([201, 202], [203])


def test_the_clock_has_milliseconds_and_goes_on_between_seconds() -> None:
    exchanges = []
    for step in range(4):
        exchange = finished()
        exchange.started += step * 700_000
        exchange.finished += step * 700_000
        exchanges.append(exchange)
    base = exchanges[0].started
    stamps = [datetime.fromisoformat(json.loads(line)["ts"]) for line in lines_of(*exchanges)]
    for stamp, exchange in zip(stamps, exchanges, strict=True):
        elapsed = (stamp - stamps[0]) / timedelta(microseconds=1)
        assert abs(elapsed - (exchange.started - base)) <= 1_000


def test_a_log_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        AccessLog(LogSettings(path=str(tmp_path / "missing" / "log"), format=LogFormat.JSON), NOTHING, lambda _: None)
