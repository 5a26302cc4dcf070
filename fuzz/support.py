"""What targets share: a finding, buffers that end where their bytes end, and h11 asked as the other opinion."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import h11
import h11._readers

from proxy.kernel.buffer import Buffer

# Of h11: far above what any input reaches, so that it never refuses for size.
NO_LIMIT = 1 << 24

# RFC 9112 section 7.1.1 has recipients read "bad white space" between the size of a chunk and its extension. h11
# refuses it; taught it, it can say what the rest of the body is.
_CHUNK_LINE = rb"(?P<chunk_size>[0-9A-Fa-f]{1,20})(?P<chunk_ext>[ \t]*;.*)?[ \t]*\r\n"
h11._readers.chunk_header_re = re.compile(_CHUNK_LINE)  # type: ignore[attr-defined]


class Finding(AssertionError):
    """The program does something else than it should."""


def expect(condition: object, what: str, *values: object) -> None:
    if not condition:
        raise Finding(f"{what}: {', '.join(map(repr, values))}")


def exact(data: bytes) -> Buffer:
    """A buffer whose last live byte is the last of its allocation: reading on is then an error of memory."""
    buffer = Buffer(len(data))
    buffer.append(data)
    return buffer


def pieces(data: bytes, seed: int) -> Iterator[bytes]:
    """`data` cut as `seed` (0..255) says: 0 not at all, 1 byte by byte, else into pieces of a few bytes."""
    if seed == 0:
        yield data
        return
    at = 0
    state = seed
    while at < len(data):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        size = 1 if seed == 1 else 1 + (state >> 16) % (1 + seed % 37)
        yield data[at : at + size]
        at += size


class OtherHead(NamedTuple):
    """A head as h11 reads it. framing: h11's words, with a length."""

    method: bytes
    target: bytes
    status: int
    minor: int
    fields: list[tuple[bytes, bytes]]  # names in small letters
    framing: tuple[str, tuple[int, ...] | tuple[()]]
    rest: bytes


def h11_request(data: bytes) -> OtherHead | str:
    """What h11 makes of a request head, or why it refuses it."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=NO_LIMIT)
    connection.receive_data(data)
    try:
        event = connection.next_event()
        if not isinstance(event, h11.Request):
            return repr(event)
        framing = h11._connection._body_framing(event.method, event)  # type: ignore[attr-defined]
    except h11.RemoteProtocolError as error:
        return str(error)
    version = int(event.http_version[2:])
    return OtherHead(event.method, event.target, 0, version, list(event.headers), framing, connection.trailing_data[0])


def h11_response(data: bytes, method: bytes = b"GET") -> OtherHead | str:
    """What h11 makes of a response head to a request that would change protocols."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=NO_LIMIT)
    fields = [("Host", "a"), ("Upgrade", "x"), ("Connection", "upgrade")]
    connection.send(h11.Request(method=method, target="/", headers=fields))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    try:
        event = connection.next_event()
        if not isinstance(event, h11.Response | h11.InformationalResponse):
            return repr(event)
        framing = ("content-length", (0,))
        if isinstance(event, h11.Response):
            framing = h11._connection._body_framing(method, event)  # type: ignore[attr-defined]
    except h11.RemoteProtocolError as error:
        return str(error)
    version = int(event.http_version[2:])
    rest = connection.trailing_data[0]
    return OtherHead(b"", b"", event.status_code, version, list(event.headers), framing, rest)


def as_h11(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Fields as h11 tells them: names in small letters, and the value of Transfer-Encoding as well."""
    return [(name.lower(), value.lower() if name.lower() == b"transfer-encoding" else value) for name, value in fields]
