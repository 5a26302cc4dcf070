"""Whatever comes, the answer is legal, and no larger than it may be; dnspython and dnslib agree on what it says."""

from __future__ import annotations

import gc
import random
import re
import resource
from collections.abc import Iterator

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dnslib
import pytest
from datagrams import small_table
from dns_queries import mutated, option, query, random_query, wire_of
from dns_table import Table, a, made, no_such_name, of_addresses, rendered
from hypothesis import example, given, settings
from hypothesis import strategies as st

from discovery.dns.answer import Answer
from discovery.dns.names import wire_name
from proxy.stats import slots

KNOWN = "web.service.hivemesh"
MANY = "many.service.hivemesh"
SPLIT = "split.service.hivemesh"
EMPTY = "empty.hivemesh"
NAMES = [wire_name(name) for name in (KNOWN, MANY, SPLIT, EMPTY, "no.such.hivemesh", "example.com")]
OPT_SIZE = 11
MALFORMED = (dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.REFUSED, dns.rcode.BADVERS)
PACKETS = 100_000
PLAIN = re.compile(r"[\w.-]*", re.ASCII)


class Zone(Table):
    """Knows some names, and of all others below its own that they do not exist."""

    def __init__(self) -> None:
        super().__init__()
        many = [f"10.0.{number >> 8}.{number & 255}" for number in range(500)]
        split = [rendered(SPLIT, a(SPLIT, *many[: number + 1])) for number in range(40)]
        self.names.add(KNOWN, of_addresses(KNOWN, "10.0.0.1", "10.0.0.2", "10.0.0.3"))
        self.names.add(MANY, of_addresses(MANY, *many))
        self.names.add(SPLIT, made(split[0], variants=tuple(split)))
        self.names.add(EMPTY, made(rendered(EMPTY, [])))

    def lookup(self, name: bytes, qtype: int) -> Answer | None:
        known = self.names.known.get((name, qtype))
        if known is None and name.endswith(wire_name("no.such.hivemesh")) and qtype == 1:
            return no_such_name("no.such.hivemesh") if name == wire_name("no.such.hivemesh") else None
        return known


@pytest.fixture(scope="module")
def zone() -> Iterator[Zone]:
    with pytest.MonkeyPatch.context() as patch:
        # What stands inside of an option is nobody's business here; dnspython takes those apart that it knows.
        patch.setattr(dns.edns, "_type_to_class", {})
        yield Zone()


ROW = small_table().slot(0, 1)
labels = st.lists(st.binary(min_size=1, max_size=70), max_size=6)
sizes = st.sampled_from((0, 511, 512, 513, 1232, 4096, 65535))
options = st.lists(st.builds(option, st.integers(0, 65535), st.binary(max_size=40)), max_size=3).map(b"".join)
edns = st.none() | st.tuples(sizes, st.sampled_from((0, 0, 0, 1, 255)), st.booleans(), options)
queries = st.builds(
    query,
    st.sampled_from(NAMES) | labels.map(wire_of),
    st.sampled_from((1, 2, 28, 41, 251, 252, 255)) | st.integers(0, 65535),
    st.sampled_from((1, 1, 1, 3, 255)),
    st.integers(0, 65535),
    st.sampled_from((0, 0x100, 0x120, 0x2000, 0x2800, 0x8000, 0x0200)),
    edns,
)
bad_days = st.builds(lambda seed, good: mutated(random.Random(seed), good), st.integers(0, 2**32), queries)


def code_of(answer: bytes) -> int:
    """The code with the bits that stand in EDNS."""
    return int(dns.message.from_wire(answer).rcode())


def check_legal(sent: bytes, answer: bytes, largest: int) -> None:
    """What holds for every answer, whatever was sent."""
    assert 12 <= len(answer) <= largest
    assert answer[:2] == sent[:2]
    assert answer[2] & 0x80 and answer[2] & 0x78 == sent[2] & 0x78 and answer[2] & 1 == sent[2] & 1
    assert answer[3] & 0x70 == 0
    parsed = dns.message.from_wire(answer, one_rr_per_rrset=True)
    if not parsed.question or PLAIN.fullmatch(parsed.question[0].name.to_text()):  # dnslib takes no other names
        again = dnslib.DNSRecord.parse(answer)
        assert int(again.header.rcode) == answer[3] & 15
        assert (len(again.rr), len(again.auth), len(again.ar)) == (
            len(parsed.answer),
            len(parsed.authority),
            len(parsed.additional) + (parsed.edns >= 0),
        )
    if parsed.question:
        assert (
            answer[12 : 12 + len(parsed.question[0].name.to_wire() or b"")]
            == sent[12:][: len(parsed.question[0].name.to_wire() or b"")]
        )
    if parsed.rcode() in MALFORMED:
        assert len(answer) <= max(len(sent), 12)
        assert not parsed.answer and not parsed.authority
    if parsed.flags & dns.flags.TC:
        assert not parsed.answer


def largest_for(sent: bytes) -> int:
    """What may be sent back over UDP by RFC 1035 and RFC 6891, and by the setting."""
    try:
        asked = dns.message.from_wire(sent)
    except dns.exception.DNSException:
        return 512
    return min(1232, max(512, asked.payload if asked.edns >= 0 else 512))


def is_simple(sent: bytes) -> bool:
    """Whether there is nothing behind the question but, perhaps, one OPT: then dnspython and we read the same."""
    return sent[6:10] == bytes(4) and sent[10:12] in (b"\0\0", b"\0\1")


@settings(max_examples=500)
@given(queries | bad_days | st.binary(max_size=600))
@example(query(NAMES[0], edns=(0, 0, False, b"")))
@example(query(NAMES[1], edns=(65535, 0, True, b"")))
@example(query(wire_of([b"a" * 63] * 3 + [b"b" * 61])))
@example(query(wire_of([b"a" * 63] * 3 + [b"b" * 62])))
@example(query(b"\xc0\x0c"))
def test_every_answer_is_legal(zone: Zone, sent: bytes) -> None:
    answer = zone.answer(sent, ROW)
    assert answer is not None
    if len(sent) < 12 or sent[2] & 0x80:
        assert answer == b""
        return
    check_legal(sent, answer, largest_for(sent))
    over_tcp = zone.answer(sent, ROW, True)
    assert over_tcp
    check_legal(sent, over_tcp, 65_535)
    assert not over_tcp[2] & 2
    assert code_of(over_tcp) == code_of(answer)


@settings(max_examples=500)
@given(queries | bad_days)
def test_what_dnspython_understands_we_do_and_the_other_way_round(zone: Zone, sent: bytes) -> None:
    if len(sent) < 12 or sent[2] & 0xF8 or sent[4:6] != b"\0\1" or not is_simple(sent):
        return
    answer = zone.answer(sent, ROW)
    assert answer
    code = code_of(answer)
    try:
        asked = dns.message.from_wire(sent)
    except dns.exception.DNSException:
        assert code == dns.rcode.FORMERR
        return
    question = asked.question[0]
    written = question.name.to_wire() or b""
    additional = sum(len(rrset) for rrset in asked.additional) + (asked.edns >= 0)
    if not sent[12:].startswith(written) or additional != sent[11]:
        assert code == dns.rcode.FORMERR  # a compressed name
    elif asked.edns > 0:
        assert code == dns.rcode.BADVERS
    elif question.rdtype == dns.rdatatype.OPT:
        assert code == (dns.rcode.FORMERR if question.rdclass == dns.rdataclass.IN else dns.rcode.REFUSED)
    else:
        assert code != dns.rcode.FORMERR or asked.additional
        message = dns.message.from_wire(answer)
        assert message.edns == asked.edns
        assert message.question == asked.question
        if asked.edns == 0:
            assert message.payload == 1232 and message.ednsflags == asked.ednsflags & dns.flags.DO


@settings(max_examples=30)
@given(st.sampled_from((KNOWN, MANY, SPLIT)), edns, st.booleans())
def test_records_are_those_that_were_rendered(
    zone: Zone, name: str, said: tuple[int, int, bool, bytes] | None, stream: bool
) -> None:
    answer = zone.answer(query(wire_name(name), edns=said), ROW, stream)
    assert answer
    message = dns.message.from_wire(answer)
    if message.rcode() or message.flags & dns.flags.TC:
        return
    known = zone.names.known[wire_name(name), 1]
    wires = known.variants or (known.wire,)
    expected = [sorted(record.address for record in dns.message.from_wire(wire).answer[0]) for wire in wires]
    assert sorted(record.address for record in message.answer[0]) in expected


def test_a_hundred_thousand_bad_messages_cost_nothing_that_stays(zone: Zone) -> None:
    rng = random.Random(9)
    table = Zone()
    row = small_table().slot(0, 1)
    answers = 0

    def send(count: int) -> None:
        nonlocal answers
        for turn in range(count):
            sent = mutated(rng, random_query(rng, NAMES)) if rng.random() < 0.9 else rng.randbytes(rng.randrange(80))
            answer = table.answer(sent, row)
            assert answer is not None
            if answer:
                answers += 1
                code = answer[3] & 15
                assert len(answer) <= 1232 and answer[:2] == sent[:2] and answer[2] & 0xF8 == sent[2] & 0x78 | 0x80
                if code in (1, 4, 5):
                    assert len(answer) <= len(sent)
                if turn % 100 == 0:
                    check_legal(sent, answer, 1232)
            else:
                assert len(sent) < 12 or sent[2] & 0x80

    send(PACKETS // 10)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    send(PACKETS - PACKETS // 10)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024  # KiB
    assert answers > PACKETS // 2
    assert row.get(slots.DNS_MALFORMED) > PACKETS // 4
    assert len(table) <= 4
