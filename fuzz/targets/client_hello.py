"""proxy.preface.client_hello: the server name and the protocols that a ClientHello asks for.

The first byte says where it is cut, the second how large a hello may be. Beside it a second reading that knows the
shape of the whole message as a pattern of lengths.
"""

from __future__ import annotations

from fuzz.support import expect
from proxy.preface.client_hello import MAX_NAME, NEED_MORE, NOT_TLS, TOO_LARGE, Complete, parse

LIMITS = (16_384, 512, 64)


def record(message: bytes, size: int = 0) -> bytes:
    size = size or len(message)
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\3\1" + len(part).to_bytes(2, "big") + part for part in parts)


def hello(extensions: bytes | None, session: bytes = b"") -> bytes:
    tail = b"" if extensions is None else len(extensions).to_bytes(2, "big") + extensions
    body = b"\3\3" + bytes(32) + bytes((len(session),)) + session + b"\0\4\x13\1\x13\2\1\0" + tail
    return b"\1" + len(body).to_bytes(3, "big") + body


def extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


def sni(name: bytes) -> bytes:
    entry = b"\0" + len(name).to_bytes(2, "big") + name
    return extension(0, len(entry).to_bytes(2, "big") + entry)


ALPN = extension(16, b"\0\x0c\2h2\x08http/1.1")

SEEDS = (
    b"\0\0" + record(hello(sni(b"a.test") + ALPN)),
    b"\x20\0" + record(hello(ALPN + extension(43, b"\2\3\4") + sni(b"B.Example.COM"), bytes(32)), 9),
    b"\x80\1" + record(hello(None)),
    b"\x80\2" + record(hello(sni(b"10.0.0.1"))),
    b"\xf0\0" + record(hello(extension(0, b"") + extension(0x2A2A, b"x"))),
    b"\xf0\0GET / HTTP/1.1\r\n",
)
WORDS = (
    b"\x16\3\1",
    b"\x16\3\3",
    sni(b"x"),
    ALPN,
    b"\0\0",
    b"\1\0",
    b"\0\x10",
    b"h2",
    b"\0\1",
    b"\xff\xff",
    b"_",
    b"-",
    b".",
)


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    cut, limit, data = data[0], LIMITS[data[1] % 3], data[2:]
    found = parse(data, limit)
    part = data[: (cut * len(data)) >> 8]
    partly = parse(part, limit)
    if isinstance(found, Complete):
        expect(partly in (found, NEED_MORE), "depends on how it comes", partly, found)
        expect(found == again(data), "reads otherwise", found, again(data))
        expect(len(found.sni) <= MAX_NAME and found.sni == found.sni.lower(), "a name that is none", found)
    elif found is NEED_MORE:
        expect(partly is NEED_MORE, "what needs more was more with less", partly)
        expect(len(data) < limit, "needs more for ever", len(data), limit)
    else:
        expect(found in (NOT_TLS, TOO_LARGE), "no answer", found)
        expect(not isinstance(partly, Complete), "what is refused was accepted with less", partly)


def again(data: bytes) -> Complete | None:
    """The hello of records that are known to hold a whole one, read by splitting."""
    message = b""
    while data[:1] == b"\x16":
        size = int.from_bytes(data[3:5], "big")
        message, data = message + data[5 : 5 + size], data[5 + size :]
        if len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4], "big"):
            break
    rest = message[4 : 4 + int.from_bytes(message[1:4], "big")][34:]
    for count in (1, 2, 1):
        rest = rest[count + int.from_bytes(rest[:count], "big") :]
    rest = rest[2:]
    name, protocols = b"", []
    while rest:
        kind, size = int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big")
        value, rest = rest[4 : 4 + size], rest[4 + size :]
        if kind == 0:
            name = value[5:].lower()
        elif kind == 16:
            value = value[2:]
            while value:
                protocols.append(value[1 : 1 + value[0]])
                value = value[1 + value[0] :]
    labels = name.split(b".")
    good = all(0 < len(label) <= 63 and set(label) <= LETTERS and label[:1] != b"-" != label[-1:] for label in labels)
    numbers = len(labels) == 4 and all(label.isdigit() for label in labels)
    return Complete(name if good and not numbers and len(name) <= MAX_NAME else b"", tuple(protocols))


LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-")
