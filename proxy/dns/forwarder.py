"""Questions that are not ours: answered out of the cache or passed on to the resolvers of `dns.forward`.

Each question that is passed on is a task of the worker's loop with a socket of its own, so that every one has another
port (RFC 5452 section 9.2): connected, so that only the resolver can answer. UDP first, sent a second time when half of
the time is over; TCP when the answer is truncated. One resolver after the other gets `forward_timeout`; when none has
an answer, clients get the last good one (stale) or SERVFAIL.

Answers have no OPT and are not cut to any size: both belong to the connection with the client, as of our own names.
The rules are in discovery/dns/forwarding.py and cache.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import secrets
import socket
from collections.abc import Callable
from typing import Final

from discovery.dns.cache import Answered, Cache, failure, key_of, reply, taken_over
from discovery.dns.forwarding import (
    STALE_AFTER,
    Joined,
    Resolvers,
    UnderWay,
    Verdict,
    Waiter,
    judge,
    loops,
    write_query,
)
from discovery.dns.messages import OPCODE, RECURSION_DESIRED, RESPONSE, Malformed, Query, read_query
from discovery.dns.records import HEADER_SIZE, Rcode
from discovery.exhaustion import OURS_BY_IP
from discovery.model import DnsSettings
from proxy.kernel.cells import Slot
from proxy.stats.slots import (
    ACTIVE,
    DNS_CACHE_BYTES,
    DNS_CACHE_ENTRIES,
    DNS_CACHE_HITS,
    DNS_CACHE_MISSES,
    DNS_CACHE_STALE,
    DNS_FORWARD_ANSWERED,
    DNS_FORWARD_FAILED,
    DNS_FORWARD_OVER_TCP,
    DNS_FORWARD_STALE,
    DNS_RESOLVER_FAILURES,
    DNS_RESOLVERS_DOWN,
    OVERFLOWS,
)

# Datagrams from a resolver's address that are not the answer. After so many somebody is guessing, or the resolver is
# broken, and another one is asked (RFC 5452 section 9.2 wants the number bounded).
MAX_STRAYS: Final = 16

LARGEST_DATAGRAM: Final = 65_535

GAUGES: Final = (DNS_CACHE_ENTRIES, DNS_CACHE_BYTES, DNS_RESOLVERS_DOWN)


class Forwarder:
    """One per worker. Everything happens on `loop`, from which it is called as well."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: DnsSettings, row: Slot) -> None:
        self._loop = loop
        self._row = row
        self._under_way = UnderWay(settings.forward_pending, settings.forward_pending_per_client)
        self._tasks: set[asyncio.Task[None]] = set()
        self._shown = (0, 0, 0)
        self._take(settings)

    def configure(self, settings: DnsSettings) -> None:
        """Other settings, for the questions to come. What former resolvers said is forgotten if there are others: they
        may know other names."""
        if _concerning(settings) != _concerning(self._settings):
            self._take(settings)

    def _take(self, settings: DnsSettings) -> None:
        own = loops(settings)
        self._settings = settings
        self._resolvers = Resolvers(address for address in settings.forward if address not in own)
        self._under_way.most = settings.forward_pending
        self._under_way.of_one = settings.forward_pending_per_client
        self._cache = Cache(settings)
        self._show()

    async def close(self) -> None:
        """Give up what is under way; nobody is answered any more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._take(DnsSettings())

    # --- a question -------------------------------------------------------------------------------------------------

    def ask(self, query: bytes, respond: Callable[[bytes], None], client: bytes = b"") -> None:
        """`respond` is called once, perhaps before this returns, with the answer to the message `query`; never when
        that is no query, and not after `close`. `client`: its network, b"" for nobody in particular."""
        try:
            asked = read_query(query)
        except Malformed:
            if len(query) >= HEADER_SIZE and not query[2] & 0x80:
                respond(query[:2] + b"\x80\x81" + bytes(8))
            return
        if asked.flags & RESPONSE:
            return
        if asked.flags & OPCODE:
            respond(reply(asked, failure(asked.question, Rcode.NOTIMP).wire))
        elif not asked.flags & RECURSION_DESIRED or not self._settings.forward:
            # Without recursion there is nothing to say of names that are not ours, and what the cache holds is nobody's
            # business.
            respond(reply(asked, failure(asked.question, Rcode.REFUSED).wire))
        else:
            self._find(asked, respond, client)

    def _find(self, asked: Query, respond: Callable[[bytes], None], client: bytes) -> None:
        key = key_of(asked)
        found = self._cache.find(key, self._loop.time())
        if found is not None:
            self._row.add(DNS_CACHE_STALE if found.is_stale else DNS_CACHE_HITS, 1)
            respond(reply(asked, found.wire))
            return
        self._row.add(DNS_CACHE_MISSES, 1)
        joined = self._under_way.join(key, (asked, respond), client)
        if joined is Joined.FULL:
            self._row.add(OVERFLOWS, 1)
            respond(reply(asked, failure(asked.question).wire))
        elif joined is Joined.FIRST:
            task = self._loop.create_task(self._resolve(key, asked))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _resolve(self, key: bytes, asked: Query) -> None:
        """Ask the resolvers, and answer everybody who has been waiting."""
        began = self._loop.time()
        self._row.add(ACTIVE, 1)
        impatience = None
        if self._cache.find_stale(key, began) is not None:
            impatience = self._loop.call_later(STALE_AFTER, self._serve_stale, key)
        answered = None
        try:
            answered = await self._ask_resolvers(asked)
        except Exception as bug:
            self._loop.call_exception_handler({"message": "a question was not forwarded", "exception": bug})
        finally:
            if impatience is not None:
                impatience.cancel()
            self._row.add(ACTIVE, -1)
            waiting = self._under_way.end(key)
        self._finish(key, asked, answered, waiting, began)

    def _finish(self, key: bytes, asked: Query, answered: Answered | None, waiting: list[Waiter], began: float) -> None:
        now = self._loop.time()
        stale = self._cache.find_stale(key, now) if answered is None else None
        if answered is not None:
            outcome = DNS_FORWARD_ANSWERED
            self._cache.put(key, answered, now)
            wire = answered.wire
        elif stale is not None:
            outcome = DNS_FORWARD_STALE
            self._cache.hold(key, now)
            self._row.add(DNS_CACHE_STALE, len(waiting))
            wire = stale
        else:
            outcome = DNS_FORWARD_FAILED
            none = failure(asked.question)
            self._cache.put(key, none, now)
            wire = none.wire
        self._row.count_request(outcome, int((now - began) * 1e6), 0, 0)
        self._show()
        for query, respond in waiting:
            respond(reply(query, wire))

    def _serve_stale(self, key: bytes) -> None:
        """The resolvers take long: who waits gets what there is, and who asks now as well (RFC 8767 section 5)."""
        now = self._loop.time()
        stale = self._cache.find_stale(key, now)
        if stale is None:
            return
        self._cache.hold(key, now)
        for query, respond in self._under_way.take(key):
            self._row.add(DNS_CACHE_STALE, 1)
            respond(reply(query, stale))

    def _show(self) -> None:
        """Bring the gauges up to date."""
        now = (len(self._cache), self._cache.size, self._resolvers.down)
        for cell, before, after in zip(GAUGES, self._shown, now, strict=True):
            if before != after:
                self._row.add(cell, after - before)
        self._shown = now

    # --- the resolvers ----------------------------------------------------------------------------------------------

    async def _ask_resolvers(self, asked: Query) -> Answered | None:
        """The first answer that is one; None when no resolver has any."""
        resolvers = self._resolvers
        for resolver in resolvers.order(self._loop.time()):
            try:
                answered = await self._ask(resolver.address, asked)
            except OSError as error:  # TimeoutError is one
                if error.errno not in OURS_BY_IP:
                    resolvers.failed(resolver, self._loop.time())
                    self._row.add(DNS_RESOLVER_FAILURES, 1)
                continue
            resolvers.succeeded(resolver)
            if answered is not None:
                return answered
        return None

    async def _ask(self, address: str, asked: Query) -> Answered | None:
        """None when the resolver has no answer. OSError when it cannot be reached or does not speak DNS."""
        verdict, answered = await self._ask_udp(address, asked, True)
        if verdict is Verdict.PLAIN:
            verdict, answered = await self._ask_udp(address, asked, False)
        if verdict is Verdict.TRUNCATED:
            verdict, answered = await self._ask_tcp(address, asked)
        return answered if verdict is Verdict.ANSWER else None

    async def _ask_udp(self, address: str, asked: Query, with_edns: bool) -> tuple[Verdict, Answered | None]:
        number = secrets.randbelow(0x10000)
        timeout = self._settings.forward_timeout
        query = write_query(number, asked, with_edns)
        with _socket(address, socket.SOCK_DGRAM) as sock:
            sock.connect(_target(address))
            sock.send(query)
            again = self._loop.call_later(timeout / 2, _send_again, sock, query)
            try:
                async with asyncio.timeout(timeout):
                    for _ in range(MAX_STRAYS):
                        wire = await self._loop.sock_recv(sock, LARGEST_DATAGRAM)
                        verdict, message = judge(wire, number, asked)
                        if message is not None:
                            return verdict, taken_over(wire, message, self._settings)
            finally:
                again.cancel()
        raise OSError(errno.EPROTO, f"{address} sends what is no answer")

    async def _ask_tcp(self, address: str, asked: Query) -> tuple[Verdict, Answered | None]:
        number = secrets.randbelow(0x10000)
        query = write_query(number, asked)
        self._row.add(DNS_FORWARD_OVER_TCP, 1)
        with _socket(address, socket.SOCK_STREAM) as sock:
            async with asyncio.timeout(self._settings.forward_timeout):
                await self._loop.sock_connect(sock, _target(address))
                await self._loop.sock_sendall(sock, len(query).to_bytes(2, "big") + query)
                size = int.from_bytes(await self._receive(sock, 2), "big")
                wire = await self._receive(sock, size)
        verdict, message = judge(wire, number, asked)
        if message is None:
            raise OSError(errno.EPROTO, f"{address} sends what is no answer")
        return verdict, taken_over(wire, message, self._settings)

    async def _receive(self, sock: socket.socket, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = await self._loop.sock_recv(sock, size - len(parts))
            if not part:
                raise ConnectionResetError(errno.ECONNRESET, "the connection ended within a message")
            parts += part
        return bytes(parts)


def _concerning(settings: DnsSettings) -> tuple[object, ...]:
    """The settings that forwarding depends on."""
    return (
        settings.addresses,
        settings.forward,
        settings.forward_timeout,
        settings.forward_pending,
        settings.forward_pending_per_client,
        settings.cache_size,
        settings.cache_ttl,
        settings.cache_negative_ttl,
        settings.serve_stale,
    )


def _target(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _socket(address: str, kind: socket.SocketKind) -> socket.socket:
    """On a port that the system draws."""
    family = socket.AF_INET6 if address.startswith("[") else socket.AF_INET
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    return sock


def _send_again(sock: socket.socket, query: bytes) -> None:
    with contextlib.suppress(OSError):  # whoever waits for the answer is told
        sock.send(query)
