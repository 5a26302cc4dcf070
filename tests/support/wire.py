"""A blocking connection that keeps what it received: what the raw client and the raw origin have in common."""

from __future__ import annotations

import select
import socket
import struct
from contextlib import suppress

from waiting import PATIENCE

# Only a failing test ever waits this long.
TIMEOUT = 10.0 * PATIENCE
READ_SIZE = 64 * 1024


class Wire:
    """`received` holds every byte that ever came; `unread` those that no call has taken yet."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.received = b""
        self.unread = b""
        self.ended = False  # the peer closed or reset
        self.was_reset = False
        connection.settimeout(TIMEOUT)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, *pieces: bytes) -> None:
        """Each piece leaves by its own system call."""
        for piece in pieces:
            self.socket.sendall(piece)

    def send_while_taken(self, piece: bytes, most: int, patience: float = 0.3) -> int:
        """Send `piece` again and again until `most` bytes are sent or none is taken for `patience` seconds.

        The number of bytes sent.
        """
        sent = 0
        self.socket.setblocking(False)
        try:
            while sent < most:
                if not select.select([], [self.socket], [], patience)[1]:
                    break
                with suppress(BlockingIOError):
                    sent += self.socket.send(piece[sent % len(piece) :])
        finally:
            self.socket.settimeout(TIMEOUT)
        return sent

    def receive_more(self) -> bool:
        """Read once; False when the peer has ended the connection."""
        if self.ended:
            return False
        try:
            read = self.socket.recv(READ_SIZE)
        except ConnectionResetError:
            self.was_reset = True
            read = b""
        self.received += read
        self.unread += read
        self.ended = not read
        return bool(read)

    def receive_available(self) -> bool:
        """Read once without waiting; whether there is anything unread now."""
        self.socket.setblocking(False)
        with suppress(BlockingIOError):
            self.receive_more()
        self.socket.settimeout(TIMEOUT)
        return bool(self.unread)

    def read_until(self, marker: bytes) -> bytes:
        """The bytes up to and with `marker`."""
        while marker not in self.unread:
            if not self.receive_more():
                raise AssertionError(f"the connection ended before {marker!r}; unread: {self.unread!r}")
        end = self.unread.index(marker) + len(marker)
        return self._take(end)

    def read_exactly(self, count: int) -> bytes:
        while len(self.unread) < count:
            if not self.receive_more():
                raise AssertionError(f"the connection ended before {count} bytes; unread: {self.unread!r}")
        return self._take(count)

    def read_to_end(self) -> bytes:
        """Everything until the peer closes."""
        while self.receive_more():
            pass
        return self._take(len(self.unread))

    def is_ended_by_peer(self, timeout: float = TIMEOUT) -> bool:
        """Wait for the peer's end of the connection; False when it still is open after `timeout`."""
        self.socket.settimeout(timeout)
        try:
            while self.receive_more():
                pass
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(TIMEOUT)
        return True

    def has_nothing_to_read(self) -> bool:
        """Nothing unread is here now, and the connection is open."""
        if self.unread or self.ended:
            return False
        self.socket.setblocking(False)
        try:
            self.socket.recv(1, socket.MSG_PEEK)
            return False
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        finally:
            self.socket.settimeout(TIMEOUT)

    def finish_sending(self) -> None:
        """Close our direction only (FIN); reading goes on."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _take(self, count: int) -> bytes:
        taken, self.unread = self.unread[:count], self.unread[count:]
        return taken
