"""What hivemesh stands in front of while calls fail: endpoints that write down what they got.

HTTP: the path says what is answered, and every body is made from the name of its request, so that a byte that is not
the request's own is found by comparing.

    /KIND/NAME/SIZE  KIND: length | chunked | close (the end of the connection ends the body) | echo | websocket
"""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Final

HOST: Final = "127.0.0.1"
PIECE: Final = 4096  # bytes of a chunk
SWITCHING: Final = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"


@lru_cache(maxsize=64)
def content(name: str, size: int) -> bytes:
    """The bytes that belong to `name`."""
    block = hashlib.sha256(name.encode()).digest() * 32
    return (block * (size // len(block) + 1))[:size]


class Listening:
    """Threads for connections; ends with `close`."""

    def __init__(self) -> None:
        self._server = socket.create_server((HOST, 0), backlog=512)
        self.port = int(self._server.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._server.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
        try:
            with suppress(OSError, EOFError, ValueError), connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.serve(connection)
        finally:
            with self._lock:
                self._open.discard(connection)


class Http(Listening):
    """`requests` counts by method and path, once the head is there; `bodies` those whose body came whole and right."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.bodies: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []  # bodies that were whole and not what was sent
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        while head := reader.readline(65536):
            method, path, _ = head.decode("latin-1").split()
            fields = {}
            while (line := reader.readline(65536).strip()) != b"":
                name, _, value = line.decode("latin-1").partition(":")
                fields[name.lower()] = value.strip()
            self.requests[method, path] += 1
            kind, name, size = path.strip("/").split("/")
            if kind == "websocket":
                connection.sendall(SWITCHING)
                _echo(connection, reader.read1)
                return
            body = _body(reader, fields)
            if body is not None:
                if body == content(name, len(body)) and len(body) == int(fields.get("x-size", len(body))):
                    self.bodies[method, path] += 1
                else:
                    self.wrong.append(f"{method} {path}: {len(body)} bytes {body[:40]!r}")
            if not self._answer(connection, kind, name, int(size)):
                return

    def _answer(self, connection: socket.socket, kind: str, name: str, size: int) -> bool:
        """Whether the connection goes on."""
        data = content(name, size)
        if kind == "chunked":
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for at in range(0, size, PIECE):
                piece = data[at : at + PIECE]
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            connection.sendall(b"0\r\nX-Sum: %d\r\n\r\n" % size)
            return True
        if kind == "close":
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            connection.sendall(data)
            return False
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (size, data))
        return True


class Echo(Listening):
    """TCP: everything back, and the end after the end."""

    def serve(self, connection: socket.socket) -> None:
        _echo(connection, connection.recv)


class Source(Listening):
    """TCP: after a line NAME SIZE, the bytes of that name, and the end; before that as many bytes of it are read."""

    def serve(self, connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        name, size = reader.readline(256).decode().split()
        data = content(name, int(size))
        if reader.read(int(size)) != data:
            return
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        reader.read(1)


class UdpEcho:
    """Every datagram back to where it came from."""

    def __init__(self, answer: Callable[[bytes], bytes] = lambda data: data) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self.port = int(self._socket.getsockname()[1])
        self._answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                data, client = self._socket.recvfrom(65536)
                if data == b"":
                    return
                self._socket.sendto(self._answer(data), client)
            except ConnectionError:
                continue
            except OSError:
                return

    def close(self) -> None:
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", (HOST, self.port))
        self._socket.close()


class Resolver(Listening):
    """Answers every question with one address, over TCP and UDP of one port."""

    def __init__(self) -> None:
        super().__init__()
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((HOST, self.port))
        threading.Thread(target=self._serve_udp, daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        while size := reader.read(2):
            answer = answer_of(reader.read(struct.unpack("!H", size)[0]))
            connection.sendall(struct.pack("!H", len(answer)) + answer)

    def close(self) -> None:
        with suppress(OSError):
            self._udp.shutdown(socket.SHUT_RDWR)
        self._udp.close()
        super().close()

    def _serve_udp(self) -> None:
        while True:
            try:
                data, client = self._udp.recvfrom(65536)
                if data:
                    self._udp.sendto(answer_of(data), client)
            except ConnectionError:
                continue
            except OSError:
                return


ADDRESS: Final = bytes((192, 0, 2, 7))


def answer_of(question: bytes) -> bytes:
    """The question, and ADDRESS for its name for no time at all."""
    end = question.index(b"\0", 12) + 5
    head = question[:2] + struct.pack("!5H", 0x8180, 1, 1, 0, 0)
    return head + question[12:end] + b"\xc0\x0c" + struct.pack("!2HIH", 1, 1, 0, 4) + ADDRESS


def _echo(connection: socket.socket, read: Callable[[int], bytes]) -> None:
    while data := read(65536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def _body(reader: object, fields: dict[str, str]) -> bytes | None:
    """None without one. Raises EOFError when it is cut short."""
    read = reader.read  # type: ignore[attr-defined]
    if "content-length" in fields:
        wanted = int(fields["content-length"])
        body: bytes = read(wanted)
        if len(body) < wanted:
            raise EOFError
        return body
    if fields.get("transfer-encoding", "").lower() != "chunked":
        return None
    pieces = []
    while True:
        size = int(reader.readline(64).split(b";")[0], 16)  # type: ignore[attr-defined]
        if size == 0:
            break
        piece = read(size)
        if len(piece) < size or read(2) != b"\r\n":
            raise EOFError
        pieces.append(piece)
    while reader.readline(4096).strip():  # type: ignore[attr-defined]
        pass
    return b"".join(pieces)
