"""The HTTP machine: what is asked, and what an answer says; any cut of the bytes says the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.checks import CheckProtocol, HealthCheck
from discovery.health import plain
from discovery.health.dialogue import CannotAsk
from discovery.health.http import MAX_BODY, MAX_HEAD, HttpDialogue
from discovery.health.result import SUCCESS, Outcome, Result
from discovery.health.target import target_of
from discovery.model import Endpoint, Service


def dialogue(domain: str = "", address: str = "10.0.0.1:80", **check: Any) -> HttpDialogue:
    endpoint = Endpoint(id="a", address=address)
    health_check = HealthCheck(protocol=CheckProtocol.HTTP, **check)
    target = target_of(Service(name="web", domain=domain, health_check=health_check), endpoint)
    assert target is not None
    return HttpDialogue(target)


def asked(**check: Any) -> list[str]:
    lines = dialogue(**check).begin().decode().split("\r\n")
    assert lines[-2:] == ["", ""]
    return lines[:-2]


def heard(*pieces: bytes, ends: bool = False, **check: Any) -> Result | None:
    """What is found in an answer that comes in these pieces, and then ends or not."""
    machine = dialogue(**check)
    machine.begin()
    for piece in (*pieces, b"") if ends else pieces:
        if (result := machine.receive(piece)) is not None:
            return result
    return None


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nup\n"


# --- the question ---------------------------------------------------------------------------------------------------


def test_the_request_is_small_and_the_only_one() -> None:
    assert asked() == [
        "GET /health HTTP/1.1",
        "Host: 10.0.0.1:80",
        "User-Agent: hivemesh-health",
        "Accept: */*",
        "Connection: close",
    ]


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ({"domain": "web.local"}, "Host: web.local"),
        ({"domain": "web.local", "host": "other:81"}, "Host: other:81"),
        ({"address": "unix:/run/x.sock"}, "Host: localhost"),
        ({"address": "[::1]:80"}, "Host: [::1]:80"),
        ({"port": 81}, "Host: 10.0.0.1:81"),
        ({"method": "HEAD", "path": "/a?b=c"}, "HEAD /a?b=c HTTP/1.1"),
        ({"method": "POST"}, "Content-Length: 0"),
        ({"headers": {"X-Probe": "1"}}, "X-Probe: 1"),
        ({"headers": {"user-agent": "me"}}, "user-agent: me"),
        ({"headers": {"Host": "me"}}, "Host: me"),
    ],
)
def test_the_request_is_as_the_check_says(wanted: dict[str, Any], line: str) -> None:
    lines = asked(**wanted)
    assert line in lines
    names = [line.partition(":")[0].lower() for line in lines[1:]]
    assert len(names) == len(set(names))


def test_a_request_that_cannot_be_written_is_told() -> None:
    with pytest.raises(CannotAsk, match="the request of the check is not valid"):
        dialogue(path="/with space")


# --- the answer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nup\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK,
    ],
)
def test_a_complete_answer_with_a_status_of_200_to_299_is_healthy(answer: bytes) -> None:
    assert heard(answer) == SUCCESS
    assert heard(*(answer[at : at + 1] for at in range(len(answer)))) == SUCCESS
    assert heard(answer[:-1]) is None


def test_an_answer_that_ends_with_its_connection_is_complete_then() -> None:
    answer = b"HTTP/1.0 200 OK\r\n\r\nup"
    assert heard(answer) is None
    assert heard(answer, ends=True) == SUCCESS


def test_head_has_no_body() -> None:
    assert heard(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", method="HEAD") == SUCCESS


@pytest.mark.parametrize(
    ("answer", "check", "reason"),
    [
        (b"HTTP/1.1 503 No\r\n\r\n", {}, "status 503, expected 200-299"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n",
            {"expected_status": ((200, 299), (404, 404))},
            "status 302, expected 200-299, 404",
        ),
        (OK, {"expected_body": "ok"}, "status 200, but 'ok' is not in the body"),
        (b"HTTP/1.1 200 OK\r\n", {}, "connection closed within the answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nup", {}, "connection closed within the answer"),
        (b"HT", {}, "connection closed within the answer"),
        (b"", {}, "connection closed without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", {}, "the answer is not HTTP/1: 'SSH-2.0-OpenSSH_9.2'"),
        (b"\x15\x03\x01\x00\x02\x02\x16", {}, "the endpoint speaks TLS, expected HTTP"),
        (b"\x00\x00\x12\x04\x00", {}, "the answer is not HTTP/1: '.....'"),
        (b"HTTP/1.1 OK\r\n\r\n", {}, "malformed answer: illegal status line: bytearray(b'HTTP/1.1 OK')"),
        (
            b"HTTP/1.1 100 Continue\r\n\r\n" * 17,
            {},
            "more than 16 interim answers",
        ),
    ],
)
def test_a_failure_is_told_in_plain_words(answer: bytes, check: dict[str, Any], reason: str) -> None:
    assert heard(answer, ends=True, **check) == (Outcome.FAILURE, reason)


def test_an_unusual_status_may_be_the_expected_one() -> None:
    assert heard(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", expected_status=((404, 404),)) == SUCCESS


def test_an_expected_body_is_found_wherever_it_is_cut() -> None:
    answer = b"HTTP/1.1 200 OK\r\n\r\n{status: ready}"
    for cut in range(1, len(answer)):
        assert heard(answer[:cut], answer[cut:], expected_body="ready") == SUCCESS


# --- peers that mean no good ----------------------------------------------------------------------------------------


def test_headers_without_end_are_cut_off() -> None:
    machine = dialogue()
    machine.begin()
    assert machine.receive(b"HTTP/1.1 200 OK\r\n") is None
    line = b"X-Filler: " + b"x" * 1000 + b"\r\n"
    results = [machine.receive(line) for _ in range(MAX_HEAD // len(line))]
    assert results == [None] * len(results)
    last = machine.receive(line)
    assert last is not None
    assert last.reason == "a head of the answer is larger than 16 KiB"


def test_a_body_without_end_is_enough_after_64_kib() -> None:
    machine = dialogue()
    machine.begin()
    assert machine.receive(b"HTTP/1.1 200 OK\r\n\r\n") is None
    pieces = 0
    while (result := machine.receive(b"x" * 1024)) is None:
        pieces += 1
    assert result == SUCCESS
    assert pieces == MAX_BODY // 1024 - 1


def test_what_is_not_in_the_first_64_kib_is_not_found() -> None:
    answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * MAX_BODY
    assert heard(answer, b"ready", expected_body="ready") == (
        Outcome.FAILURE,
        "status 200, but 'ready' is not in the first 64 KiB of the body",
    )


def test_a_body_in_crumbs_is_refused() -> None:
    machine = dialogue()
    machine.begin()
    machine.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    results = [machine.receive(b"1\r\nx\r\n" * 100) for _ in range(21)]
    assert results[-1] is not None
    assert results[-1].reason == "the body comes in more than 2048 pieces"


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_garbage_is_a_failure_and_nothing_else(garbage: bytes, cuts: list[int]) -> None:
    for start in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        data = start + garbage
        edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
        pieces = [data[low:high] for low, high in zip(edges, edges[1:], strict=False) if low < high]  # noqa: RUF007
        result = heard(*pieces, ends=True)
        assert result is not None
        assert result.reason.isprintable()
        assert heard(data, ends=True) == result or "not HTTP" in result.reason


# --- answers that are read without the machine ----------------------------------------------------------------------

STATUS = st.sampled_from(
    ["200 OK", "200", "200 ", "204 No Content", "301 Moved", "304 x", "404 \u00e9", "503 Busy", "99 x"]
)
FIELD = st.sampled_from(
    [
        *("Content-Length: 3", "content-length:2 ", "Content-Length: 03", "Content-Length: 3, 3", "Content-Length: +3"),
        *(
            "Content-Length: 99",
            "Transfer-Encoding: chunked",
            "Upgrade: h2c",
            "Connection: close",
            "Server: x y\tz",
            "Empty:",
        ),
        *("No colon", " folded: x", "Bad name: x", "X: \x01", "X: \u00e9"),
    ]
)
BODY = st.sampled_from(["", "up", "up\n", "down and more", "3\r\nup\n\r\n0\r\n\r\n"])
ENDS = st.sampled_from(["\r\n", "\r\n", "\r\n", "\n"])


@given(
    version=st.sampled_from(["1.1", "1.1", "1.0"]),
    status=STATUS,
    fields=st.lists(FIELD, max_size=4),
    end=ENDS,
    body=BODY,
)
def test_an_answer_in_one_piece_says_what_h11_makes_of_it_in_two(
    version: str, status: str, fields: list[str], end: str, body: str
) -> None:
    answer = end.join([f"HTTP/{version} {status}", *fields, "", ""]).encode("latin-1") + body.encode()
    check = {"expected_body": "up", "expected_status": ((200, 299), (404, 404))}
    assert heard(answer, ends=True, **check) == heard(answer[:9], answer[9:], ends=True, **check)


def test_the_usual_answer_needs_no_machine() -> None:
    assert plain.read(OK, MAX_BODY) == plain.Plain(200, b"up\n")
    assert plain.read(OK[:-1], MAX_BODY) is None
    assert plain.read(OK, 2) is None


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b" y" * 8000,
        b"HTTP/1.1 200 OK\r\n" + b"X:y\r\n" * 3000,
        b"HTTP/1.1 200 OK\r\nContent-Length:" + b" " * 16000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"content-length:\r\n" * 900 + b"\r\n",
    ],
)
def test_no_answer_is_looked_at_for_long(answer: bytes) -> None:
    """A pattern that tries in many ways would not come to an end in the time of a test."""
    assert plain.read(answer, MAX_BODY) is None
