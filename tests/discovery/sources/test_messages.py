"""Questions and answers of DNS, with dnslib as the other side."""

from __future__ import annotations

import contextlib

import dnslib
import pytest
from fake_resolver import reply, truncated
from hypothesis import given
from hypothesis import strategies as st

from discovery.sources.messages import AAAA, CNAME, SRV, A, Garbled, Record, Reply, Target, question, understand


@pytest.mark.parametrize("kind", [A, AAAA, SRV])
def test_a_question_is_what_was_meant(kind: int) -> None:
    parsed = dnslib.DNSRecord.parse(question(4711, "_api._tcp.corp.example", kind))
    assert (parsed.header.id, parsed.header.rd, parsed.header.qr) == (4711, 1, 0)
    [asked] = parsed.questions
    assert (str(asked.qname), asked.qtype, asked.qclass) == ("_api._tcp.corp.example.", kind, 1)


@pytest.mark.parametrize("name", ["a" * 64 + ".test", "a..b", ".".join(["a" * 60] * 5)])
def test_what_cannot_be_asked_for(name: str) -> None:
    with pytest.raises(Garbled, match="a name that cannot be asked for"):
        question(1, name, A)


def test_an_answer_with_an_alias() -> None:
    query = question(7, "www.test", A)
    message = reply(query, "www.test. 60 IN CNAME Web.test.", "web.test. 5 IN A 10.0.0.1", "web.test. 5 IN A 10.0.0.2")
    assert understand(message, 7, "www.test", A) == Reply(
        0,
        False,
        (
            Record("www.test", CNAME, 60, "web.test"),
            Record("web.test", A, 5, "10.0.0.1"),
            Record("web.test", A, 5, "10.0.0.2"),
        ),
    )


def test_srv_records_and_what_comes_with_them() -> None:
    query = question(7, "_a._tcp.test", SRV)
    message = reply(
        query,
        "_a._tcp.test. 9 IN SRV 1 20 8080 n1.test.",
        "_a._tcp.test. 9 IN SRV 0 0 0 .",
        "_a._tcp.test. 9 IN TXT other",
        additional=["n1.test. 8 IN A 10.0.0.1", "n1.test. 8 IN AAAA 2001:db8::1"],
    )
    assert understand(message, 7, "_a._tcp.test", SRV) == Reply(
        0,
        False,
        (
            Record("_a._tcp.test", SRV, 9, Target(1, 20, 8080, "n1.test")),
            Record("_a._tcp.test", SRV, 9, Target(0, 0, 0, "")),
        ),
        (Record("n1.test", A, 8, "10.0.0.1"), Record("n1.test", AAAA, 8, "2001:db8::1")),
    )


def test_the_question_may_come_back_in_another_case() -> None:
    query = question(7, "www.test", A)
    message = reply(query, "www.test. 60 IN A 10.0.0.1").replace(b"\x03www", b"\x03wWw", 1)
    found = understand(message, 7, "www.test", A)
    assert found is not None
    assert found.answers == (Record("www.test", A, 60, "10.0.0.1"),)


def test_what_was_cut_off_is_said_and_not_read() -> None:
    assert understand(truncated(question(7, "www.test", A)), 7, "www.test", A) == Reply(0, is_truncated=True)


def test_there_is_no_such_name() -> None:
    assert understand(reply(question(7, "www.test", A), rcode=3), 7, "www.test", A) == Reply(3, False)


def test_a_ttl_of_more_than_31_bits_is_none() -> None:
    message = reply(question(7, "www.test", A), "www.test. 4294967295 IN A 10.0.0.1")
    found = understand(message, 7, "www.test", A)
    assert found is not None
    assert found.answers[0].ttl == 0


@pytest.mark.parametrize(
    ("id", "name", "kind"), [(8, "www.test", A), (7, "web.test", A), (7, "www.test", AAAA), (7, "www.tes", A)]
)
def test_an_answer_to_another_question_is_none(id: int, name: str, kind: int) -> None:
    message = reply(question(id, name, kind), f"{name}. 60 IN A 10.0.0.1" if kind == A else "a. 1 IN AAAA ::1")
    assert understand(message, 7, "www.test", A) is None


def test_a_question_is_no_answer() -> None:
    query = question(7, "www.test", A)
    assert understand(query, 7, "www.test", A) is None
    assert understand(query[:11], 7, "www.test", A) is None


@pytest.mark.parametrize(
    "tail",
    [
        b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\1\2\3",  # ends early
        b"\xc0\x0c\0\1\0\1\0\0\0\1\0\3\1\2\3",  # an address of three bytes
        b"\xc0\x0c\0\5\0\1\0\0\0\1\0\2\xc0\x26",  # an alias that points at itself
        b"\xc0\x0c\0\5\0\1\0\0\0\1\0\2\x41a",  # a label of unknown kind
        b"\xc0\x0c\0\x21\0\1\0\0\0\1\0\4\0\1\0\1",  # SRV without a target
        b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\1\2\3\4more",
    ],
)
def test_what_has_the_right_question_and_is_no_message_is_garbled(tail: bytes) -> None:
    query = question(7, "www.test", A)
    message = query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:] + tail
    with pytest.raises(Garbled):
        understand(message, 7, "www.test", A)


@given(st.data())
def test_nothing_else_is_raised(data: st.DataObject) -> None:
    query = question(7, "www.test", A)
    whole = bytearray(reply(query, "www.test. 60 IN CNAME web.test.", "web.test. 1 IN SRV 1 2 3 n.test."))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Garbled):
        understand(bytes(whole[: data.draw(st.integers(0, len(whole)))]), 7, "www.test", A)
