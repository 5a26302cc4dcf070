"""A TLS ClientHello looked at from outside: the server name (SNI) and the protocols (ALPN) that the client asks for.

The hello is a handshake message in one or more TLS records (RFC 8446 sections 4.1.2 and 5.1; before TLS 1.3 the shapes
are the same). Nothing is decrypted and nothing is changed; the server at the end of the tunnel judges the hello for
itself, so only what leads to the two extensions is understood here, and that strictly: every length within the one
around it.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

HANDSHAKE: Final = 22  # type of a record
CLIENT_HELLO: Final = 1  # type of a handshake message
MAX_FRAGMENT: Final = 1 << 14  # RFC 8446 section 5.1
RECORD_HEAD: Final = 5
MESSAGE_HEAD: Final = 4

# No client spreads its hello over so many records, and each of them costs time whenever a byte has come.
MAX_RECORDS: Final = 64

SERVER_NAME: Final = 0  # extensions
ALPN: Final = 16
HOST_NAME: Final = 0  # type of a server name

# RFC 6066 section 3: a DNS name in ASCII without a dot at its end. Underscores are no host names, but are seen.
MAX_NAME: Final = 253
_NAME = re.compile(rb"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*")
_ADDRESS = re.compile(rb"[0-9]+(?:\.[0-9]+){3}")  # which RFC 6066 does not allow


class Complete(NamedTuple):
    """`sni` is in lower case; b"" when there is none, or none that could be a name."""

    sni: bytes
    alpn: tuple[bytes, ...]


class Incomplete(Enum):
    NEED_MORE = "need more"
    NOT_TLS = "not tls"
    TOO_LARGE = "too large"


NEED_MORE: Final = Incomplete.NEED_MORE
NOT_TLS: Final = Incomplete.NOT_TLS
TOO_LARGE: Final = Incomplete.TOO_LARGE  # TLS, but the hello does not fit into the limits

Parsed: TypeAlias = Complete | Incomplete


def parse(data: bytes, limit: int) -> Parsed:
    """What the first bytes of a connection say, of which at most `limit` are looked at."""
    data = data[:limit]
    message = b""
    at = 0
    for _ in range(MAX_RECORDS):
        head = data[at : at + RECORD_HEAD]
        if not _may_be_record(head):
            return NOT_TLS
        if len(head) < RECORD_HEAD:
            return _unfinished(data, limit)
        size = int.from_bytes(head[3:], "big")
        message += data[at + RECORD_HEAD : at + RECORD_HEAD + size]
        at += RECORD_HEAD + size
        if message and message[0] != CLIENT_HELLO:
            return NOT_TLS
        if len(message) >= MESSAGE_HEAD:
            length = MESSAGE_HEAD + int.from_bytes(message[1:MESSAGE_HEAD], "big")
            if RECORD_HEAD + length > limit:
                return TOO_LARGE
            if len(message) >= length:
                return _parse_hello(message[MESSAGE_HEAD:length])
        if at > len(data):
            return _unfinished(data, limit)
    return TOO_LARGE


def _unfinished(data: bytes, limit: int) -> Parsed:
    return TOO_LARGE if len(data) == limit else NEED_MORE


def _may_be_record(head: bytes) -> bool:
    """Whether this, as far as it goes, is the head of a record with a piece of a handshake. Empty pieces are not
    allowed (RFC 8446 section 5.1), or a hello could be spread over any number of records."""
    if head[:1] not in (b"", b"\x16") or head[1:2] not in (b"", b"\x03"):
        return False
    return len(head) < RECORD_HEAD or 0 < int.from_bytes(head[3:], "big") <= MAX_FRAGMENT


class _Malformed(Exception):
    """A length points outside of what is around it."""


class _Reader:
    """Takes pieces off the front of bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise _Malformed
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def vector(self, count: int) -> bytes:
        """A piece behind its length, a number of `count` bytes."""
        return self.take(self.number(count))

    def is_done(self) -> bool:
        return self.at == len(self.data)


def _parse_hello(hello: bytes) -> Parsed:
    reader = _Reader(hello)
    try:
        reader.take(2 + 32)  # version, random
        if len(reader.vector(1)) > 32:  # session id
            return NOT_TLS
        reader.vector(2)  # cipher suites
        reader.vector(1)  # compression methods
        extensions = _extensions(reader)
        return Complete(_server_name(extensions.get(SERVER_NAME)), _protocols(extensions.get(ALPN)))
    except _Malformed:
        return NOT_TLS


def _extensions(reader: _Reader) -> dict[int, bytes]:
    if reader.is_done():  # allowed before TLS 1.3
        return {}
    inner = _Reader(reader.vector(2))
    if not reader.is_done():
        raise _Malformed
    found: dict[int, bytes] = {}
    while not inner.is_done():
        kind, value = inner.number(2), inner.vector(2)
        if kind in found:  # RFC 8446 section 4.2
            raise _Malformed
        found[kind] = value
    return found


def _server_name(extension: bytes | None) -> bytes:
    """RFC 6066 section 3: a list of names, in which there is one kind of name, and one of each kind."""
    if extension is None:
        return b""
    reader = _Reader(extension)
    names = _Reader(reader.vector(2))
    kind, name = names.number(1), names.vector(2).lower()
    if kind != HOST_NAME or not (names.is_done() and reader.is_done()):
        raise _Malformed
    is_name = len(name) <= MAX_NAME and _NAME.fullmatch(name) and not _ADDRESS.fullmatch(name)
    return name if is_name else b""


def _protocols(extension: bytes | None) -> tuple[bytes, ...]:
    """RFC 7301 section 3.1."""
    if extension is None:
        return ()
    reader = _Reader(extension)
    protocols = _Reader(reader.vector(2))
    found = []
    while not protocols.is_done():
        protocol = protocols.vector(1)
        if not protocol:
            raise _Malformed
        found.append(protocol)
    if not (found and reader.is_done()):
        raise _Malformed
    return tuple(found)
