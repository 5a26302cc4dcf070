"""Lines of connections and sessions in the access log: parseable, with the documented fields, filtered by duration."""

from __future__ import annotations

import json
import re
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.model import AccessLog as LogSettings
from discovery.model import Endpoint, LogFormat, PoolPolicy, Position, Service, StreamRoute
from proxy.accesslog import AccessLog
from proxy.kernel.cells import Shared, Slot
from proxy.kernel.netio import Reactor
from proxy.streamlog import TCP, UDP, StreamRecord
from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime

NOTHING = cast(Slot, None)  # nothing is counted here
NO_WORDS = cast(Shared, None)

# Every field there is, in the order in which they are written.
FIELDS = [
    "ts", "duration_ms", "protocol", "listener", "sni", "flags", "flag_details", "route", "rule_source", "service",
    "version", "endpoint", "attempts", "bytes_in", "bytes_out", "datagrams_in", "datagrams_out", "client",
    "client_port", "t_recv", "t_queue", "t_connect",
]  # fmt: skip


def ended(protocol: bytes = TCP, client: bytes = b"192.0.2.1", port: int = 40_000, **given: Any) -> StreamRecord:
    now = Reactor().micros()
    record = StreamRecord(protocol, "db", client, port, now)
    record.finished = now + 12_345
    for name, value in given.items():
        setattr(record, name, value)
    return record


def connected(protocol: bytes = TCP, **given: Any) -> StreamRecord:
    record = ended(protocol, **given)
    service = ServiceRuntime(Service(name="app"), NOTHING, NO_WORDS)
    endpoint = Endpoint(id="a", address="10.0.0.1:80", version="v2")
    record.route = StreamRoute(name='all "of" it', service="app", position=Position(file="hive.yaml", line=7))
    record.service = "app"
    record.endpoint = EndpointRuntime(service, endpoint, PoolPolicy(), NOTHING, NO_WORDS)
    record.attempts = 1
    record.received = record.started + 1_000
    record.assigned = record.received + 2_000
    record.connected = record.assigned + 3_000
    return record


def lines_of(*records: StreamRecord, **settings: Any) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        log = AccessLog(LogSettings(path=str(path), **{"format": LogFormat.JSON, **settings}), NOTHING, lambda _: None)
        for record in records:
            log.write_stream(record)
        log.close()
        return path.read_bytes().decode().removesuffix("\n").split("\n") if path.stat().st_size else []


def entry_of(record: StreamRecord) -> dict[str, Any]:
    (line,) = lines_of(record)
    pairs = json.loads(line, object_pairs_hook=list)
    entry = dict(pairs)
    assert len(entry) == len(pairs)  # no name twice
    assert [name for name in FIELDS if name in entry] == list(entry)
    return entry


def test_all_fields_of_a_session() -> None:
    record = connected(UDP, flags="SI", detail="silent", sni=b"a.test", bytes_in=5, bytes_out=9)
    record.datagrams_in, record.datagrams_out = 1, 2
    entry = entry_of(record)
    assert list(entry) == FIELDS
    assert abs(datetime.fromisoformat(entry.pop("ts")) - datetime.now(UTC)) < timedelta(minutes=1)
    assert entry == {
        "duration_ms": 12.345,
        "protocol": "udp",
        "listener": "db",
        "sni": "a.test",
        "flags": "SI",
        "flag_details": "silent",
        "route": 'all "of" it',
        "rule_source": "hive.yaml:7",
        "service": "app",
        "version": "v2",
        "endpoint": "10.0.0.1:80",
        "attempts": 1,
        "bytes_in": 5,
        "bytes_out": 9,
        "datagrams_in": 1,
        "datagrams_out": 2,
        "client": "192.0.2.1",
        "client_port": 40_000,
        "t_recv": 1.0,
        "t_queue": 2.0,
        "t_connect": 3.0,
    }


def test_a_connection_that_matched_no_route_leaves_out_what_there_is_not() -> None:
    entry = entry_of(ended(client=b"", port=0, flags="NR"))
    assert list(entry) == [
        "ts", "duration_ms", "protocol", "listener", "flags", "attempts", "bytes_in", "bytes_out", "client", "t_recv",
    ]  # fmt: skip
    assert entry["flags"] == "NR"


def test_a_version_that_was_asked_for_and_has_no_endpoint_is_told() -> None:
    entry = entry_of(ended(service="app", version="v9", flags="UH"))
    assert (entry["service"], entry["version"]) == ("app", "v9")
    assert "endpoint" not in entry


def test_a_connection_that_was_never_made_has_no_connect_time() -> None:
    record = connected(flags="UF")
    record.connected = 0
    entry = entry_of(record)
    assert entry["t_queue"] == 2.0
    assert "t_connect" not in entry


def test_flags_add_up() -> None:
    record = ended()
    record.add_flag("UF")
    record.add_flag("UH")
    assert entry_of(record)["flags"] == "UF,UH"


@given(st.binary(max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_whatever_peers_and_configurations_say_can_be_parsed(sni: bytes, name: str, detail: str) -> None:
    name, detail = (text.encode("utf-8", "ignore").decode() for text in (name, detail))
    entry = entry_of(connected(listener=name, sni=sni, detail=detail))
    assert entry["listener"] == name
    assert entry.get("sni", "").encode("latin-1") == sni
    assert entry.get("flag_details", "") == detail


TEXT = re.compile(
    r'\[(?P<start>[0-9T:.Z-]+)\] (?P<protocol>\w+) "(?P<listener>[^"]*)" (?P<flags>\S+) (?P<rx>\d+) (?P<tx>\d+) '
    r'(?P<duration>\d+) (?P<connect>\d+|-) "(?P<client>[^"]*)" "(?P<sni>(?:[^"\\]|\\.)*)" "(?P<host>[^"]*)"'
)


def text_of(record: StreamRecord) -> dict[str, str]:
    (line,) = lines_of(record, format=LogFormat.TEXT)
    found = TEXT.fullmatch(line)
    assert found is not None, line
    return found.groupdict()


def test_the_text_format() -> None:
    found = text_of(connected(client=b"2001:db8::1", sni=b"a.test", bytes_in=5, bytes_out=9, flags="DC"))
    assert datetime.fromisoformat(found.pop("start")).tzinfo is not None
    assert found == {
        "protocol": "tcp", "listener": "db", "flags": "DC", "rx": "5", "tx": "9", "duration": "12", "connect": "3",
        "client": "[2001:db8::1]:40000", "sni": "a.test", "host": "10.0.0.1:80",
    }  # fmt: skip


def test_what_there_is_not_is_a_dash() -> None:
    found = text_of(ended(client=b"", port=0))
    dashes = ("flags", "connect", "client", "sni", "host")
    assert {name: found[name] for name in dashes} == dict.fromkeys(dashes, "-")


@pytest.mark.parametrize("min_status", [0, 500])
def test_only_long_streams_whatever_the_status_of_requests(min_status: int) -> None:
    records = [ended() for _ in range(3)]
    for record, micros in zip(records, (49_999, 50_000, 60_000), strict=True):
        record.finished = record.started + micros
    lines = lines_of(*records, min_duration=0.05, min_status=min_status)
    assert [json.loads(line)["duration_ms"] for line in lines] == [50.0, 60.0]
