"""Ends and resets through a TCP listener look to both sides as they would on a direct connection.

A script is played twice by one thread that is both sides: over a direct connection, and through a listener. Both times
client and server must see what the script says: how many bytes, then an end or which error. Each step waits for its
own effect, so that a direct connection can only go one way; where the amount depends on buffers ("fills"), a side sees
"everything" or "a part" of what was sent.

What is different through a proxy, and has to be:
- A connection that no endpoint takes is accepted first and then reset; a direct one is refused.
- A close shows as an end, and only what is sent after it as a reset; both take one hop more, so the sender may get rid
  of a few more bytes before it learns ("sends on" allows that).
- Bytes that the proxy has taken and not yet passed on are lost with a reset, as those in a socket's buffer are.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import errorcode
from typing import Final

import pytest
from ports import free_address, split_address
from waiting import eventually

LIMIT: Final = 10.0

# Nobody has taken a byte for so long: what is between the two sides is full.
STUCK: Final = 0.05

# The largest that every system allows: a small window takes long to read through, and what is between is larger anyway.
BUFFER: Final = 192 * 1024

# What is sent at most where the exact number is seen.
SURELY_FITS: Final = 2000

PATTERN: Final = bytes(number % 251 for number in range(251 * 400))
PIECE: Final = 251 * 200


class Party:
    """One side. What it sends is known by its position; what it has seen is kept in words."""

    def __init__(self, name: str, sock: socket.socket) -> None:
        sock.settimeout(LIMIT)
        self.name = name
        self.sock = sock
        self.seen: list[str] = []
        self.sent = 0
        self.received = 0
        self.other: Party | None = None

    # --- doing

    def sends(self, size: str) -> None:
        left = int(size)
        while left:
            piece = self._next(left)
            self.sock.sendall(piece)
            self.sent += len(piece)
            left -= len(piece)

    def fills(self) -> None:
        """Send until nobody takes any more."""
        self.sock.setblocking(False)
        while select.select([], [self.sock], [], STUCK)[1]:
            with suppress(BlockingIOError):
                self.sent += self.sock.send(self._next(PIECE))
        self.sock.settimeout(LIMIT)

    def ends(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def closes(self) -> None:
        self.sock.close()

    def resets(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # --- seeing

    def reads(self, size: str) -> None:
        """Exactly `size` bytes, or what came before an end or an error; or "all"."""
        most = 1 << 60 if size == "all" else int(size)
        begun, how = self.received, ""
        while not how and self.received - begun < most:
            try:
                data = self.sock.recv(min(PIECE, most - (self.received - begun)))
            except OSError as problem:
                how = name_of(problem)
                break
            if not data:
                how = "end"
            assert data == pattern(self.received, len(data)), f"{self.name} got other bytes than were sent"
            self.received += len(data)
        self.seen.append(f"{self.name} read {self._amount(self.received - begun)}" + (f", {how}" if how else ""))

    def holds(self, size: str) -> None:
        """Wait until `size` bytes have come that nobody has read."""
        eventually(lambda: len(self.sock.recv(1 << 20, socket.MSG_PEEK)) >= int(size), f"{size} bytes have come")

    def hears_an_end(self) -> None:
        """Wait until the other side has ended, without reading."""
        self._await(select.POLLRDHUP, "the other side has not ended")

    def hears_a_reset(self) -> None:
        """Wait until the connection is over in both directions, without reading."""
        self._await(0, "there is still a connection")  # errors are always reported

    def sends_on(self) -> None:
        """Send until that fails, and once more: the two errors."""
        with suppress(OSError):  # of the first, what follows is the interesting one unless there was none
            self._fails()
            return
        self.hears_a_reset()
        self._fails()

    def _await(self, event: int, otherwise: str) -> None:
        poll = select.poll()
        poll.register(self.sock, event)
        assert poll.poll(LIMIT * 1000), f"{self.name}: {otherwise}"

    def _fails(self) -> None:
        errors = []
        for attempt in range(2):
            try:
                self.sock.send(b"x")
            except OSError as problem:
                errors.append(name_of(problem))
            else:
                if not attempt:
                    raise OSError("the first one went through")
        self.seen.append(f"{self.name} sent on: {', '.join(errors)}")

    def _next(self, most: int) -> bytes:
        return pattern(self.sent, min(most, PIECE))

    def _amount(self, count: int) -> str:
        """In words where it depends on buffers."""
        assert self.other is not None
        if self.other.sent <= SURELY_FITS:
            return str(count)
        return "everything" if self.received == self.other.sent else "a part" if count else "nothing"


def pattern(position: int, size: int) -> bytes:
    start = position % 251
    return PATTERN[start : start + size]


def name_of(problem: OSError) -> str:
    return errorcode[problem.errno] if problem.errno else "nothing in time"


# Who does what in turn, and what is seen. `A` acts, `B` is the other one; each is played with the client as A and with
# the server as A.
SCRIPTS: Final[dict[str, tuple[str, str]]] = {
    # before any byte
    "ends before any byte": (
        "A ends; B reads all; B sends 500; B ends; A reads all",
        "B read 0, end; A read 500, end",
    ),
    "closes before any byte": ("A closes; B reads all; B sends_on", "B read 0, end; B sent on: EPIPE, EPIPE"),
    "resets before any byte": (
        "A resets; B reads all; B sends_on",
        "B read 0, ECONNRESET; B sent on: EPIPE, EPIPE",
    ),
    "both end before any byte": ("A ends; B ends; A reads all; B reads all", "A read 0, end; B read 0, end"),
    # in the middle
    "ends in the middle": (
        "A sends 1000; B reads 1000; B sends 700; A reads 700; A sends 10; A ends; B reads all; B sends 500; "
        "A reads 500; B ends; A reads all",
        "B read 1000; A read 700; B read 10, end; A read 500; A read 0, end",
    ),
    "closes in the middle": (
        "A sends 1000; B reads 1000; B sends 700; A reads 700; A sends 10; A closes; B reads all; B sends_on",
        "B read 1000; A read 700; B read 10, end; B sent on: EPIPE, EPIPE",
    ),
    "resets in the middle": (
        "A sends 1000; B reads 1000; B sends 700; A reads 700; A resets; B reads all; B sends_on",
        "B read 1000; A read 700; B read 0, ECONNRESET; B sent on: EPIPE, EPIPE",
    ),
    "resets after bytes that have arrived": (
        "A sends 1000; B holds 1000; A resets; B hears_a_reset; B reads all; B sends_on",
        "B read 1000, ECONNRESET; B sent on: EPIPE, EPIPE",
    ),
    "resets and the other one sends before it reads": (
        "A sends 1000; B reads 1000; A resets; B hears_a_reset; B sends_on; B reads all",
        "B read 1000; B sent on: ECONNRESET, EPIPE; B read 0, end",
    ),
    # after the own end
    "closes after its end": (
        "A sends 10; A ends; B reads all; A closes; B sends_on; B reads all",
        "B read 10, end; B sent on: EPIPE, EPIPE; B read 0, end",
    ),
    "resets after its end": (
        "A sends 10; A ends; B reads all; A resets; B hears_a_reset; B sends_on; B reads all",
        "B read 10, end; B sent on: EPIPE, EPIPE; B read 0, end",
    ),
    "resets after its end, which nobody has read yet": (
        "A sends 1000; A ends; B holds 1000; B hears_an_end; A resets; B hears_a_reset; B reads all; B sends_on",
        "B read 1000, end; B sent on: EPIPE, EPIPE",
    ),
    "hears nothing but an end after its end": (
        "A ends; B reads all; B ends; A reads all; A reads all; B reads all",
        "B read 0, end; A read 0, end; A read 0, end; B read 0, end",
    ),
    # after the other one's end
    "ends after the other's end": (
        "B sends 10; B ends; A reads all; A sends 500; B reads 500; A sends 20; A ends; B reads all",
        "A read 10, end; B read 500; B read 20, end",
    ),
    "closes after the other's end": (
        "B sends 10; B ends; A reads all; A sends 500; A closes; B reads all",
        "A read 10, end; B read 500, end",
    ),
    "resets after the other's end": (
        "B sends 10; B ends; A reads all; A sends 500; B reads 500; A resets; B reads all; B reads all",
        "A read 10, end; B read 500; B read 0, ECONNRESET; B read 0, end",
    ),
    # with bytes that it never read
    "ends with unread bytes": (
        "B sends 1000; A holds 1000; A sends 10; A ends; B reads all; B ends; A reads all",
        "B read 10, end; A read 1000, end",
    ),
    "closes with unread bytes": (
        "B sends 1000; A holds 1000; A closes; B reads all; B sends_on",
        "B read 0, ECONNRESET; B sent on: EPIPE, EPIPE",
    ),
    "closes with unread bytes after sending": (
        "B sends 1000; A holds 1000; A sends 10; B holds 10; A closes; B hears_a_reset; B reads all",
        "B read 10, ECONNRESET",
    ),
    "closes with unread bytes and an end": (
        "B sends 1000; B ends; A holds 1000; A hears_an_end; A closes; B reads all; B reads all",
        "B read 0, ECONNRESET; B read 0, end",
    ),
    # with more than all buffers hold
    "both send much and read late": (
        "A fills; B fills; A ends; B ends; A reads all; B reads all",
        "A read everything, end; B read everything, end",
    ),
    "sends much and closes": ("A fills; A closes; B reads all", "B read everything, end"),
    "sends much after the other's end": (
        "B sends 10; B ends; A reads all; A fills; A ends; B reads all",
        "A read 10, end; B read everything, end",
    ),
    "sends much, reads much, and only then ends": (
        "A fills; B fills; B reads 100000; A reads 100000; A ends; B ends; B reads all; A reads all",
        "B read a part; A read a part; B read everything, end; A read everything, end",
    ),
    "resets while much is on its way": (
        "A fills; A resets; B hears_a_reset; B reads all; B sends_on",
        "B read a part, ECONNRESET; B sent on: EPIPE, EPIPE",
    ),
    "resets while the other one sends much": (
        "B fills; A reads 100000; A resets; B hears_a_reset; B sends_on",
        "A read a part; B sent on: ECONNRESET, EPIPE",
    ),
    "closes while the other one sends much": (
        "B fills; A reads 100000; A closes; B hears_a_reset; B sends_on",
        "A read a part; B sent on: ECONNRESET, EPIPE",
    ),
    "ends, then closes while the other one sends much": (
        "A ends; B reads all; B fills; A reads 100000; A closes; B hears_a_reset; B sends_on",
        "B read 0, end; A read a part; B sent on: EPIPE, EPIPE",
    ),
    "resets while both send much": (
        "A fills; B fills; A resets; B hears_a_reset; B sends_on; B reads all",
        "B sent on: ECONNRESET, EPIPE; B read a part, end",
    ),
}


def play(script: str, client: socket.socket, server: socket.socket, client_is_a: bool) -> str:
    """What was seen, in words."""
    a, b = (Party(name, sock) for name, sock in zip("AB", (client, server)[:: 1 if client_is_a else -1], strict=True))
    a.other, b.other = b, a
    seen: list[str] = []
    a.seen = b.seen = seen
    for step in script.split("; "):
        who, verb, *arguments = step.split()
        getattr({"A": a, "B": b}[who], verb)(*arguments)
    return "; ".join(seen)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(LIMIT)
        yield listener


def address_of(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


def connect(address: str) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    client.settimeout(LIMIT)
    client.connect(split_address(address))
    return client


@pytest.fixture
def tunnel(hive) -> Callable[[str], str]:
    """Give it the address of an endpoint; the address of a TCP listener in front of it."""

    def start(endpoint: str) -> str:
        address = free_address()
        hive(endpoint, listeners=[{"name": "store", "address": address, "protocol": "tcp", "service": "app"}])
        return address

    return start


@pytest.mark.parametrize("a", ["client", "server"])
@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("way", ["direct", "through a listener"])
def test_one_side(way, name, a, listening, tunnel):
    script, expected = SCRIPTS[name]
    address = address_of(listening) if way == "direct" else tunnel(address_of(listening))

    with connect(address) as client, listening.accept()[0] as server:
        assert play(script, client, server, client_is_a=a == "client") == expected


def test_a_refused_connection_is_accepted_and_then_reset(tunnel, refused_address):
    with pytest.raises(ConnectionRefusedError):
        connect(refused_address)

    address = tunnel(refused_address)
    # The reset may be there before connecting has been looked at: then it is seen there, and not as a refusal either.
    with pytest.raises(ConnectionResetError), connect(address) as client:
        client.recv(1)
