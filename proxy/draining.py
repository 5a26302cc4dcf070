"""Draining: a worker accepts nothing more, finishes what it has, and cuts what has had its time.

Requests and streams (TCP connections, sessions of datagrams, upgraded HTTP connections) have a deadline of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from proxy.http1 import replies
from proxy.http1.downstream import Downstream
from proxy.http1.forward import Forwarder
from proxy.kernel.netio import DRAIN_NOTHING, DRAIN_REQUEST, Reactor, Stream
from proxy.l4.forward import TcpForwarder
from proxy.listening import ListeningSockets

# How often a draining data plane looks whether it is empty (seconds).
DRAIN_LOOK = 0.05


class Draining:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        reactor: Reactor,
        sockets: ListeningSockets,
        forwarder: Forwarder,
        tcp: TcpForwarder,
    ) -> None:
        self.loop = loop
        self.reactor = reactor
        self.sockets = sockets
        self.forwarder = forwarder
        self.tcp = tcp

    def begin(self, deadline: float, streams: float, done: Callable[[], None]) -> None:
        """Finish requests within `deadline` seconds and streams within `streams`, then call `done`."""
        self.sockets.leave()
        self.forwarder.draining = True
        self.tcp.draining = True
        for stream in self.reactor.all_streams():
            stream.drain()
        now = self.loop.time()
        self.look(now + deadline, now + streams, done)

    def look(self, deadline: float, streams_deadline: float, done: Callable[[], None]) -> None:
        now = self.loop.time()
        busy = False
        for stream in self.reactor.all_streams():
            kind = stream.drain_kind()
            if kind == DRAIN_NOTHING:
                continue
            if now < (deadline if kind == DRAIN_REQUEST else streams_deadline) or self.cut(stream):
                busy = True
        if self.sockets.dns is not None and self.sockets.dns.is_busy() and now < deadline:
            busy = True
        if busy:
            self.loop.call_later(DRAIN_LOOK, self.look, deadline, streams_deadline, done)
            return
        done()

    def cut(self, stream: Stream) -> bool:
        """End what has had its time. True when a client has just been told so and gets a moment to hear it."""
        if not isinstance(stream, Downstream) or stream.exchange is None:
            stream.abort()
            return False
        exchange = stream.exchange
        if stream.relaying:
            exchange.add_flag(replies.DRAINING.flag)
            stream.relay_over(True)
            return False
        is_told = not exchange.answered
        self.forwarder.refuse(exchange, replies.DRAINING, "")
        return is_told
