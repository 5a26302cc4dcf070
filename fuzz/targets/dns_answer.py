"""What resolvers answer: discovery.dns.messages, forwarding and cache, and the kernel's `finish`.

The first byte says who asked and how, the rest is what came from the network. What is taken for an answer has to be a
message of DNS for dnspython as well once it is passed on (it looks inside of records, we do not), with the question,
the id and the records of the question; keeping it and counting it down changes nothing but its TTLs.
"""

from __future__ import annotations

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name

from discovery.dns.cache import Cache, key_of, reply, taken_over
from discovery.dns.forwarding import Verdict, judge, write_query
from discovery.dns.messages import Message, Query, read_message, read_query
from discovery.model import DnsSettings
from fuzz.memory import statistics
from fuzz.support import expect
from proxy.kernel.dnswire import Answers

dns.edns._type_to_class = {}

SETTINGS = DnsSettings(addresses=("127.0.0.1:53",), forward=("10.0.0.53:53",), serve_stale=60.0)
NUMBER = 0x1234
ASKED = b"\xab\xcd\1\x10\0\1\0\0\0\0\0\1\3wWw\7example\3com\0\0\1\0\1\0\0\x29\2\x58\0\0\x80\0\0\0"
PLAIN = b"\xab\xcd\1\0\0\1\0\0\0\0\0\0\3wWw\7example\3com\0\0\1\0\1"
QUERIES = (ASKED, PLAIN)

ROW = statistics(4).slot(0, 1)
TABLE = Answers(4, 4096)

HEAD = b"\x12\x34\x81\x80\0\1"
NAME = b"\3www\7example\3com\0\0\1\0\1"
ADDRESS = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4"
SOA = b"\xc0\x10\0\6\0\1\0\0\0\x3c\0\x18\2ns\xc0\x10\xc0\x10" + bytes(19) + b"\x0a"
ALIAS = b"\xc0\x0c\0\5\0\1\0\0\1\0\0\4\1x\xc0\x10"
OPT = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0"

SEEDS = (
    b"\0" + HEAD + b"\0\1\0\0\0\0" + NAME + ADDRESS,
    b"\1" + HEAD + b"\0\2\0\0\0\1" + NAME + ADDRESS + ADDRESS + OPT,
    b"\2" + b"\x12\x34\x81\x83\0\1\0\0\0\1\0\1" + NAME + SOA + OPT,
    b"\3" + b"\x12\x34\x87\xb0\0\1\0\2\0\1\0\0" + NAME + ALIAS + ADDRESS + SOA,
    b"\0" + b"\x12\x34\x83\x80\0\1\0\0\0\0\0\0" + NAME,
    b"\1" + b"\x12\x34\x81\x82\0\1\0\0\0\0\0\0" + NAME,
    b"\0" + b"\x12\x34\x81\x81\0\0\0\0\0\0\0\0",
    b"\0" + HEAD + b"\0\1\0\0\0\1" + NAME + ADDRESS + OPT + b"\0\0\xfa\0\xff\0\0\0\0\0\1x",
)
WORDS = (
    HEAD,
    NAME,
    ADDRESS,
    SOA,
    ALIAS,
    OPT,
    b"\xc0\x0c",
    b"\xc0\x00",
    b"\xc0\xff",
    b"\0\2\0\1",
    b"\0\1\0\1",
    b"\0\x29",
    b"\x80\0\0\0",
    b"\xff\xff\xff\xff",
    b"\0\0",
    b"\x3f",
    b"\x40",
    b"\0\6",
    b"\0\5",
)


def check(data: bytes) -> None:
    if not data:
        return
    how, wire = data[0], data[1:]
    sent = QUERIES[how & 1]
    query = read_query(sent)
    verdict, message = judge(wire, NUMBER, query)
    if message is None:
        expect(verdict is Verdict.STRAY, "a message that is none", verdict)
        return
    asked = read_query(write_query(NUMBER, query))
    expect(message.question.name.lower() == asked.question.name, "the answer to another question", message)
    answered = taken_over(wire, message, SETTINGS)
    check_passed_on(wire, message, answered.wire)
    answer = reply(query, answered.wire)
    finished = TABLE.finish(sent, answer, ROW, bool(how & 2))
    expect(finished[:2] == sent[:2], "another id", finished)
    expect(finished.startswith(sent[12:29], 12), "another spelling of the question", finished)
    expect(
        len(finished) <= (65_535 if how & 2 else 600 if how & 1 == 0 else 512), "larger than the asker takes", finished
    )
    check_cache(query, answered.lifetime, answered.wire, answered, 4.0 * (how >> 2))


def check_passed_on(wire: bytes, message: Message, passed: bytes) -> None:
    """`passed`: what clients get of `wire`."""
    ours = read_message(passed)
    expect(all(item.rtype != 41 for item in ours.items), "EDNS of a neighbour is passed on", passed)
    expect(len(ours.items) <= len(message.items), "more records than there were", passed)
    for ours_item, item in zip(ours.items, message.items, strict=False):
        expect(ours_item.section == item.section, "a record has changed its section", passed)
        expect(ours_item.rtype == item.rtype, "a record has changed its type", passed)
    try:
        before = dns.message.from_wire(wire, ignore_trailing=False)
    except (dns.exception.DNSException, ValueError):
        return  # of another opinion about what stands inside of records
    try:
        after = dns.message.from_wire(passed)
    except (dns.exception.DNSException, ValueError) as error:
        expect(False, "what is passed on is no message any more", repr(error), wire, passed)
        return
    expect(after.rcode() == before.rcode() & 15, "another code", before, after)
    expect(after.flags & dns.flags.TC == before.flags & dns.flags.TC, "truncated", before, after)


def check_cache(query: Query, lifetime: float, wire: bytes, answered: object, age: float) -> None:
    cache = Cache(SETTINGS)
    key = key_of(query)
    cache.put(key, answered, 100.0)  # type: ignore[arg-type]
    expect(0.0 <= lifetime <= max(SETTINGS.cache_ttl, SETTINGS.cache_negative_ttl), "kept for another time", lifetime)
    found = cache.find(key, 100.0 + age)
    expect((found is not None) == (age < lifetime), "kept longer or shorter than it may be", age, lifetime)
    if found is not None:
        expect(len(found.wire) == len(wire), "an answer that was kept has another size", found, wire)
        before, after = read_message(wire), read_message(found.wire)
        for was, now in zip(before.items, after.items, strict=True):
            expect(now.ttl == max(0, was.ttl - int(age)), "a TTL has not counted down", was, now, age)
