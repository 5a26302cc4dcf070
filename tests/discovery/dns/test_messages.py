"""What dnslib and dnspython write is read; what is cut, changed or made up is Malformed and nothing else."""

from __future__ import annotations

import contextlib

import dns.message
import dns.rrset
import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.dns.messages import Malformed, Question, minimum_of, read_message, read_query

LABEL = st.text("abcXYZ019-_", min_size=1, max_size=12)
NAME = st.lists(LABEL, min_size=1, max_size=6).map(".".join)
RECORD = st.one_of(
    st.tuples(NAME, st.integers(0, 2**31 - 1), st.just("A"), st.just("10.0.0.1")),
    st.tuples(NAME, st.integers(0, 2**31 - 1), st.just("AAAA"), st.just("fd00::1")),
    st.tuples(NAME, st.integers(0, 2**31 - 1), st.just("CNAME"), NAME.map("{}.".format)),
    st.tuples(NAME, st.integers(0, 2**31 - 1), st.just("TXT"), LABEL),
    st.tuples(NAME, st.integers(0, 2**31 - 1), st.just("SOA"), st.just("ns.test. host.test. 1 2 3 4 77")),
    st.tuples(NAME, st.integers(0, 2**31 - 1), st.just("SRV"), NAME.map("1 2 3 {}.".format)),
)
SECTION = st.lists(RECORD, max_size=5)


def rrsets(records: list[tuple[str, int, str, str]]) -> list[dns.rrset.RRset]:
    return [dns.rrset.from_text(f"{name}.", ttl, "IN", rtype, data) for name, ttl, rtype, data in records]


@given(NAME, SECTION, SECTION, SECTION, st.booleans())
def test_every_record_is_found_where_it_is(
    name: str,
    answer: list[tuple[str, int, str, str]],
    authority: list[tuple[str, int, str, str]],
    additional: list[tuple[str, int, str, str]],
    edns: bool,
) -> None:
    message = dns.message.make_response(dns.message.make_query(name, "A", use_edns=0 if edns else -1))
    message.answer, message.authority, message.additional = rrsets(answer), rrsets(authority), rrsets(additional)
    wire = message.to_wire(max_size=65_535)
    read = read_message(wire)
    assert read.question.name == wire[12 : 12 + len(read.question.name)]
    assert read.question_end == 12 + len(read.question.name) + 4
    parsed = dnslib.DNSRecord.parse(wire)
    expected = [(0, r.rtype, r.ttl) for r in parsed.rr]
    expected += [(1, r.rtype, r.ttl) for r in parsed.auth]
    expected += [(2, r.rtype, r.ttl) for r in parsed.ar]
    assert [(item.section, item.rtype, item.ttl) for item in read.items] == expected
    for item in read.items:
        assert int.from_bytes(wire[item.ttl_at : item.ttl_at + 4], "big") == item.ttl
        if item.rtype == 6:
            assert minimum_of(wire, item) == 77
    assert [item.end for item in read.items[-1:]] in ([len(wire)], [])


@given(st.binary(max_size=200))
def test_garbage_is_malformed_or_read(wire: bytes) -> None:
    with contextlib.suppress(Malformed):
        read_message(wire)


@given(SECTION, st.data())
def test_a_message_that_is_cut_or_changed_is_malformed_or_read(
    answer: list[tuple[str, int, str, str]], data: st.DataObject
) -> None:
    message = dns.message.make_response(dns.message.make_query("a.b.test", "A"))
    message.answer = rrsets(answer)
    wire = bytearray(message.to_wire(max_size=65_535))
    cut = data.draw(st.integers(0, len(wire) - 1))
    with pytest.raises(Malformed):
        read_message(bytes(wire[:cut]))
    wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Malformed):
        read_message(bytes(wire))


HEAD = b"\0\1\x81\x80\0\1\0\1\0\0\0\0"
ASKED = b"\1a\0\0\1\0\1"
TAIL = b"\0\1\0\1\0\0\0\5\0\0"


@pytest.mark.parametrize(
    ("wire", "problem"),
    [
        (b"\0" * 11, "11 bytes are no message"),
        (HEAD[:4] + b"\0\0" + HEAD[6:], "0 questions"),
        (HEAD[:4] + b"\0\2" + HEAD[6:], "2 questions"),
        (HEAD[:6] + b"\xff\xff" + HEAD[8:], "65535 records"),
        (HEAD + b"\xc0\x0c\0\1\0\1", "compressed"),
        (HEAD + ASKED + b"\xc0\x13" + TAIL, "points to 19"),
        (HEAD + ASKED + b"\xc0\x00" + TAIL, "points to 0"),
        (HEAD + ASKED + b"\xff\xff" + TAIL, "points to 16383"),
        (HEAD + ASKED + b"\1a\xc0\x13" + TAIL, "points to 19"),
        (HEAD + ASKED + b"\x40" + TAIL, "unknown kind"),
        (HEAD + ASKED + (b"\x3f" + b"a" * 63) * 4 + b"\0" + TAIL, "longer than 255"),
        (HEAD + b"".join(b"\x3f" + b"a" * 63 for _ in range(4)) + b"\0\0\1\0\1", "257 bytes"),
        (HEAD + ASKED + b"\xc0\x0c" + TAIL[:-1] + b"\1", "beyond"),
        (HEAD + ASKED + b"\xc0\x0c" + TAIL + b"x", "1 bytes behind"),
        (HEAD + ASKED + b"\0\0\x29\4\xd0" + bytes(6), "OPT among the answers"),
        (HEAD + ASKED, "ends early"),
    ],
)
def test_what_is_wrong_is_said(wire: bytes, problem: str) -> None:
    with pytest.raises(Malformed, match=problem):
        read_message(wire)


def test_a_negative_ttl_counts_as_none() -> None:
    read = read_message(HEAD + ASKED + b"\xc0\x0c\0\1\0\1\x80\0\0\5\0\0")
    assert read.items[0].ttl == 0


@pytest.mark.parametrize("dnssec", [True, False])
def test_a_query_says_what_it_wants(dnssec: bool) -> None:
    wire = dns.message.make_query("WWW.test", "AAAA", want_dnssec=dnssec).to_wire()
    query = read_query(wire)
    assert query.question == Question(b"\3WWW\4test\0", 28, 1)
    assert (query.id, query.dnssec_ok) == (int.from_bytes(wire[:2], "big"), dnssec)
