"""The readings of benchmarks/attacks: the strict one refuses what is not to the letter, the others do as they say."""

from __future__ import annotations

import pytest

from benchmarks.attacks.cases import CASES
from benchmarks.attacks.pieces import in_pieces
from benchmarks.attacks.readings import LENIENT, STRICT, read_requests, read_responses

HOST = b"Host: a\r\n"
READINGS = {reading.name: reading for reading in LENIENT}


def lines(data: bytes, name: str = "") -> list[str]:
    found = read_requests(data, READINGS[name] if name else STRICT)
    return [message.line for message in found.complete]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("bare LF", b"GET /x HTTP/1.1\n" + HOST + b"\n"),
        ("bare CR", b"GET /x HTTP/1.1\r" + HOST + b"\r"),
        ("any chunked", b"GET /x HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("length first", b"GET /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: x\r\nContent-Length: 2\r\n\r\nhi"),
        ("last length", b"GET /x HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\nContent-Length: 2\r\n\r\nhi"),
        ("C strings", b"GET /x HTTP/1.1\r\n" + HOST + b"Content-Length: 2\x009\r\n\r\nhi"),
        ("numbers", b"GET /x HTTP/1.1\r\n" + HOST + b"Content-Length: +2x\r\n\r\nhi"),
        ("spill", b"GET /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhiXX0\r\n\r\n"),
        ("folds are fields", b"GET /x HTTP/1.1\r\n" + HOST + b"X: 1\r\n Content-Length: 2\r\n\r\nhi"),
    ],
)
def test_a_lenient_reading_takes_what_the_strict_one_does_not(name: str, data: bytes) -> None:
    assert lines(data) == []
    assert lines(data, name) == ["GET /x"]


def test_underscores_are_hyphens_to_who_reads_them_so() -> None:
    data = b"GET /x HTTP/1.1\r\n" + HOST + b"Content_Length: 2\r\n\r\nhi"
    assert read_requests(data).messages[0].body == b""
    assert read_requests(data, READINGS["underscores"]).messages[0].body == b"hi"


def test_what_is_plain_is_read_alike_by_all() -> None:
    """The judge asks the lenient readings only about what is not plain, which saves most of its time."""
    plain = 0
    for case in CASES:
        data = case.sent
        strict = read_requests(data)
        if strict.is_plain(len(data)):
            plain += 1
            whole = [(message.line, message.body, message.complete) for message in strict.messages]
            for reading in LENIENT:
                other = read_requests(data, reading)
                assert [(message.line, message.body, message.complete) for message in other.messages] == whole, case.id
    assert plain > 100


def test_responses_end_where_they_do() -> None:
    head = b"HTTP/1.1 200 OK\r\n"
    data = (
        head
        + b"Content-Length: 2\r\n\r\nhi"
        + b"HTTP/1.1 204 No Content\r\n\r\n"
        + head
        + b"Content-Length: 5\r\n\r\n"
        + head
        + b"\r\nrest"
    )
    found = read_responses(data, [b"GET", b"GET", b"HEAD", b"GET"], ended=True)
    assert [message.body for message in found.complete] == [b"hi", b"", b"", b"rest"]
    assert not read_responses(data, [b"GET", b"GET", b"HEAD", b"GET"], ended=False).messages[-1].complete


def test_cases_in_pieces_have_the_same_bytes() -> None:
    cut = in_pieces(CASES, 1)
    assert [case.sent for case in cut] == [case.sent for case in CASES]
    assert any(len(one.sends) > len(two.sends) for one, two in zip(cut, CASES, strict=True))
