"""proxy.kernel.dnswire.Answers, with a zone behind it: what it answers to any message, beside dnspython and dnslib.

The first byte says by which way the question came, and whether others' names are forwarded. Answers are kept between
inputs, as they are in a worker.

Where dnspython is of another opinion about a question, by rule:
 - it takes several questions, or none; compressed names in a question; records where a query has none; two OPT records,
   and OPT with a name (RFC 9619, RFC 6891 section 6.1.1): FORMERR here
 - it looks inside of records and of the options it knows; here only their lengths count
"""

from __future__ import annotations

import random
import re

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dnslib

from discovery.dns.answer import Answer
from discovery.dns.zone import Zone
from discovery.model import DnsSettings, Endpoint, Service
from fuzz.memory import statistics
from fuzz.support import expect
from proxy.kernel.dnswire import Answers

dns.edns._type_to_class = {}  # what stands inside of an option is nobody's business here

UDP_SIZE = 1232
PLAIN = re.compile(rb"[\w-]+", re.ASCII)
OURS = ([b"hivemesh"], [b"web", b"test"])

SETTINGS = DnsSettings(addresses=("127.0.0.1:53",), zone="hivemesh")
SERVICES = (
    Service(
        name="web",
        domain="web.test",
        endpoints=tuple(Endpoint(id=f"w{n}", address=f"10.0.0.{n}:80", version=f"v{n % 2}") for n in range(1, 5)),
    ),
    Service(name="many", endpoints=tuple(Endpoint(id=f"m{n}", address=f"10.1.{n}.1:80") for n in range(200))),
    Service(name="six", endpoints=(Endpoint(id="s", address="[2001:db8::1]:80"),)),
    Service(name="none"),
)


def question(name: str, qtype: int, edns: bytes = b"", flags: bytes = b"\1\0", qclass: int = 1) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split(".") if label)
    count = b"\0\1" if edns else b"\0\0"
    return (
        b"\x12\x34"
        + flags
        + b"\0\1\0\0\0\0"
        + count
        + labels
        + b"\0"
        + qtype.to_bytes(2, "big")
        + qclass.to_bytes(2, "big")
        + edns
    )


OPT = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0"
COOKIE = b"\0\0\x29\x10\0\0\0\0\0\0\x0c\0\x0a\0\x08abcdefgh"

SEEDS = (
    b"\0" + question("web.test", 1),
    b"\1" + question("WEB.tEst", 1, OPT),
    b"\2" + question("v1.web.test", 33, COOKIE),
    b"\3" + question("many.service.hivemesh", 1, OPT),
    b"\0" + question("_web._tcp.service.hivemesh", 33, OPT),
    b"\0" + question("1.0.0.10.in-addr.arpa", 12),
    b"\0" + question("six.service.hivemesh", 28),
    b"\0" + question("none.service.hivemesh", 1),
    b"\0" + question("hivemesh", 6),
    b"\0" + question("example.com", 255, OPT),
    b"\2" + question("0a000001.addr.hivemesh", 1),
    b"\0" + question("web.test", 251) + b"\xc0\x0c\0\6\0\1\0\0\0\0\0\0",
    b"\0" + question("version.bind", 16, qclass=3),
    b"\0" + question("web.test", 1, flags=b"\x28\0"),
    b"\0" + question("web.test", 1, flags=b"\x81\x80"),
)
WORDS = (
    OPT,
    COOKIE,
    b"\3web",
    b"\4test",
    b"\7service",
    b"\x08hivemesh",
    b"\4many",
    b"\2v1",
    b"\3all",
    b"\4_tcp",
    b"\4_web",
    b"\4node",
    b"\4addr",
    b"\x080a000001",
    b"\7in-addr\4arpa\0",
    b"\xc0\x0c",
    b"\0\1\0\1",
    b"\0\x1c\0\1",
    b"\0\x21\0\1",
    b"\0\xff\0\1",
    b"\0\x29",
    b"\0\0\0\0",
    b"\x3f",
    b"\x40",
    b"\xff\xff",
)


class Table(Answers):
    def __init__(self) -> None:
        super().__init__(64, 1 << 18)
        self.on_bug = self.raise_later
        self.bugs: list[BaseException] = []
        self.zone = Zone(SETTINGS, random.Random(1))
        for service in SERVICES:
            self.zone.put(service)
        self.zone.version(1)

    def raise_later(self, bug: BaseException) -> None:
        self.bugs.append(bug)

    def lookup(self, name: bytes, qtype: int) -> Answer | None:
        return self.zone.answer(name, qtype)


ROW = statistics(4).slot(0, 1)
TABLE = Table()


def check(data: bytes) -> None:
    if not data:
        return
    stream, TABLE.forwarding, sent = bool(data[0] & 1), bool(data[0] & 2), data[1:]
    answer = TABLE.answer(sent, ROW, stream)
    if TABLE.bugs:
        raise TABLE.bugs.pop()
    is_query = len(sent) >= 12 and not sent[2] & 0x80
    if not is_query:
        expect(answer == b"", "what is no query was answered", answer)
        return
    if answer is None:
        check_passed_on(sent)
        return
    expect(answer, "a query got no answer", sent)
    check_answer(sent, answer, stream)


def check_passed_on(sent: bytes) -> None:
    expect(TABLE.forwarding, "passed on, but nothing is forwarded")
    asked = read_question(sent)
    expect(asked is None or len(asked.question) == 1, "passed on without one question", sent)
    name = [label.lower() for label in labels(sent)]
    expect(not any(name[-len(own) :] == own for own in OURS), "a name of ours was passed on", name)


def check_answer(sent: bytes, answer: bytes, stream: bool) -> None:
    rcode = answer[3] & 15
    expect(answer[:2] == sent[:2], "another id", answer)
    expect(answer[2] & 0x80, "not an answer", answer)
    expect(answer[2] & 0x79 == sent[2] & 0x79, "another operation or RD", answer)
    expect(answer[3] & 0x70 == 0, "Z, AD or CD", answer)
    expect(bool(answer[3] & 0x80) == TABLE.forwarding, "RA", answer)
    if rcode in (1, 4, 5):
        expect(len(answer) <= max(len(sent), 12), "a refusal larger than what is refused", answer)
        expect(answer[6:10] == b"\0\0\0\0", "a refusal with records", answer)
    if answer[4:6] == b"\0\1":
        end = 12 + sum(len(label) + 1 for label in labels(sent)) + 5
        expect(answer[12:end] == sent[12:end], "another question is answered", answer)
    else:
        expect(
            answer[4:6] == b"\0\0" and len(answer) == 12 and rcode in (1, 4), "an answer without its question", answer
        )
    expect(not answer[2] & 2 or (not stream and answer[6:10] == b"\0\0\0\0"), "truncated, but not empty", answer)
    # One of the two reads it, in turn, because each takes as long as all the rest; dnslib knows plain names only.
    if sum(sent) & 1 or not all(map(PLAIN.fullmatch, labels(answer))):
        read = dns.message.from_wire(answer)
        counts = (len(read.question), read.edns)
    else:
        other = dnslib.DNSRecord.parse(answer)
        opt = [record for record in other.ar if record.rtype == 41]
        counts = (len(other.questions), 0 if opt else -1)
    expect(counts[0] == answer[5], "another count of questions", counts, answer)
    if rcode == 4:
        expect(sent[2] & 0x78, "NOTIMP to a query", answer)
        return
    if rcode == 1:
        return
    largest = 65_535
    asked = read_question(sent)
    if not stream:
        largest = min(UDP_SIZE, max(512, asked.payload)) if asked is not None and asked.edns >= 0 else 512
    expect(len(answer) <= largest or asked is None, "larger than the asker takes", len(answer), largest)
    if asked is not None:
        expect(len(asked.question) == 1, "answered without one question", sent)
        expect((asked.edns >= 0) == (counts[1] >= 0), "EDNS in one of both only", sent, answer)


def labels(message: bytes) -> list[bytes]:
    """Of the question's name, which is not compressed."""
    found = []
    at = 12
    while message[5] and message[at]:
        found.append(message[at + 1 : at + 1 + message[at]])
        at += message[at] + 1
    return found


def read_question(sent: bytes) -> dns.message.Message | None:
    """What dnspython reads, None if it finds something inside of a record that is none of ours."""
    try:
        return dns.message.from_wire(sent)
    except dns.exception.DNSException as error:
        records = int.from_bytes(sent[8:10], "big") + int.from_bytes(sent[10:12], "big")
        expect(records, "dnspython refuses a question that was answered", repr(error), sent)
        return None
