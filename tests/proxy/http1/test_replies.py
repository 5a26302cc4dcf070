"""Answers of our own: every one says who made it and why, and can be read by any client."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structured_fields import Token, parse_list

from proxy.http1 import replies
from proxy.http1.replies import (
    About,
    Failure,
    proxy_status,
    reason,
    render_answer,
    render_failure,
    signed,
    wants_problem,
)
from proxy.kernel.emit import FieldEdits

FAILURES = {name: value for name, value in vars(replies).items() if isinstance(value, Failure)}

# Flags as people know them from Envoy, ours in lower case.
FLAGS = {"NR", "NC", "UH", "UF", "UC", "URX", "UR", "UPE", "UT", "UO", "SI", "DPE", "RL", "UAEX", "dr", ""}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_is_told_in_plain_words_and_to_programs(failure: Failure) -> None:
    assert failure.flag in FLAGS
    assert 400 <= failure.status <= 599
    about = About("hive", flags=failure.flag, request_id=b"id-1", attempts=2)
    fields, body = render_failure(failure, about, b"text/html")
    named = dict(fields)
    assert named[b"Content-Type"] == b"text/plain; charset=utf-8"
    assert body.startswith(f"{failure.status} {reason(failure.status)}: {failure.detail}".encode())
    assert body.endswith(b"\nrequest id-1, 2 attempts\n")
    assert not failure.flag or f"({failure.flag})\n".encode() in body
    assert named[b"X-Request-Id"] == b"id-1"
    status = named[b"Proxy-Status"].decode()
    assert status.startswith("hive; ")
    assert f'details="{failure.detail}"' in status
    assert not failure.error or f"error={failure.error}" in status
    assert (b"x-envoy-overloaded" in named) == (failure.flag in ("UO", "URX"))
    assert (b"Allow" in named) == (failure.status == 405)


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_a_client_that_reads_json_gets_a_problem(failure: Failure) -> None:
    about = About("hive", "more", failure.flag, b"id-1", 3)
    fields, body = render_failure(failure, about, b"application/json")
    assert dict(fields)[b"Content-Type"] == b"application/problem+json"
    problem = json.loads(body)
    assert problem["status"] == failure.status
    assert problem["title"] == reason(failure.status)
    assert problem["detail"] == "more"
    assert problem["attempts"] == 3
    assert problem["request_id"] == "id-1"
    assert problem.get("flags", "") == failure.flag


@pytest.mark.parametrize(
    ("accept", "problem"),
    [
        (None, False),
        (b"*/*", False),
        (b"text/html,application/xhtml+xml,*/*;q=0.8", False),
        (b"application/json", True),
        (b"application/problem+json", True),
        (b"text/html, Application/JSON;q=0.5", True),
    ],
)
def test_who_gets_a_problem(accept: bytes | None, problem: bool) -> None:
    assert wants_problem(accept) == problem


@given(st.text(max_size=60), st.binary(max_size=20))
def test_any_detail_is_told_safely(detail: str, request_id: bytes) -> None:
    """Details quote what peers sent; they must not end a field or a string early."""
    detail = "".join(letter for letter in detail if not 0xD800 <= ord(letter) < 0xE000)
    for accept in (None, b"application/json"):
        fields, body = render_failure(replies.BAD_TARGET, About("hive", detail), accept)
        status = dict(fields)[b"Proxy-Status"]
        assert b"\r" not in status and b"\n" not in status and b"\x00" not in status
        inside = status.split(b'details="', 1)[1]
        assert inside.endswith(b'"')
        assert b'"' not in inside[:-1].replace(b"\\\\", b"").replace(b'\\"', b"")
        if accept:
            assert json.loads(body)["detail"] == (detail or replies.BAD_TARGET.detail)
    if request_id:
        about = About("hive", request_id=request_id)
        _, body = render_failure(replies.BAD_TARGET, about, b"application/json")
        assert json.loads(body)["request_id"] == request_id.decode("latin-1")


def test_proxy_status_says_what_is_known_and_nothing_else() -> None:
    assert proxy_status(About("hive")) == b"hive"
    about = About("hive", 'it said "no"', "DI,UF", b"id", 2, "10.0.0.1:80", 503)
    assert proxy_status(about, "connection_refused") == (
        b'hive; error=connection_refused; next-hop="10.0.0.1:80"; received-status=503; details="it said \\"no\\""; '
        b'hivemesh-flags="DI,UF"; hivemesh-attempts=2'
    )


@given(st.sampled_from(["7f3c-9900", "a|b", "host:1/x", "*.x", "!x"]), st.text(max_size=20), st.text(max_size=20))
def test_proxy_status_is_a_structured_field_whatever_is_in_it(name: str, detail: str, hop: str) -> None:
    (member,) = parse_list(proxy_status(About(name, detail, "UF", b"", 1, hop), "dns_error").decode("ascii"))
    assert str(member.value) == name
    assert isinstance(member.parameters["error"], Token)
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in detail)
    assert member.parameters.get("details", "") == plain


def test_fields_of_the_configuration_are_not_doubled() -> None:
    fields = [(b"x-request-id", b"theirs"), (b"X-A", b"1")]
    assert signed(fields, About("hive", request_id=b"ours")) == [*fields, (b"Proxy-Status", b"hive")]


@pytest.mark.parametrize(
    ("status", "phrase"), [(200, "OK"), (404, "Not Found"), (508, "Loop Detected"), (599, "Unknown")]
)
def test_reason_phrases(status: int, phrase: str) -> None:
    assert reason(status) == phrase


def read(data: bytes, method: str = "GET") -> tuple[h11.Response, bytes]:
    machine = h11.Connection(h11.CLIENT)
    machine.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    machine.send(h11.EndOfMessage())
    machine.receive_data(data)
    event = machine.next_event()
    assert isinstance(event, h11.Response)
    body = b""
    while isinstance(piece := machine.next_event(), h11.Data):
        body += bytes(piece.data)
    assert isinstance(piece, h11.EndOfMessage)
    assert not machine.trailing_data[0]
    return event, body


@pytest.mark.parametrize("status", [200, 204, 301, 304, 404, 503])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_complete_answer_is_framed(status: int, method: str) -> None:
    data = render_answer(status, [(b"X-A", b"1")], b"hello", method == "HEAD", b"close", None)
    event, body = read(data, method)
    fields = dict(event.headers)
    assert (event.status_code, fields[b"x-a"], fields[b"connection"]) == (status, b"1", b"close")
    assert parsedate_to_datetime(fields[b"date"].decode()) is not None
    bodiless = status in (204, 304)
    assert body == (b"" if method == "HEAD" or bodiless else b"hello")
    assert fields.get(b"content-length") == (None if bodiless else b"5")


def test_a_routes_edits_hold_for_answers_of_ours() -> None:
    edits = FieldEdits([b"x-a"], b"X-B: 2\r\n")
    event, body = read(render_answer(200, [(b"X-A", b"1"), (b"X-C", b"3")], b"hi", False, b"", edits))
    fields = dict(event.headers)
    assert (fields.get(b"x-a"), fields[b"x-b"], fields[b"x-c"], body) == (None, b"2", b"3", b"hi")
    assert b"connection" not in fields
