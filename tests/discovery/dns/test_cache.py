"""How long an answer is kept, what it says meanwhile, and what goes first when there is no room."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st
from resolvers import records

from discovery.dns.cache import (
    AVERAGE,
    FAILURE_TTL,
    OVERHEAD,
    STALE_TTL,
    Answered,
    Cache,
    failure,
    key_of,
    reply,
    taken_over,
)
from discovery.dns.messages import Query, read_message, read_query
from discovery.dns.records import Rcode
from discovery.model import DnsSettings

SETTINGS = DnsSettings(cache_ttl=1000.0, cache_negative_ttl=100.0, serve_stale=600.0)
SOA = "test. 60 SOA ns.test. host.test. 1 2 3 4 {}"


def asked(name: str = "a.test", rtype: str = "A", **options: object) -> tuple[dns.message.Message, Query]:
    query = dns.message.make_query(name, rtype, **options)  # type: ignore[arg-type]
    return query, read_query(query.to_wire())


def answered(message: dns.message.Message, settings: DnsSettings = SETTINGS) -> Answered:
    wire = message.to_wire(max_size=65_535)
    return taken_over(wire, read_message(wire), settings)


def positive(ttl: int = 60, name: str = "a.test", texts: int = 0) -> Answered:
    query, _ = asked(name)
    lines = [f"{name}. {ttl} A 10.0.0.1", *(f"{name}. {ttl} TXT {'x' * 200}{n}" for n in range(texts))]
    return answered(records(query, *lines))


def ttls(wire: bytes) -> list[int]:
    message = dns.message.from_wire(wire)
    return [rrset.ttl for rrset in (*message.answer, *message.authority, *message.additional)]


@pytest.mark.parametrize(
    ("lines", "rcode", "authority", "lifetime"),
    [
        (["a.test. 60 A 10.0.0.1", "a.test. 60 A 10.0.0.2"], "NOERROR", "", 60.0),
        (["a.test. 60 CNAME b.test.", "b.test. 20 A 10.0.0.2"], "NOERROR", "", 20.0),
        (["a.test. 60 A 10.0.0.1"], "NOERROR", "test. 7 NS ns.test.", 7.0),
        (["a.test. 86400 A 10.0.0.1"], "NOERROR", "", 1000.0),
        (["a.test. 0 A 10.0.0.1"], "NOERROR", "", 0.0),
        ([], "NXDOMAIN", SOA.format(30), 30.0),
        ([], "NXDOMAIN", SOA.format(90), 60.0),
        ([], "NOERROR", SOA.format(30), 30.0),
        (["a.test. 10 CNAME b.test."], "NOERROR", SOA.format(30), 10.0),
        (["a.test. 10 CNAME b.test."], "NXDOMAIN", SOA.format(30), 10.0),
        ([], "NXDOMAIN", SOA.format(90).replace(" 60 ", " 86400 "), 90.0),
        ([], "NXDOMAIN", SOA.format(9000).replace(" 60 ", " 86400 "), 100.0),
        ([], "NXDOMAIN", "", 5.0),
        ([], "NOERROR", "", 5.0),
        ([], "SERVFAIL", "", 0.0),
        ([], "REFUSED", "", 0.0),
    ],
)
def test_how_long_an_answer_may_be_kept(lines: list[str], rcode: str, authority: str, lifetime: float) -> None:
    query, _ = asked()
    assert answered(records(query, *lines, rcode=rcode, authority=authority)).lifetime == lifetime


def test_a_truncated_answer_is_never_kept() -> None:
    query, _ = asked()
    message = records(query, "a.test. 60 A 10.0.0.1")
    message.flags |= dns.flags.TC
    assert answered(message).lifetime == 0


def test_what_is_taken_over_says_the_same_without_edns_and_without_authority() -> None:
    query, _ = asked("A.Test", use_edns=0)
    message = records(query, "a.test. 60 A 10.0.0.1", authority="test. 60 NS ns.test.")
    message.additional = [dns.rrset.from_text("ns.test.", 50, "IN", "A", "10.0.0.53")]
    message.flags |= dns.flags.AA | dns.flags.CD
    assert message.edns == 0
    read = dns.message.from_wire(answered(message).wire)
    assert (read.id, read.edns, read.question[0].name.to_text()) == (0, -1, "a.test.")
    assert (read.answer, read.authority, read.additional) == (message.answer, message.authority, message.additional)
    assert read.flags == dns.flags.QR | dns.flags.RA


NAMES = st.lists(st.text("abC1-", min_size=1, max_size=9), min_size=1, max_size=4).map(lambda labels: ".".join(labels))
LINES = st.lists(
    st.one_of(
        st.builds("{}. {} A 10.0.0.1".format, NAMES, st.integers(1, 2**31 - 1)),
        st.builds("{}. {} CNAME {}.".format, NAMES, st.integers(1, 2**31 - 1), NAMES),
        st.builds("{}. {} SRV 1 2 3 {}.".format, NAMES, st.integers(1, 2**31 - 1), NAMES),
    ),
    max_size=6,
)


@given(NAMES, LINES, st.booleans(), st.sampled_from(["NOERROR", "NXDOMAIN"]), st.integers(0, 90))
def test_whatever_is_kept_says_the_same_with_smaller_ttls(
    name: str, lines: list[str], edns: bool, rcode: str, age: int
) -> None:
    message, query = asked(name, use_edns=0 if edns else -1)
    answer = records(message, *lines, rcode=rcode, authority=SOA.format(90))
    cache = Cache(DnsSettings(cache_ttl=1e10, cache_negative_ttl=1e10))
    cache.put(key_of(query), answered(answer, DnsSettings(cache_ttl=1e10, cache_negative_ttl=1e10)), 0.0)
    found = cache.find(key_of(query), float(age))
    shortest = min(rrset.ttl for rrset in (*answer.answer, *answer.authority))
    if age >= shortest:
        assert found is None
        return
    assert found is not None
    read = dns.message.from_wire(reply(query, found.wire), one_rr_per_rrset=True)
    whole = dns.message.from_wire(answer.to_wire(max_size=65_535), one_rr_per_rrset=True)
    assert message.is_response(read)
    assert read.answer == whole.answer
    assert [rrset.ttl for rrset in read.answer] == [rrset.ttl - age for rrset in whole.answer]
    assert (read.authority, read.additional, read.rcode()) == (whole.authority, [], whole.rcode())


def test_what_stands_behind_edns_goes_with_it() -> None:
    query, _ = asked(use_edns=0)
    message = records(query, "a.test. 60 A 10.0.0.1")
    wire = bytearray(message.to_wire())
    wire[11] += 1
    wire += b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\1\2\3\4"
    taken = taken_over(bytes(wire), read_message(bytes(wire)), SETTINGS)
    assert dns.message.from_wire(taken.wire).additional == []
    assert taken.lifetime == 60.0


def test_ttls_count_down_and_the_answer_ends_with_the_shortest() -> None:
    cache, (_, query) = Cache(SETTINGS), asked()
    message = records(asked()[0], "a.test. 60 CNAME b.test.", "b.test. 20 A 10.0.0.2")
    cache.put(key_of(query), answered(message), 1000.0)
    for now, expected in ((1000.0, [60, 20]), (1000.9, [60, 20]), (1001.0, [59, 19]), (1019.9, [41, 1])):
        found = cache.find(key_of(query), now)
        assert found is not None
        assert (ttls(found.wire), found.is_stale) == (expected, False)
    assert cache.find(key_of(query), 1020.0) is None


def test_a_negative_answer_says_how_long_it_may_be_kept() -> None:
    """RFC 2308 section 5: the TTL of SOA is the smaller of its own and MINIMUM, and counts down."""
    cache, (message, query) = Cache(SETTINGS), asked()
    cache.put(key_of(query), answered(records(message, rcode="NXDOMAIN", authority=SOA.format(30))), 0.0)
    found = cache.find(key_of(query), 10.0)
    assert found is not None
    assert ttls(found.wire) == [20]


def test_a_stale_answer_is_there_for_a_while_and_served_when_it_is_held() -> None:
    cache, (_, query) = Cache(SETTINGS), asked()
    key = key_of(query)
    cache.put(key, positive(60), 0.0)
    assert cache.find(key, 61.0) is None
    stale = cache.find_stale(key, 61.0)
    assert stale is not None
    assert ttls(stale) == [STALE_TTL]
    cache.hold(key, 61.0)
    found = cache.find(key, 61.0 + FAILURE_TTL - 0.1)
    assert found is not None
    assert found.is_stale
    assert cache.find(key, 61.0 + FAILURE_TTL) is None
    assert cache.find_stale(key, 60.0 + 600.0) is None
    assert cache.find(key, 661.0) is None
    assert (len(cache), cache.size) == (0, 0)


def test_a_failure_is_kept_for_seconds_and_is_never_stale() -> None:
    cache, (_, query) = Cache(SETTINGS), asked()
    key = key_of(query)
    cache.put(key, failure(query.question), 0.0)
    found = cache.find(key, FAILURE_TTL - 0.1)
    assert found is not None
    assert found.wire[3] & 0x0F == Rcode.SERVFAIL
    assert cache.find_stale(key, FAILURE_TTL) is None
    assert cache.find(key, FAILURE_TTL) is None
    assert len(cache) == 0


def test_what_was_not_asked_for_the_longest_goes_first() -> None:
    cache = Cache(DnsSettings(cache_size=3))
    keys = [bytes((number,)) for number in range(4)]
    for key in keys[:3]:
        cache.put(key, positive(), 0.0)
    assert cache.find(keys[0], 1.0) is not None
    cache.put(keys[3], positive(), 1.0)
    assert [cache.find(key, 2.0) is not None for key in keys] == [True, False, True, True]
    assert len(cache) == 3


def test_the_cache_is_bounded_in_bytes_as_well() -> None:
    cache = Cache(DnsSettings(cache_size=10))
    for number in range(100):
        cache.put(bytes((number,)), positive(texts=number % 20), 0.0)
        assert cache.size <= 10 * AVERAGE
        assert len(cache) <= 10
    cache.put(b"large", positive(texts=60), 0.0)  # larger than all together may be
    assert cache.find(b"large", 0.0) is None
    for number in range(100):
        cache.put(bytes((number,)), positive(), 0.0)
    assert cache.size == sum(len(positive().wire) + OVERHEAD for _ in range(len(cache)))


def test_a_new_answer_takes_the_place_of_the_old() -> None:
    cache = Cache(SETTINGS)
    cache.put(b"k", positive(10), 0.0)
    cache.put(b"k", positive(60), 5.0)
    assert len(cache) == 1
    assert cache.size == len(positive().wire) + OVERHEAD
    assert cache.find(b"k", 20.0) is not None


def test_a_cache_of_no_size_keeps_nothing() -> None:
    cache = Cache(DnsSettings(cache_size=0))
    cache.put(b"k", positive(), 0.0)
    assert cache.find(b"k", 0.0) is None


def test_what_clients_must_have_in_common() -> None:
    def key(name: str = "a.test", rtype: str = "A", **options: object) -> bytes:
        return key_of(asked(name, rtype, **options)[1])

    assert key("A.TEST") == key("a.test", use_edns=0) == key(flags=dns.flags.RD | dns.flags.AD)
    others = [key(), key("b.test"), key(rtype="AAAA"), key(want_dnssec=True), key(flags=dns.flags.RD | dns.flags.CD)]
    assert len(set(others)) == 5


def test_a_reply_is_the_clients() -> None:
    _, query = asked("A.tEST", flags=dns.flags.RD | dns.flags.CD)
    wire = reply(query, positive().wire)
    read = dns.message.from_wire(wire)
    assert read.id == query.id
    assert wire[12:20] == b"\1A\4tEST\0"
    assert read.answer[0].name.to_text() == "A.tEST."  # it points to the question
    assert read.flags == dns.flags.QR | dns.flags.RD | dns.flags.RA | dns.flags.CD
    refused = dns.message.from_wire(reply(query, failure(query.question, Rcode.REFUSED).wire))
    assert refused.rcode() == dns.rcode.REFUSED
