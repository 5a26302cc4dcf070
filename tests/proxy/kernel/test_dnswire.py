"""Questions of DNS are answered from rendered answers, fitted to who asks; what is none is refused in few bytes."""

from __future__ import annotations

import os
import time
from collections import Counter

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import pytest
from datagrams import small_table
from dns_table import Table, a, aaaa, made, no_such_name, of_addresses, rendered

from discovery.dns.names import wire_name
from proxy.kernel.cells import Slot
from proxy.kernel.dnswire import Answers
from proxy.stats import slots

NAME = "web.service.hivemesh"
ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
OPT = 11


class Server:
    """A table with its row of statistics, asked in dnspython's messages."""

    def __init__(self, **given: int) -> None:
        self.table = Table(**given)
        self.row: Slot = small_table().slot(0, 1)
        self.names = self.table.names
        self.names.add(NAME, of_addresses(NAME, *ADDRESSES))

    def raw(self, query: bytes, stream: bool = False) -> bytes | None:
        return self.table.answer(query, self.row, stream)

    def ask(self, name: str = NAME, qtype: str = "A", stream: bool = False, **given: object) -> dns.message.Message:
        query = dns.message.make_query(name, qtype, **given)  # type: ignore[arg-type]
        answer = self.raw(query.to_wire(), stream)
        assert answer
        message = dns.message.from_wire(answer)
        assert query.is_response(message)
        return message

    def code(self, query: bytes) -> tuple[int, int]:
        """The code of the answer and its size."""
        answer = self.raw(query)
        assert answer is not None and len(answer) >= 12
        assert answer[:2] == query[:2] and answer[2] & 0x80
        return answer[3] & 15, len(answer)


@pytest.fixture
def server() -> Server:
    return Server()


def addresses(message: dns.message.Message) -> list[str]:
    return [record.address for rrset in message.answer for record in rrset]


def query_of(name: str = NAME, qtype: str = "A", **given: object) -> bytes:
    return dns.message.make_query(name, qtype, **given).to_wire()  # type: ignore[arg-type]


# --- an answer ------------------------------------------------------------------------------------------------------


def test_an_answer_is_looked_up_once_and_then_kept(server: Server) -> None:
    for _ in range(3):
        assert sorted(addresses(server.ask())) == sorted(ADDRESSES)
    assert server.names.asked == [(wire_name(NAME), 1)]
    assert server.row.get(slots.DNS_UNCACHED) == 1


def test_an_answer_is_authoritative_and_says_back_whether_recursion_was_wanted(server: Server) -> None:
    for flags, expected in ((dns.flags.RD, "QR AA RD"), (0, "QR AA"), (dns.flags.AD | dns.flags.CD, "QR AA")):
        assert dns.flags.to_text(server.ask(flags=flags).flags) == expected


def test_recursion_is_available_while_there_is_somebody_to_forward_to(server: Server) -> None:
    server.table.forwarding = True
    assert server.ask().flags & dns.flags.RA
    assert server.raw(query_of("example.com")) is None
    server.table.forwarding = False
    assert not server.ask().flags & dns.flags.RA


def test_the_name_is_said_back_as_it_was_written(server: Server) -> None:
    for written in (NAME, NAME.upper(), "WeB.sErViCe.HiVeMeSh"):
        query = query_of(written)
        answer = server.raw(query)
        assert answer is not None
        assert answer[12 : 12 + len(NAME) + 2] == query[12 : 12 + len(NAME) + 2]
    assert len(server.table) == 1


def test_only_ascii_letters_have_two_cases(server: Server) -> None:
    # 0x40 and 0x5B are next to A and Z; 0xC1 is A with the eighth bit.
    for label in (b"@[`{", b"\xc1\xdb\xe1", bytes(range(0x80, 0x80 + 63)), bytes(range(1, 60))):
        name = bytes([len(label)]) + label + b"\0"
        server.raw(b"\0\1\0\0\0\1\0\0\0\0\0\0" + name + b"\0\1\0\1")
        assert server.names.asked[-1][0] == name.lower()


def test_each_address_is_first_equally_often(server: Server) -> None:
    orders = Counter(tuple(addresses(server.ask())) for _ in range(3000))
    one, two, three = ADDRESSES
    assert set(orders) == {(one, two, three), (two, three, one), (three, one, two)}
    assert min(orders.values()) > 850


def test_variants_take_turns(server: Server) -> None:
    wires = [rendered("w.hivemesh", a("w.hivemesh", *order)) for order in (ADDRESSES, ADDRESSES[::-1], ADDRESSES[1:])]
    server.names.add("w.hivemesh", made(wires[0], variants=tuple(wires)))
    for _ in range(4):
        seen = [tuple(addresses(server.ask("w.hivemesh"))) for _ in range(3)]
        assert sorted(seen) == sorted([ADDRESSES, ADDRESSES[::-1], ADDRESSES[1:]])


def test_what_stands_behind_the_rotated_records_stays_there(server: Server) -> None:
    wire = rendered(NAME, a(NAME, *ADDRESSES), extra=aaaa("ns.hivemesh", "fd00::1"))
    server.names.add("web.hivemesh", made(rendered("web.hivemesh", a("web.hivemesh", *ADDRESSES))))
    server.names.add(NAME, made(wire, (12 + len(NAME) + 2 + 4, 16, 3)))
    for _ in range(20):
        message = server.ask()
        assert sorted(addresses(message)) == sorted(ADDRESSES)
        assert message.additional[0][0].to_text() == "fd00::1"


def test_types_of_one_name_are_told_apart(server: Server) -> None:
    wire = rendered(NAME, aaaa(NAME, "fd00::1"), "AAAA")
    server.names.add(NAME, made(wire), 28)
    assert addresses(server.ask(qtype="AAAA")) == ["fd00::1"]
    assert len(addresses(server.ask())) == 3


# --- EDNS and sizes ---------------------------------------------------------------------------------------------------


def test_edns_is_answered_with_edns_and_only_then(server: Server) -> None:
    server.table.udp_size = 1400
    assert server.ask().edns == -1
    message = server.ask(use_edns=0, payload=4096)
    assert (message.edns, message.payload, message.ednsflags) == (0, 1400, 0)
    assert message.options == ()


def test_the_bit_do_is_said_back(server: Server) -> None:
    assert server.ask(want_dnssec=True).ednsflags == dns.flags.DO


def test_unknown_options_are_ignored(server: Server) -> None:
    options = [dns.edns.GenericOption(10, b"12345678"), dns.edns.GenericOption(65001, b"x" * 100)]
    message = server.ask(use_edns=0, options=options)
    assert message.rcode() == 0 and message.options == () and len(addresses(message)) == 3


def test_an_unknown_version_of_edns_is_told_which_is_known(server: Server) -> None:
    message = server.ask(use_edns=7)
    assert (message.rcode(), message.edns, message.answer) == (dns.rcode.BADVERS, 0, [])


@pytest.mark.parametrize(
    ("records", "offered", "fits"),
    [(30, -1, True), (31, -1, False), (29, 100, True), (30, 100, False), (74, 4096, True), (75, 4096, False)],
)
def test_a_larger_answer_than_is_taken_becomes_an_empty_one(
    server: Server, records: int, offered: int, fits: bool
) -> None:
    name = "many.hivemesh"  # 15 bytes on the wire: 12 + 15 + 4 + 16 n, and 11 for EDNS
    server.names.add(name, of_addresses(name, *[f"10.0.0.{n}" for n in range(records)]))
    given = {"use_edns": 0, "payload": offered} if offered > 0 else {}
    message = server.ask(name, **given)
    assert bool(message.flags & dns.flags.TC) is not fits
    assert len(addresses(message)) == (records if fits else 0)
    assert message.edns == (0 if offered > 0 else -1)
    assert message.flags & dns.flags.AA
    assert server.row.get(slots.DNS_TRUNCATED) == (0 if fits else 1)
    assert len(addresses(server.ask(name, stream=True, **given))) == records


def test_additional_addresses_are_left_out_before_an_answer_is_cut(server: Server) -> None:
    name = "srv.hivemesh"
    answer = rendered(name, a(name, *ADDRESSES))
    extra = [record for n in range(40) for record in a(f"n{n}.hivemesh", f"10.1.0.{n}")]
    server.names.add(name, made(rendered(name, a(name, *ADDRESSES), extra=extra), additional=len(answer)))
    message = server.ask(name)
    assert len(addresses(message)) == 3
    assert message.additional == [] and not message.flags & dns.flags.TC
    assert len(server.ask(name, use_edns=0, payload=1232).additional) == 40
    assert len(server.ask(name, stream=True).additional) == 40


def test_the_largest_answer_goes_over_tcp(server: Server) -> None:
    name = "x.hivemesh"
    count = (65_535 - 12 - 16 - OPT) // 16
    server = Server(most_bytes=1 << 20)
    server.names.add(name, of_addresses(name, *[f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(count)]))
    for given in ({}, {"use_edns": 0}):
        assert len(addresses(server.ask(name, stream=True, **given))) == count


@pytest.mark.parametrize("size", [511, 65_536])
def test_sizes_that_no_datagram_has_are_refused(server: Server, size: int) -> None:
    with pytest.raises(ValueError, match=f"not {size}"):
        server.table.udp_size = size


# --- what is no question ----------------------------------------------------------------------------------------------

HEADER_ONLY = 12
PLAIN = query_of()
EDNS = query_of(use_edns=0)
SOA_RECORD = wire_name("hivemesh") + b"\0\6\0\1\0\0\0\0\0\0"


def with_counts(query: bytes, *counts: int) -> bytes:
    return query[:4] + b"".join(count.to_bytes(2, "big") for count in counts) + query[12:]


@pytest.mark.parametrize("size", [0, 1, 11])
def test_less_than_a_header_is_not_answered(server: Server, size: int) -> None:
    assert server.raw(PLAIN[:size]) == b""
    assert server.row.get(slots.DNS_MALFORMED) == 1


def test_an_answer_is_not_answered(server: Server) -> None:
    assert server.raw(PLAIN[:2] + bytes([PLAIN[2] | 0x80]) + PLAIN[3:]) == b""


@pytest.mark.parametrize("opcode", range(1, 16))
def test_other_operations_are_not_implemented(server: Server, opcode: int) -> None:
    query = PLAIN[:2] + bytes([PLAIN[2] | opcode << 3]) + PLAIN[3:]
    for message in (query, query[:12], query[:20], query + b"garbage"):
        assert server.code(message) == (dns.rcode.NOTIMP, HEADER_ONLY)
    answer = server.raw(query)
    assert answer is not None and answer[2] >> 3 & 15 == opcode


@pytest.mark.parametrize(
    ("what", "query"),
    [
        ("no question", with_counts(PLAIN[:12], 0, 0, 0, 0)),
        ("two questions", with_counts(PLAIN + PLAIN[12:], 2, 0, 0, 0)),
        ("256 questions", with_counts(PLAIN, 256, 0, 0, 0)),
        ("only a header", PLAIN[:12]),
        ("a name that is cut off", PLAIN[:20]),
        ("a name without an end", PLAIN[:33]),
        ("no type", PLAIN[:34]),
        ("no class", PLAIN[:-1]),
        ("a pointer to itself", PLAIN[:12] + b"\xc0\x0c\0\1\0\1"),
        ("a pointer to the header", PLAIN[:12] + b"\3web\xc0\x00\0\1\0\1"),
        ("a label of 64", PLAIN[:12] + b"\x40" + b"a" * 64 + b"\0\0\1\0\1"),
        ("an extended label", PLAIN[:12] + b"\x41\1a\0\0\1\0\1"),
        ("a name of 256", PLAIN[:12] + (b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"a" * 62 + b"\0\0\1\0\1"),
        ("a name of 300", PLAIN[:12] + b"\1a" * 150 + b"\0\0\1\0\1"),
        ("a record in the answer section", with_counts(PLAIN + SOA_RECORD, 1, 1, 0, 0)),
        ("a record in the authority section", with_counts(PLAIN + SOA_RECORD, 1, 0, 1, 0)),
        ("bytes after the end", PLAIN + b"\0"),
        ("bytes after EDNS", EDNS + b"\0"),
        ("a record that is missing", with_counts(PLAIN, 1, 0, 0, 1)),
        ("a second record that is missing", with_counts(EDNS, 1, 0, 0, 2)),
        ("two OPT", with_counts(EDNS + EDNS[-11:], 1, 0, 0, 2)),
        ("an OPT with a name", with_counts(PLAIN + b"\1a" + EDNS[-11:], 1, 0, 0, 1)),
        ("an OPT with a pointer for a name", with_counts(PLAIN + b"\xc0\x0c" + EDNS[-10:], 1, 0, 0, 1)),
        ("an option that is cut off", with_counts(EDNS[:-2] + b"\0\3\0\1\0", 1, 0, 0, 1)),
        ("an option that is too long", with_counts(EDNS[:-2] + b"\0\5\0\1\0\2a", 1, 0, 0, 1)),
        ("an OPT that is too long", with_counts(EDNS[:-2] + b"\0\5\0\1\0\0", 1, 0, 0, 1)),
        ("an OPT asked for", query_of(qtype="TYPE41")),
    ],
)
def test_what_cannot_be_understood_is_answered_with_a_header(server: Server, what: str, query: bytes) -> None:
    assert server.code(query) == (dns.rcode.FORMERR, HEADER_ONLY), what
    assert server.row.get(slots.DNS_MALFORMED) == 1
    assert server.names.asked == []


def test_the_longest_name_is_a_question(server: Server) -> None:
    for name in ((b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"a" * 61 + b"\0", b"\1a" * 127 + b"\0", b"\0"):
        assert server.code(PLAIN[:12] + name + b"\0\1\0\1") == (dns.rcode.REFUSED, 12 + len(name) + 4)
        assert server.names.asked[-1] == (name, 1)


def test_other_records_beside_edns_are_passed_over(server: Server) -> None:
    tsig = b"\3key\0\0\xfa\0\xff\0\0\0\0\0\3abc"
    for query in (with_counts(EDNS + tsig, 1, 0, 0, 2), with_counts(PLAIN + tsig + EDNS[-11:], 1, 0, 0, 2)):
        answer = server.raw(query)
        assert answer is not None
        message = dns.message.from_wire(answer)
        assert (message.rcode(), message.edns) == (0, 0)


@pytest.mark.parametrize("qtype", ["AXFR", "IXFR"])
def test_zones_are_not_transferred(server: Server, qtype: str) -> None:
    query = query_of("hivemesh", qtype)
    assert server.code(query) == (dns.rcode.REFUSED, len(query))
    with_serial = with_counts(query + SOA_RECORD, 1, 0, 1, 0)
    code, size = server.code(with_serial)
    assert code == (dns.rcode.REFUSED if qtype == "IXFR" else dns.rcode.FORMERR)
    assert size <= len(query)
    assert server.names.asked == []


@pytest.mark.parametrize("rdclass", ["CH", "HS", "NONE", "ANY"])
def test_other_classes_are_refused(server: Server, rdclass: str) -> None:
    query = dns.message.make_query("version.bind", "TXT", rdclass, use_edns=0).to_wire()
    assert server.code(query) == (dns.rcode.REFUSED, len(query))


def test_names_that_are_not_ours_are_refused(server: Server) -> None:
    query = query_of("example.com", use_edns=0)
    assert server.code(query) == (dns.rcode.REFUSED, len(query))


def test_a_bug_is_told_and_answered_as_a_failure(server: Server) -> None:
    bugs: list[BaseException] = []
    server.table.on_bug = bugs.append
    server.names.bug = RuntimeError("oops")
    assert server.ask().rcode() == dns.rcode.SERVFAIL
    server.names.bug = None
    for wrong in (
        b"",
        rendered("other.hivemesh", a("other.hivemesh", "10.0.0.1")),
        rendered(NAME, a(NAME, "10.0.0.1"), "AAAA"),
        rendered(NAME.upper(), []),
    ):
        server.names.add(NAME, made(wrong))
        assert server.ask().rcode() == dns.rcode.SERVFAIL
    wire = rendered(NAME, a(NAME, *ADDRESSES))
    for rotation, additional in (((38, 16, 4), 0), ((0, 16, 3), 0), ((38, 16, 3), 50), ((0, 0, 0), 5), ((-1, 1, 1), 0)):
        server.names.add(NAME, made(wire, rotation, additional=additional))
        assert server.ask().rcode() == dns.rcode.SERVFAIL
    assert len(bugs) == 10 and len(server.table) == 0


# --- the table --------------------------------------------------------------------------------------------------------


def test_what_may_not_be_kept_is_looked_up_each_time(server: Server) -> None:
    server.names.add("no.hivemesh", no_such_name("no.hivemesh"))
    for _ in range(3):
        assert server.ask("no.hivemesh").rcode() == dns.rcode.NXDOMAIN
    assert len(server.names.asked) == 3 and len(server.table) == 0


def test_answers_to_odd_types_are_not_kept(server: Server) -> None:
    for number in (0, 3, 99, 256, 65_280):
        server.names.add(NAME, made(rendered(NAME, [], f"TYPE{number}")), number)
        for _ in range(2):
            assert server.ask(qtype=f"TYPE{number}").rcode() == 0
    assert len(server.table) == 0


def test_what_an_owner_has_is_forgotten_and_nothing_else(server: Server) -> None:
    for owner in range(20):
        for version in range(owner):
            name = f"v{version}.s{owner}.hivemesh"
            server.names.add(name, of_addresses(name, "10.0.0.1", owner=str(owner)))
            server.ask(name)
    assert len(server.table) == sum(range(20))
    for owner in range(20):
        assert server.table.forget(str(owner)) == owner
        assert server.table.forget(str(owner)) == 0
        assert len(server.table) == sum(range(owner + 1, 20))
    assert server.table.size == 0


def test_a_forgotten_answer_is_looked_up_anew(server: Server) -> None:
    server.ask()
    server.names.add(NAME, of_addresses(NAME, "10.9.9.9"))
    assert len(addresses(server.ask())) == 3
    server.table.forget("web")
    assert addresses(server.ask()) == ["10.9.9.9"]


def test_everything_is_found_again_while_entries_come_and_go(server: Server) -> None:
    table = Answers(100_000, 1 << 30)
    names = [f"n{number}.hivemesh" for number in range(5000)]
    made = {name: of_addresses(name, "10.0.0.1", owner=str(number % 7)) for number, name in enumerate(names)}
    for name in names:
        table.put(wire_name(name), 1, made[name])
    assert table.forget("3") == 714
    for number, name in enumerate(names):
        query = query_of(name)
        answer = table.answer(query, server.row)
        assert answer is not None
        found = answer[3] & 15 == 0
        assert found is (number % 7 != 3), name
    table.clear()
    assert (len(table), table.size) == (0, 0)


def test_the_table_is_bounded_in_entries_and_bytes() -> None:
    server = Server(most_entries=50, most_bytes=1 << 20)
    names = [f"n{number}.hivemesh" for number in range(200)]
    for name in names:
        server.names.add(name, of_addresses(name, "10.0.0.1", owner=name))
        server.ask(name)
    assert len(server.table) == 50
    small = Server(most_entries=1000, most_bytes=2000)
    for name in names:
        small.names.add(name, of_addresses(name, "10.0.0.1", owner=name))
        assert addresses(small.ask(name)) == ["10.0.0.1"]
        assert small.table.size <= 2000
    assert len(small.table) > 5
    large = of_addresses("large.hivemesh", *[f"10.0.0.{n}" for n in range(200)])
    small.names.add("large.hivemesh", large)
    for _ in range(2):
        assert len(addresses(small.ask("large.hivemesh", stream=True))) == 200
    assert small.table.size <= 2000


def test_an_answer_of_a_watched_owner_holds_as_long_as_the_word_is_what_the_answer_says(server: Server) -> None:
    word = 7
    watched = small_table().shared(2)
    watched.add(word, 5)
    server.table.watch("web", watched, word)
    server.names.add(NAME, of_addresses(NAME, *ADDRESSES, epoch=5))
    for expected in (1, 1):
        server.ask()
        assert len(server.names.asked) == expected
    watched.add(word, 1)
    for expected in (2, 3):  # it still speaks of the fifth: made from what was there before the word moved
        server.ask()
        assert len(server.names.asked) == expected
    server.names.add(NAME, of_addresses(NAME, *ADDRESSES, epoch=6))
    for expected in (4, 4):
        server.ask()
        assert len(server.names.asked) == expected
    server.table.forget("web")  # what was kept; the word goes on being looked at
    server.ask()
    server.ask()
    watched.add(word, 1)
    server.ask()
    assert len(server.names.asked) == 6
    with pytest.raises(IndexError):
        server.table.watch("web", watched, 64)


def test_a_word_that_is_watched_no_more_is_not_looked_at(server: Server) -> None:
    watched = small_table().shared(2)
    server.table.watch("web", watched)
    server.names.add(NAME, of_addresses(NAME, *ADDRESSES, epoch=0))
    server.ask()
    server.table.watch("web", None)
    server.ask()
    assert len(server.names.asked) == 2
    watched.add(0, 1)
    server.ask()
    assert len(server.names.asked) == 2


def test_an_answer_that_depends_on_no_word_outlives_its_changes(server: Server) -> None:
    watched = small_table().shared(2)
    server.table.watch("web", watched)
    server.ask()
    watched.add(0, 1)
    server.ask()
    assert len(server.names.asked) == 1


def test_an_answer_holds_until_its_end(server: Server) -> None:
    now = int(time.monotonic() * 1000)
    server.names.add(NAME, of_addresses(NAME, *ADDRESSES, until=now + 3_600_000))
    for _ in range(3):
        server.ask()
    assert len(server.names.asked) == 1
    server.table.forget("web")
    server.names.add(NAME, of_addresses(NAME, *ADDRESSES, until=now))
    for expected in (2, 3, 4):
        assert sorted(addresses(server.ask())) == sorted(ADDRESSES)
        assert len(server.names.asked) == expected
    assert len(server.table) == 1


def test_all_answers_dropped_leaves_the_words_watched(server: Server) -> None:
    watched = small_table().shared(2)
    server.table.watch("web", watched)
    server.names.add(NAME, of_addresses(NAME, *ADDRESSES, epoch=0))
    server.ask()
    server.table.clear()
    server.ask()
    watched.add(0, 1)
    server.ask()
    assert len(server.names.asked) == 3


def test_everything_is_counted(server: Server) -> None:
    server.ask()
    server.ask()
    server.ask("no.example")
    server.ask(qtype="TYPE300")
    server.raw(PLAIN[:13])
    server.raw(b"")
    types = list(slots.DNS_TYPE_NUMBERS)
    codes = list(slots.DNS_RCODE_NUMBERS)
    assert server.row.get(slots.DNS_TYPES + types.index(1)) == 3
    assert server.row.get(slots.DNS_TYPES + len(types)) == 2
    assert server.row.get(slots.DNS_RCODES + codes.index(0)) == 2
    assert server.row.get(slots.DNS_RCODES + codes.index(5)) == 2
    assert server.row.get(slots.DNS_RCODES + codes.index(1)) == 1
    assert server.row.get(slots.REQUESTS) == 5
    assert server.row.get(slots.DNS_MALFORMED) == 2


def test_a_row_has_room_for_all_types_and_codes() -> None:
    assert slots.DNS_TYPES + len(slots.DNS_TYPE_NUMBERS) < slots.DNS_RCODES
    assert slots.DNS_RCODES + len(slots.DNS_RCODE_NUMBERS) < slots.CELLS


def test_a_table_needs_room() -> None:
    for given in ((0, 100), (100, 0)):
        with pytest.raises(ValueError, match="needs room"):
            Answers(*given)
    with pytest.raises(ValueError, match="at most 255 bytes"):
        Answers().put(os.urandom(256), 1, of_addresses(NAME, "10.0.0.1"))
