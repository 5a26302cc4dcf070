"""Clients that believe nothing: each raises `Wrong` for what must never be, and returns what happened otherwise.

An outcome is "right", or a stated failure in a few words: a status of hivemesh's own, a reset, a connection that ended
where its framing says that more was to come, a datagram that is lost. What is wrong: other bytes, a body that is cut
short and looks whole, an end instead of a reset where only the end tells, nothing at all within LIMIT.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from typing import Final

from benchmarks.faults.origins import ADDRESS, HOST, content

LIMIT: Final = 4.0  # seconds of a client without a byte: each of hivemesh's own limits here is shorter
DATAGRAM_LIMIT: Final = 0.15  # seconds until a datagram counts as lost
RIGHT: Final = "right"

OWN_STATUSES: Final = (408, 500, 502, 503, 504)  # what hivemesh answers when it is in trouble


class Wrong(Exception):
    """What must never be."""


class Ended(Exception):
    """The connection is over: reset, or ended where that is an honest answer. Message: how."""


@dataclass(slots=True)
class Answer:
    status: int
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Client:
    """A connection that is read with a strict parser of its own."""

    def __init__(self, port: int) -> None:
        try:
            self.socket = socket.create_connection((HOST, port), LIMIT)
        except TimeoutError:
            raise Wrong("nobody accepts") from None
        except ConnectionResetError:
            # Before this side has noticed that it is connected: what is read of a socket that is not is an error too.
            self.socket = socket.socket()
        except OSError as error:
            raise Wrong(f"no connection: {error}") from None
        self._unread = b""
        self._refused = ""  # why bytes could not be sent

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """What cannot be sent is found out by reading: a reset is told once, and here it has been."""
        try:
            self.socket.sendall(data)
        except TimeoutError:
            raise Wrong(f"takes no bytes for {LIMIT:g} s") from None
        except OSError as error:
            self._refused = error.strerror or str(error)

    def more(self) -> bytes:
        """Raises Ended at a reset; b"" at the end."""
        try:
            data = self.socket.recv(262_144)
        except TimeoutError:
            raise Wrong(f"no byte for {LIMIT:g} s") from None
        except OSError as error:
            raise Ended(f"reset ({error.strerror})") from None
        if not data and self._refused:
            raise Ended(f"reset ({self._refused})")
        return data

    def line(self) -> bytes:
        while b"\n" not in self._unread:
            data = self.more()
            if not data:
                raise Ended("ended within a head" if self._unread else "ended before an answer")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        if not line.endswith(b"\r"):
            raise Wrong(f"no line: {line!r}")
        return line[:-1]

    def exactly(self, size: int) -> bytes:
        pieces, have = [self._unread], len(self._unread)
        while have < size:
            data = self.more()
            if not data:
                raise Ended("ended within a body")
            pieces.append(data)
            have += len(data)
        whole = b"".join(pieces)
        self._unread = whole[size:]
        return whole[:size]

    def to_the_end(self) -> bytes:
        """Everything up to an orderly end. Raises Ended at a reset."""
        pieces = [self._unread]
        self._unread = b""
        while data := self.more():
            pieces.append(data)
        return b"".join(pieces)

    def answer(self) -> Answer:
        """The next answer, whole."""
        parts = self.line().split(b" ", 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
            raise Wrong(f"no status line: {parts!r}")
        fields: dict[str, str] = {}
        while line := self.line():
            name, _, value = line.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        answer = Answer(int(parts[1]), fields)
        if answer.status == 101:
            return answer
        if fields.get("transfer-encoding") == "chunked":
            answer.body = self._chunks(fields)
        elif "content-length" in fields:
            answer.body = self.exactly(int(fields["content-length"]))
        elif answer.status not in (204, 304):
            answer.body = self.to_the_end()
        return answer

    def _chunks(self, fields: dict[str, str]) -> bytes:
        pieces = []
        while size := int(self.line().split(b";")[0], 16):
            pieces.append(self.exactly(size))
            if self.exactly(2) != b"\r\n":
                raise Wrong("a chunk does not end with its size")
        while line := self.line():
            name, _, value = line.decode("latin-1").partition(":")
            fields[f"trailer {name.lower()}"] = value.strip()
        return b"".join(pieces)


def judge(answer: Answer, name: str, size: int) -> str:
    """Whether this is the answer to the request called `name`, or one of hivemesh's own failures."""
    if answer.status == 200:
        if answer.body != content(name, size):
            raise Wrong(f"another body: {len(answer.body)} of {size} bytes, begins {answer.body[:40]!r}")
        return RIGHT
    if answer.status not in OWN_STATUSES:
        raise Wrong(f"status {answer.status}")
    if b"\x00" in answer.body or len(answer.body) > 1000:
        raise Wrong(f"a {answer.status} of {len(answer.body)} bytes: {answer.body[:40]!r}")
    return f"{answer.status}"


def query(name: str, number: int) -> bytes:
    """A question for the addresses of `name`."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)


def judge_dns(question: bytes, answer: bytes, address: bytes) -> str:
    """`address`: the one that belongs to the name."""
    if answer[:2] != question[:2] or answer[12 : len(question)] != question[12:]:
        raise Wrong(f"an answer to another question: {answer[:40]!r}")
    code = answer[3] & 15
    if code == 2:
        return "SERVFAIL"
    if code or not answer[2] & 0x80:
        raise Wrong(f"rcode {code}, flags {answer[2]:#x}")
    if struct.unpack("!H", answer[6:8])[0] != 1 or address not in answer[len(question) :]:
        raise Wrong(f"another address: {answer[len(question) :]!r}")
    return RIGHT


FORWARDED: Final = ADDRESS
