from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.model import Endpoint, Listener, NameMatch, Route, RouteMatch, Service, Snapshot, TrafficSplit
from discovery.policies import Affinity, Balancing, KeyKind, RateLimit, RequestKey, RequestPolicies, Subset
from discovery.values import Struct
from mesh.affinity import affinities_for
from mesh.capture import ALWAYS, FORMAT, MAX_LINE, CaptureEnd, CaptureError, CaptureStart, looked_at, read_capture
from mesh.record import Record
from mesh.request import SampleRequest

START = CaptureStart(capture=FORMAT, started="2026-01-01T00:00:00.000Z", config_version=7, headers=("x-beta",))


def line(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"


def test_what_was_written_is_read() -> None:
    records = [Record(method="GET", path=f"/{number}", headers=(("x-beta", "1"),)) for number in range(3)]
    capture = read_capture(
        [line(START), *map(line, records), line({"lost": 4}), line(CaptureEnd(ended="later", count=3, lost=4))]
    )
    assert (capture.start, capture.end) == (START, None)
    assert list(capture) == records
    assert (capture.count, capture.lost, capture.is_whole) == (3, 4, True)
    assert capture.end == CaptureEnd(ended="later", count=3, lost=4)


def test_a_file_that_was_cut_off_counts_as_far_as_it_goes() -> None:
    record = Record(path="/whole")
    for half in (Record(path="/half"), {"lost": 12}, CaptureEnd(ended="later", count=1)):
        written = line(half)
        for cut in range(len(written) - 2):
            capture = read_capture([line(START), line(record), written[:cut]])
            assert list(capture) == [record]
            assert not capture.is_whole


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], 'line 1: expected the first line of a capture, {"capture":1,...}: input data was truncated'),
        ([line(Record(path="/"))], "line 1: expected the first line of a capture"),
        ([line({"capture": 99, "shape": []})], "line 1: format 99 of captures is not known, expected 1"),
        ([line({"capture": 1, "headers": "x"})], "line 1: expected `array`, got `str` - at `$.headers`"),
        ([b"x" * (MAX_LINE + 1)], "line 1: expected the first line of a capture"),
        ([line(START), line({"status": "200"})], "line 2: it is no record: expected `int`, got `str` - at `$.status`"),
        ([line(START), b"\n", line({"stats": 200})], "line 3: it is no record: object contains unknown field `stats`"),
        ([line(START), b"GET /\n"], "line 2: it is no JSON: JSON is malformed"),
        ([line(START), b'{"ended":"later","count":}\n'], "line 2: it is no JSON: JSON is malformed"),
        ([line(START), b" " * (MAX_LINE + 1)], f"line 2: it is longer than {MAX_LINE} bytes"),
        (
            [line(START), line(Record()), line(CaptureEnd(ended="later", count=2))],
            "line 3: the end counts 2 records, the file has 1",
        ),
        ([line(START), line(CaptureEnd(ended="x")), line(Record())], "there are lines after the one that ends"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(lines: list[bytes], message: str) -> None:
    with pytest.raises(CaptureError) as raised:
        list(read_capture(lines))
    assert str(raised.value).startswith(message)


@given(st.lists(st.binary(max_size=60) | st.just(line(START)) | st.just(line(Record(path="/"))), max_size=6))
def test_garbage_is_a_capture_error_and_nothing_else(lines: list[bytes]) -> None:
    try:
        for record in read_capture(lines):
            assert isinstance(record, Record)
    except CaptureError as error:
        assert str(error)


def test_a_capture_is_lines_of_json_with_the_names_of_the_access_log() -> None:
    written = json.loads(line(Record(status=503, t_first_byte=1.5, headers=(("x-beta", "1"),))))
    assert written == {"status": 503, "t_first_byte": 1.5, "headers": [["x-beta", "1"]]}


# --- what goes into one -------------------------------------------------------------------------------------------


def snapshot(*routes: Route, **service: Any) -> Snapshot:
    listener = Listener(name="web", address="127.0.0.1:80", routes=routes)
    return Snapshot(listeners=(listener,), services=(Service(name="app", **service),))


def header(name: str) -> RequestKey:
    return RequestKey(kind=KeyKind.HEADER, name=name)


@pytest.mark.parametrize(
    ("given", "headers", "cookies"),
    [
        (Snapshot(), set(), set()),
        (snapshot(Route(name="r", match=RouteMatch(headers=(NameMatch(name="x-beta"),)))), {"x-beta"}, set()),
        (snapshot(Route(name="r", subset=Subset(headers={"zone": "X-Zone"}))), {"x-zone"}, set()),
        (snapshot(balancing=Balancing(hash_on=header("x-user"))), {"x-user"}, set()),
        (snapshot(balancing=Balancing(hash_on=RequestKey(kind=KeyKind.COOKIE, name="sid"))), set(), {"sid"}),
        (snapshot(policies=RequestPolicies(rate_limit=RateLimit(requests=1, key=header("x-key")))), {"x-key"}, set()),
        (snapshot(affinity=Affinity(kind=KeyKind.HEADER, name="X-Session")), {"x-session"}, set()),
        (snapshot(affinity=Affinity(name="hm")), set(), {"hm"}),
        (snapshot(affinity=Affinity(kind=KeyKind.CLIENT_IP)), set(), set()),
    ],
)
def test_headers_and_cookies_that_rules_look_at(given: Snapshot, headers: set[str], cookies: set[str]) -> None:
    looked = looked_at(given)
    assert set(looked.headers) == {*ALWAYS, *headers}
    assert set(looked.cookies) == cookies


def test_a_cookie_of_ours_without_a_name_is_known_by_the_name_it_gets() -> None:
    affinity = Affinity()
    (name,) = looked_at(snapshot(affinity=affinity)).cookies
    endpoint = Endpoint(id="e1", address="127.0.0.1:1")
    bond = affinities_for("app", affinity, "secret", ()).bond(SampleRequest())
    assert bond is not None
    assert bond.affinities.farewell(bond).startswith(name.encode() + b"=")
    assert endpoint.id


def test_sticky_splits_of_routes_and_services() -> None:
    shares = (TrafficSplit(version="v1"), TrafficSplit(version="v2"))
    sticky = Affinity(name="of-route")
    route = Route(name="r", split=shares, sticky_split=sticky)
    looked = looked_at(snapshot(route, traffic_split=shares, sticky_split=Affinity(name="of-service")))
    assert looked.cookies == ("of-route", "of-service")


def test_every_key_of_a_request_that_a_value_can_name_is_found() -> None:
    """Whoever adds a policy with a key of requests must tell `looked_at` of it."""
    known = {"Balancing.hash_on", "RateLimit.key", "Affinity.kind", "RouteMatch.headers", "Subset.headers"}
    import discovery.model
    import discovery.policies

    found = set()
    for module in (discovery.model, discovery.policies):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Struct) and value.__module__ == module.__name__:
                for each in msgspec.structs.fields(value):
                    is_request = value.__name__ in ("RouteMatch", "Subset") and each.name == "headers"
                    if each.type in (RequestKey, KeyKind) or is_request:
                        found.add(f"{value.__name__}.{each.name}")
    assert found - {"RequestKey.kind"} == known
