"""How long a closed stream lives: compiled code may be running its methods without a reference of its own."""

from __future__ import annotations

import socket
import weakref

from proxy.kernel.netio import Reactor, Stream


class Closer(Stream):
    """Closes the stream that it holds the only reference to, and notes whether that one is still there."""

    def __init__(self, other: Stream) -> None:
        self.others = [other]
        self.known = weakref.ref(other)
        self.outlived_its_close = False

    def on_readable(self) -> None:
        self.fill()
        self.others.pop().close()
        self.outlived_its_close = self.known() is not None


class Plain(Stream):
    """Does nothing."""


def test_a_closed_stream_lives_to_the_end_of_the_event_and_not_longer() -> None:
    reactor = Reactor()
    first, first_peer = socket.socketpair()
    second, second_peer = socket.socketpair()
    with first_peer, second_peer:
        second.setblocking(False)
        other = Plain()
        other.attach(reactor, second.detach())
        other.watch()
        closer = Closer(other)
        del other
        first.setblocking(False)
        closer.attach(reactor, first.detach())
        closer.watch()
        first_peer.send(b"now")
        reactor.poll()
        assert closer.outlived_its_close
        assert closer.known() is None
        closer.close()
        reactor.close()
