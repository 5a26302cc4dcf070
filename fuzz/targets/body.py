"""proxy.http1.body.BodyReader: the same body however it comes, and the one that h11 reads.

The first byte says how the body is framed, the second how it is cut, the rest is what a peer sends.

What we accept and h11 does not:
 - white space between the size of a chunk and its extension (see fuzz/support.py)
"""

from __future__ import annotations

from typing import NamedTuple

import h11

from fuzz.support import NO_LIMIT, exact, expect, pieces
from proxy.http1.body import BodyReader
from proxy.http1.codes import CHUNKED, DATA, DONE, FAILED, LENGTH, NEED, UNTIL_CLOSE
from proxy.kernel.buffer import Buffer
from proxy.kernel.scan import ERRORS, HeadLimits

LIMITS = HeadLimits(head=512, start_line=256, fields=8)
EXTENSION = 64

SEEDS = (
    b"\0\05\r\nhello\r\n0\r\n\r\n",
    b"\0\1A;x=y\r\n0123456789\r\n1\r\nx\r\n000\r\nX-Sum: 1\r\nServer-Timing: a;b\r\n\r\nGET / HTTP/1.1\r\n",
    b"\0\75 ;a\r\nhello\r\n1f\r\n0123456789012345678901234567890\r\n0;last\r\n\r\n",
    b"\1\3hello world",
    b"\x85\3hello",
    b"\2\2until the end",
)
WORDS = (
    b"0\r\n\r\n",
    b"\r\n",
    b"\r\n0\r\n",
    b"1\r\nx\r\n",
    b";",
    b";a=b",
    b"ffffffff",
    b"fffffffffffffff",
    b"0x",
    b"X: y\r\n",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\n",
    b"\r",
    b" ;",
    b"\t",
)


class Read(NamedTuple):
    """error: 0 unless it was refused. rest: what was left alone."""

    is_done: bool
    error: int
    body: bytes
    trailers: list[tuple[bytes, bytes]]
    rest: bytes


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    framing = (CHUNKED, LENGTH, UNTIL_CLOSE)[data[0] % 3]
    length = data[0] >> 2
    cut, sent = data[1], data[2:]
    whole = read(framing, length, [sent])
    parts = read(framing, length, list(pieces(sent, cut)))
    # Which of several mistakes is told may depend on it; that there is one may not.
    expect(whole._replace(error=0) == parts._replace(error=0), "the body depends on how it comes", whole, parts)
    expect((whole.error == 0) == (parts.error == 0), "refused or not depends on how it comes", whole, parts)
    expect(whole.error == 0 or whole.error in ERRORS, "an error without words", whole.error)
    if framing == LENGTH:
        expect(whole.body == sent[:length] and whole.is_done == (len(sent) >= length), "not as long as said", whole)
        expect(whole.rest == sent[length:], "another end", whole)
    elif framing == UNTIL_CLOSE:
        expect(whole.body == sent and not whole.is_done, "not all of it", whole)
    elif not whole.error:
        compare(sent, whole)


def read(framing: int, length: int, sent: list[bytes]) -> Read:
    """The body that arrives in these pieces, each into the buffer that holds what is left of those before."""
    reader = BodyReader(LIMITS, EXTENSION)
    reader.begin(framing, length)
    body = b""
    left = b""
    for place, piece in enumerate(sent):
        buffer = exact(left + piece)
        verdict, part = drain(reader, buffer)
        body += part
        left = buffer.take()
        if verdict in (DONE, FAILED):
            left += b"".join(sent[place + 1 :])
            break
    expect(reader.total == len(body), "another count of bytes", reader.total, len(body))
    trailers = [] if reader.trailers is None else reader.trailers.items()
    if reader.error:
        return Read(False, reader.error, body, [], b"")
    return Read(reader.is_done(), 0, body, [(name.lower(), value) for name, value in trailers], left)


def drain(reader: BodyReader, buffer: Buffer) -> tuple[int, bytes]:
    body = b""
    while True:
        verdict = reader.next(buffer)
        if verdict == DATA:
            expect(reader.count > 0, "a piece of nothing")
            body += buffer.peek(reader.at, reader.count)
        elif verdict in (NEED, DONE, FAILED):
            return verdict, body
        else:
            expect(False, "no verdict", verdict)


def compare(sent: bytes, ours: Read) -> None:
    """A chunked body that was not refused."""
    theirs = h11_body(sent)
    if isinstance(theirs, str):
        # It is more patient than we are with what has not ended, and less with what we have not looked at.
        expect(not ours.is_done, "h11 refuses it", theirs, ours)
        return
    expect(theirs.is_done == ours.is_done, "h11 sees another end", theirs, ours)
    if ours.is_done:
        expect(theirs == ours, "another body", theirs, ours)
    else:
        expect(theirs.body == ours.body, "another part of a body", theirs, ours)


def h11_body(sent: bytes) -> Read | str:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=NO_LIMIT)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + sent)
    body = b""
    trailers: list[tuple[bytes, bytes]] = []
    is_done = False
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                trailers = list(event.headers)
                is_done = True
            elif not isinstance(event, h11.Request):
                break
    except h11.RemoteProtocolError as error:
        return str(error)
    return Read(is_done, 0, body, trailers, connection.trailing_data[0] if is_done else b"")
