"""Questions passed on: what is sent, which resolver is asked, which answers count, who waits for one.

Resolvers are asked in the order they are written in, the first that answers is right. One that fails three times in a
row goes to the end of the order, and now and then one question finds out whether it is back. An answer counts when id
and question match; what else arrives is ignored, because anybody can send it (RFC 5452). Identical questions wait for
one answer. A loop of forwarders comes back as a question that is already under way, and so ends here.
Rules only: sockets and time belong to proxy/dns/forwarder.py. `now` is in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from ipaddress import ip_address
from typing import Final

from discovery.dns.cache import is_negative
from discovery.dns.messages import (
    AUTHENTIC,
    AUTHORITATIVE,
    AUTHORITY,
    CHECKING_DISABLED,
    DNSSEC_OK,
    OPCODE,
    RECURSION_DESIRED,
    RESPONSE,
    TRUNCATED,
    Malformed,
    Message,
    Query,
    Question,
    read_message,
)
from discovery.dns.records import Rcode, Type
from discovery.dns.selection import parse_address
from discovery.model import DnsSettings

# The largest answer over UDP that no path has to take apart (DNS flag day 2020).
UDP_SIZE: Final = 1232

# Failures in a row until a resolver is asked last, and how long until it gets a chance: doubled each time.
MAX_FAILURES: Final = 3
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0

# Clients that wait for one answer; a client that asks again waits twice.
MAX_WAITING: Final = 1024

# RFC 8767 section 5: clients give up after about two seconds.
STALE_AFTER: Final = 1.8


def write_query(number: int, query: Query, with_edns: bool = True) -> bytes:
    """The question as a resolver is asked it: in lower case, recursion desired, AD for "tell me whether it is
    authentic" (RFC 6840 section 5.7). No option of the client's goes with it: they are between neighbours."""
    flags = RECURSION_DESIRED | AUTHENTIC | query.flags & CHECKING_DISABLED
    asked = Question(query.question.name.lower(), query.question.qtype, query.question.qclass)
    head = number.to_bytes(2, "big") + flags.to_bytes(2, "big") + b"\0\1\0\0\0\0\0" + bytes((with_edns,))
    if not with_edns:
        return head + asked.wire
    option = DNSSEC_OK if query.dnssec_ok else 0
    edns = b"\0" + Type.OPT.to_bytes(2, "big") + UDP_SIZE.to_bytes(2, "big") + option.to_bytes(4, "big") + b"\0\0"
    return head + asked.wire + edns


class Verdict(Enum):
    """What a datagram or message from a resolver is."""

    STRAY = "stray"  # not the answer to this question: wait on
    ANSWER = "answer"
    TRUNCATED = "truncated"  # ask again over TCP
    PLAIN = "plain"  # the resolver does not know EDNS: ask again without (RFC 6891 section 6.2.2)
    USELESS = "useless"  # it cannot or will not resolve it: ask another


def judge(wire: bytes, number: int, query: Query) -> tuple[Verdict, Message | None]:
    """What `wire` is to the one who sent `query` under the id `number`. The message is there unless it is stray."""
    try:
        message = read_message(wire)
    except Malformed:
        return Verdict.STRAY, None
    asked, echoed = query.question, message.question
    if (
        message.id != number
        or not message.flags & RESPONSE
        or message.flags & OPCODE
        or echoed.name.lower() != asked.name.lower()
        or echoed[1:] != asked[1:]
    ):
        return Verdict.STRAY, None
    if message.flags & TRUNCATED:
        return Verdict.TRUNCATED, message
    has_edns = any(item.rtype == Type.OPT for item in message.items)
    if message.rcode in (Rcode.FORMERR, Rcode.NOTIMP) and not has_edns:
        return Verdict.PLAIN, message
    if message.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN) or _is_referral(message):
        return Verdict.USELESS, message
    return Verdict.ANSWER, message


def _is_referral(message: Message) -> bool:
    """ "Ask those": from a server that does not resolve for others (RFC 2308 section 2.2)."""
    if message.rcode != Rcode.NOERROR or message.flags & AUTHORITATIVE or not is_negative(message, message.items):
        return False
    authority = [item.rtype for item in message.items if item.section == AUTHORITY]
    return Type.NS in authority and Type.SOA not in authority


class Resolver:
    """How one of them has been lately."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.failures = 0  # in a row
        self.pause = 0.0
        self.paused_until = 0.0


class Resolvers:
    def __init__(self, addresses: Iterable[str]) -> None:
        self._all = [Resolver(address) for address in dict.fromkeys(addresses)]

    def order(self, now: float) -> list[Resolver]:
        """Whom to ask, one after the other. Whoever has failed comes last, but is tried by one question when its
        pause is over, and by every question that nobody else answers."""
        up, down = [], []
        for resolver in self._all:
            if resolver.failures < MAX_FAILURES:
                up.append(resolver)
            elif now >= resolver.paused_until:
                resolver.paused_until = now + resolver.pause  # the next question need not try as well
                up.append(resolver)
            else:
                down.append(resolver)
        return up + sorted(down, key=lambda resolver: resolver.paused_until)

    def succeeded(self, resolver: Resolver) -> None:
        resolver.failures = 0
        resolver.pause = 0.0
        resolver.paused_until = 0.0

    def failed(self, resolver: Resolver, now: float) -> None:
        """It did not answer in time, or cannot be reached."""
        resolver.failures += 1
        # Many questions fail at the same time; they are one pause.
        if resolver.failures >= MAX_FAILURES and now >= resolver.paused_until:
            resolver.pause = min(max(FIRST_PAUSE, resolver.pause * 2), LONGEST_PAUSE)
            resolver.paused_until = now + resolver.pause

    @property
    def down(self) -> int:
        return sum(resolver.failures >= MAX_FAILURES for resolver in self._all)


class Joined(Enum):
    FIRST = "first"  # it has to be asked
    WAITING = "waiting"  # it has been
    FULL = "full"


Waiter = tuple[Query, Callable[[bytes], None]]


class UnderWay:
    """Who waits for which answer. At most `most` questions, of them `of_one` that the same client began, and
    MAX_WAITING clients for each."""

    def __init__(self, most: int, of_one: int = 0) -> None:
        """0 of `of_one` is no limit."""
        self.most = most
        self.of_one = of_one
        self._waiting: dict[bytes, list[Waiter]] = {}
        self._began: dict[bytes, bytes] = {}  # by question: the client that it is asked for
        self._of_client: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, key: bytes, waiter: Waiter, client: bytes = b"") -> Joined:
        """`client`: what counts as one; b"" is nobody in particular. Whoever waits for a question of another's counts
        for nothing."""
        waiting = self._waiting.get(key)
        if waiting is None:
            begun = self._of_client.get(client, 0)
            if len(self._waiting) >= self.most or (client and self.of_one and begun >= self.of_one):
                return Joined.FULL
            self._waiting[key] = [waiter]
            if client:
                self._began[key] = client
                self._of_client[client] = begun + 1
            return Joined.FIRST
        if len(waiting) >= MAX_WAITING:
            return Joined.FULL
        waiting.append(waiter)
        return Joined.WAITING

    def take(self, key: bytes) -> list[Waiter]:
        """All that wait so far; the question stays under way."""
        waiting = self._waiting.get(key, [])
        self._waiting[key] = []
        return waiting

    def end(self, key: bytes) -> list[Waiter]:
        client = self._began.pop(key, b"")
        if client:
            self._of_client[client] -= 1
            if not self._of_client[client]:
                del self._of_client[client]
        return self._waiting.pop(key, [])


def network_of(address: bytes) -> bytes:
    """What counts as one client: the /24 of an IPv4 address, the /56 of IPv6, as for dns.rate_limit; b"" for none.
    `address` is its text."""
    if not address:
        return b""
    packed = ip_address(address.partition(b"%")[0].decode()).packed
    return packed[:3] if len(packed) == 4 else packed[:7]


def loops(settings: DnsSettings) -> list[str]:
    """The resolvers that are this server itself."""
    own = [parsed for parsed in map(parse_address, settings.addresses) if parsed is not None]
    found = []
    for address in settings.forward:
        parsed = parse_address(address)
        if parsed is not None and any(_reaches(parsed, listening) for listening in own):
            found.append(address)
    return found


def _reaches(target: tuple[bytes, int], listening: tuple[bytes, int]) -> bool:
    """A server on every address is reached at least by loopback; which others are this machine's is not known here."""
    (packed, port), (own, own_port) = target, listening
    is_loopback = (len(packed) == 4 and packed[0] == 127) or packed == bytes(15) + b"\1"
    return port == own_port and (packed == own or (not any(own) and (is_loopback or not any(packed))))
