"""What one client may have of a worker: connections and sessions at a time, and how many it may begin in a second.

A client is an IPv4 address or a /64 of IPv6, which is what one subscriber has. How many it has open is counted by each
worker for itself, so that nothing is left behind by one that dies: a client can have as much of every worker. How many
it begins is counted over all workers together, in the buckets that rate limits have (proxy/kernel/limits). Not counted
are proxies that are trusted, who stand for many, and clients on unix sockets, who have no address.

A connection that is one too many is reset: an answer would cost what the limit is there to save. It is counted for its
listener, and one in a second is told, to be logged.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from discovery.model import Settings
from mesh import gcra
from mesh.networks import Networks
from proxy.http1.parties import ListenerRuntime
from proxy.kernel.cells import Table
from proxy.kernel.limits import KeyedLimits
from proxy.stats.words import TOO_MANY_OF_CLIENT, TOO_OFTEN_OF_CLIENT

# None of the scopes of rate limits of requests, which are a policy's hash and a row (proxy/http1/guards.py).
SCOPE = 1 << 62

# Least time between two refusals that are told (milliseconds): a flood must not become one of lines.
TELL_PAUSE_MS = 1000

Tell = Callable[[ListenerRuntime, bytes, int, str], None]


class Clients:
    """Of one worker. `tell(listener, client, port, why)` hears of some of those that are refused."""

    def __init__(self, table: Table, tell: Tell) -> None:
        self.table = table
        self.tell = tell
        self.told_ms = -TELL_PAUSE_MS
        self.most = 0
        self.rate = 0
        self.interval = self.tolerance = 0
        self.trusted = Networks(())
        self.open: dict[bytes, int] = {}
        self.keyed: KeyedLimits | None = None

    @property
    def is_on(self) -> bool:
        return bool(self.most or self.rate)

    def apply(self, settings: Settings) -> None:
        """Takes effect for connections to come; those that were open before there was a limit are not counted."""
        limits = settings.limits
        self.trusted = Networks(settings.trusted_proxies)
        if not limits.connections_per_client:
            self.open.clear()
        self.most = limits.connections_per_client
        self.rate = limits.connection_rate_per_client
        if self.rate:
            # As many as a second has may come at once.
            self.interval, self.tolerance = gcra.measures(self.rate, 1.0, self.rate - 1)
            if self.keyed is None:
                self.keyed = KeyedLimits(self.table)

    def admit(self, listener: ListenerRuntime, peer: bytes, port: int, now_us: int) -> bool:
        """Count one more of this client, unless it is one too many. `leave` is owed for each that was admitted."""
        if not peer or self.trusted.contains(peer):
            return True
        client = client_of(peer)
        count = self.open.get(client, 0)
        if self.most and count >= self.most:
            why = f"limits.connections_per_client ({self.most})"
            self.refuse(listener, peer, port, now_us, TOO_MANY_OF_CLIENT, why)
            return False
        if self.rate and self.keyed is not None:
            digest = self.keyed.digest(SCOPE + self.rate, client)
            if self.keyed.take(digest, self.interval, self.tolerance, now_us * 1000):
                why = f"limits.connection_rate_per_client ({self.rate})"
                self.refuse(listener, peer, port, now_us, TOO_OFTEN_OF_CLIENT, why)
                return False
        if self.most:
            self.open[client] = count + 1
        return True

    def leave(self, peer: bytes) -> None:
        """Something of this client has ended."""
        if not peer or not self.most:
            return
        client = client_of(peer)
        count = self.open.get(client, 0)
        if count > 1:
            self.open[client] = count - 1
        elif count:
            del self.open[client]

    def refuse(self, listener: ListenerRuntime, peer: bytes, port: int, now_us: int, word: int, why: str) -> None:
        self.table.shared(listener.slot.number).add(word, 1)
        now_ms = now_us // 1000
        if now_ms - self.told_ms >= TELL_PAUSE_MS:
            self.told_ms = now_ms
            self.tell(listener, peer, port, f"{why} is reached")


def client_of(peer: bytes) -> bytes:
    """What an address is counted as; `peer` is its text."""
    if b":" in peer:
        return socket.inet_pton(socket.AF_INET6, peer.partition(b"%")[0].decode())[:8]
    return peer
