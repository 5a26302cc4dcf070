"""How servers and clients read a stream of HTTP/1: strictly, or as lenient ones do that exist.

`read` is written from RFC 9112 and shares nothing with hivemesh's own parser; h11 is asked besides (judge.py). A
`Reading` is a set of leniencies. What a proxy forwards must mean the same by all of them, because nobody knows which
one the server behind it has: a header that one takes for framing and another does not is how requests are smuggled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
START: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) (HTTP/1\.[0-9])")
STATUS: Final = re.compile(rb"(HTTP/1\.[0-9]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
CHUNK: Final = re.compile(rb"([0-9a-fA-F]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
# Numbers as strtol and its like in other languages take them.
NUMBER: Final = re.compile(rb"[ \t\v\f]*\+?(?:0[xX])?([0-9a-fA-F][0-9a-fA-F_]*)")
DECIMAL: Final = re.compile(rb"[ \t\v\f]*\+?([0-9][0-9_]*)")
BLANK: Final = bytes(range(0x21)) + b"\x7f"


class LineEnd(StrEnum):
    CRLF = "CRLF"
    LF = "LF, with or without CR"
    CR = "CR or LF or both"


@dataclass(frozen=True, slots=True)
class Reading:
    """All False is strict: what is not well-formed ends the reading with an error."""

    name: str
    what: str
    line_end: LineEnd = LineEnd.CRLF
    lenient: bool = False  # names and values are trimmed of all that is blank, odd lines are passed over
    any_chunked: bool = False  # a Transfer-Encoding that holds "chunked" anywhere is chunked, in HTTP/1.0 too
    length_first: bool = False  # Content-Length counts where both are there
    last_length: bool = False  # of several Content-Length the last counts; otherwise the first
    underscores: bool = False  # are hyphens in names
    cut_at_nul: bool = False  # as C strings are
    numbers: bool = False  # sizes with signs, 0x, blanks and whatever follows the digits
    spill: bool = False  # two bytes after the data of a chunk are passed over whatever they are
    folds_are_fields: bool = False  # a line that begins with white space is a field of its own


STRICT: Final = Reading("strict", "RFC 9112 to the letter")
LENIENT: Final = (
    Reading("bare LF", "LF ends a line", LineEnd.LF, lenient=True),
    Reading("bare CR", "CR ends a line", LineEnd.CR, lenient=True),
    Reading("any chunked", "Transfer-Encoding counts however it is written", lenient=True, any_chunked=True),
    Reading("length first", "Content-Length counts before Transfer-Encoding", lenient=True, length_first=True),
    Reading("last length", "the last Content-Length counts", lenient=True, length_first=True, last_length=True),
    Reading("underscores", "underscores in names are hyphens (CGI, WSGI)", lenient=True, underscores=True),
    Reading(
        "underscores, length first",
        "the same, and lengths count first",
        lenient=True,
        underscores=True,
        length_first=True,
        last_length=True,
    ),
    Reading("C strings", "NUL ends a value", lenient=True, any_chunked=True, cut_at_nul=True),
    Reading("numbers", "sizes as strtol reads them", lenient=True, numbers=True),
    Reading("spill", "what follows the data of a chunk is not looked at", lenient=True, spill=True),
    Reading("folds are fields", "a folded line is a field", lenient=True, any_chunked=True, folds_are_fields=True),
)


@dataclass(slots=True)
class Message:
    """A request (method, target) or a response (status). `complete`: with all of its body."""

    method: bytes = b""
    target: bytes = b""
    version: bytes = b""
    status: int = 0
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)  # names in lower case
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    complete: bool = False

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]

    @property
    def line(self) -> str:
        """Method and path, without what absolute-form puts before it and without query."""
        path = self.target
        if b"://" in path:
            path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
        return f"{self.method.decode('latin-1')} {path.partition(b'?')[0].decode('latin-1')}"


@dataclass(slots=True)
class Read:
    """`error`: why reading ended before the bytes did; `taken`: how many bytes complete messages have."""

    messages: list[Message]
    error: str = ""
    taken: int = 0

    @property
    def complete(self) -> list[Message]:
        return [message for message in self.messages if message.complete]

    def is_plain(self, size: int) -> bool:
        """Of a strict reading of `size` bytes: every lenient one surely finds the same. All of it is whole messages, so
        there is no odd line, byte or number anywhere, and what is left to disagree about is which field counts."""
        if self.error or self.taken != size or not all(message.complete for message in self.messages):
            return False
        return not any(
            len(message.all(b"content-length")) + len(message.all(b"transfer-encoding")) > 1
            or any(b"_" in name for name, _ in message.fields)
            for message in self.messages
        )


class Malformed(Exception):
    pass


class NeedMore(Exception):
    pass


def read_requests(data: bytes, reading: Reading = STRICT) -> Read:
    return _read(data, reading, None, False)


def read_responses(data: bytes, methods: Sequence[bytes], ended: bool, reading: Reading = STRICT) -> Read:
    """`methods` of the requests that were sent, in order; `ended`: the connection has been closed in order."""
    return _read(data, reading, list(methods), ended)


def _read(data: bytes, reading: Reading, methods: list[bytes] | None, ended: bool) -> Read:
    result = Read([])
    source = _Source(data, reading)
    while True:
        if methods is None:
            while data.startswith(b"\r\n", source.at):
                source.at += 2
        result.taken = source.at
        if source.at == len(data):
            return result
        message = Message()
        try:
            _head(source, message, methods is None)
            result.messages.append(message)
            to = b""
            if methods is not None and message.status >= 200:
                to = methods.pop(0) if methods else b"GET"
            _body(source, message, methods is None, to, ended)
            message.complete = True
        except NeedMore:
            return result
        except Malformed as error:
            result.error = str(error)
            return result


class _Source:
    def __init__(self, data: bytes, reading: Reading) -> None:
        self.data = data
        self.at = 0
        self.reading = reading

    def line(self) -> bytes:
        if self.reading.line_end is LineEnd.CRLF:
            end = self.data.find(b"\r\n", self.at)
            size = 2
        else:
            wanted = rb"\r\n|\n" if self.reading.line_end is LineEnd.LF else rb"\r\n|\n|\r"
            found = re.compile(wanted).search(self.data, self.at)
            end, size = (found.start(), found.end() - found.start()) if found else (-1, 0)
        if end < 0:
            raise NeedMore
        line = self.data[self.at : end]
        self.at = end + size
        return line

    def bytes(self, count: int) -> tuple[bytes, bool]:
        piece = self.data[self.at : self.at + count]
        self.at += len(piece)
        return piece, len(piece) == count


def _head(source: _Source, message: Message, is_request: bool) -> None:
    start = source.line()
    reading = source.reading
    if is_request:
        found = START.fullmatch(start)
        if found is not None:
            message.method, message.target, message.version = found.groups()
        elif not reading.lenient or len(words := start.split()) < 2:
            raise Malformed(f"start line {start[:60]!r}")
        else:
            message.method, message.version = words[0], words[-1]
            message.target = b" ".join(words[1:-1]) or words[1]
    else:
        found = STATUS.fullmatch(start)
        if found is None:
            raise Malformed(f"status line {start[:60]!r}")
        message.version, message.status = found[1], int(found[2])
    message.fields = _fields(source)
    if is_request and message.version == b"HTTP/1.1" and not reading.lenient and len(message.all(b"host")) != 1:
        raise Malformed("not one Host")


def _fields(source: _Source) -> list[tuple[bytes, bytes]]:
    reading = source.reading
    fields: list[tuple[bytes, bytes]] = []
    while line := source.line():
        if line[:1] in b" \t" and not reading.folds_are_fields:
            if not reading.lenient:
                raise Malformed("folded field")
            if fields:
                fields[-1] = (fields[-1][0], fields[-1][1] + b" " + line.strip())
            continue
        name, colon, value = line.partition(b":")
        if not reading.lenient:
            if not colon or not TOKEN.fullmatch(name) or not VALUE.fullmatch(value):
                raise Malformed(f"field {line[:60]!r}")
            fields.append((name.lower(), value.strip(b" \t")))
            continue
        if not colon:
            continue
        if reading.cut_at_nul:
            name, value = name.partition(b"\0")[0], value.strip(BLANK).partition(b"\0")[0]
        name = name.strip(BLANK).lower()
        if reading.underscores:
            name = name.replace(b"_", b"-")
        fields.append((name, value.strip(BLANK)))
    return fields


def _framing(message: Message, reading: Reading) -> int | str:
    """A length, "chunked", or "" where nothing is said."""
    codings = message.all(b"transfer-encoding")
    lengths = message.all(b"content-length")
    words = [word.strip(b" \t").lower() for value in codings for word in value.split(b",")]
    if reading.any_chunked:
        is_chunked = any(b"chunked" in word for word in words)
    elif reading.lenient:
        is_chunked = bool(words) and words[-1] == b"chunked" and message.version != b"HTTP/1.0"
    else:
        is_chunked = bool(words)
        if is_chunked and (words != [b"chunked"] or message.version == b"HTTP/1.0"):
            raise Malformed(f"Transfer-Encoding {codings!r} in {message.version!r}")
    if is_chunked and not (reading.length_first and lengths):
        return "chunked"
    if not lengths:
        return ""
    if not reading.lenient:
        if len(set(lengths)) > 1 or not re.fullmatch(rb"[0-9]+", lengths[0]):
            raise Malformed(f"Content-Length {lengths!r}")
        return int(lengths[0])
    text = lengths[-1] if reading.last_length else lengths[0]
    found = DECIMAL.match(text) if reading.numbers else re.fullmatch(rb"[0-9]+", text)
    if found is None:
        raise Malformed(f"Content-Length {text!r}")
    return int(found[found.lastindex or 0].replace(b"_", b""))


def _body(source: _Source, message: Message, is_request: bool, to: bytes, ended: bool) -> None:
    status = message.status
    if not is_request and (100 <= status < 200 or status in (204, 304) or to == b"HEAD"):
        if status == 101:
            message.body, source.at = source.data[source.at :], len(source.data)
        return
    framing = _framing(message, source.reading)
    if framing == "chunked":
        _chunks(source, message)
        return
    if framing == "" and not is_request:
        message.body, source.at = source.data[source.at :], len(source.data)
        if not ended:
            raise NeedMore
        return
    message.body, whole = source.bytes(framing or 0)  # type: ignore[arg-type]
    if not whole:
        raise NeedMore


def _chunks(source: _Source, message: Message) -> None:
    reading = source.reading
    while True:
        line = source.line()
        if reading.numbers:
            found = NUMBER.match(line)
        elif reading.lenient:
            found = CHUNK.match(line)
        else:
            found = CHUNK.fullmatch(line)
        if found is None:
            raise Malformed(f"chunk size {line[:60]!r}")
        size = int(found[1].replace(b"_", b""), 16)
        if size == 0:
            message.trailers = _fields(source)
            return
        piece, whole = source.bytes(size)
        message.body += piece
        if not whole:
            raise NeedMore
        if reading.spill:
            if not source.bytes(2)[1]:
                raise NeedMore
        elif reading.lenient and reading.line_end is not LineEnd.CRLF:
            if source.line():
                raise Malformed("bytes after a chunk")
        else:
            end, whole = source.bytes(2)
            if not whole:
                raise NeedMore
            if end != b"\r\n":
                raise Malformed("no CRLF after a chunk")
