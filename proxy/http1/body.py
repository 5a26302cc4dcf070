"""Where a message body ends: the framing machine (RFC 9112 sections 6 and 7).

`BodyReader.next(buffer)` looks at the start of a buffer and answers one of

 - NEED: nothing to be had until more bytes arrive;
 - DATA: `count` bytes of body at absolute index `at` of the buffer; they are consumed already, and stay in place
   until the buffer is next written to;
 - DONE: the body is complete (`trailers` holds its trailer section, if it had one); bytes after it are left alone;
 - FAILED: `error` is a key of proxy.kernel.scan.ERRORS.

Chunk framing is taken off here and put on anew by whoever writes: what one peer says about sizes never reaches the
other. The machine does no I/O and holds no body bytes.
"""

from __future__ import annotations

from proxy.http1.codes import CHUNKED, DATA, DONE, FAILED, LENGTH, NEED, NO_BODY
from proxy.kernel.buffer import Buffer
from proxy.kernel.scan import ChunkLine, Head, HeadLimits, scan_chunk_line, scan_trailers

# Inside a chunked body.
IN_SIZE = 0
IN_DATA = 1
IN_DATA_END = 2
IN_TRAILERS = 3
AT_END = 4

BAD_CHUNK = -23  # proxy.kernel.scan.ERRORS


class BodyReader:
    """One per direction of an exchange; `begin` starts it for a message."""

    framing: int
    left: int  # of the body, or of the present chunk
    state: int
    at: int  # with DATA: where the piece begins
    count: int  # with DATA: its size
    total: int  # body bytes of this message so far
    error: int
    trailers: Head | None
    line: ChunkLine | None  # None until the first chunked body
    trailer_limits: HeadLimits
    extension_limit: int

    def __init__(self, trailer_limits: HeadLimits, extension_limit: int) -> None:
        self.trailer_limits = trailer_limits
        self.state = AT_END
        self.extension_limit = extension_limit
        self.line = None
        self.at = 0
        self.count = 0
        self.begin(NO_BODY, 0)

    def begin(self, framing: int, length: int) -> None:
        """`length` counts for LENGTH only."""
        self.framing = framing
        self.left = length if framing == LENGTH else 0
        self.state = IN_SIZE
        if framing == NO_BODY or (framing == LENGTH and length == 0):
            self.state = AT_END
        self.total = 0
        self.error = 0
        self.trailers = None

    def is_done(self) -> bool:
        return self.state == AT_END

    def next(self, buffer: Buffer) -> int:
        if self.state == AT_END:
            return DONE
        if self.framing == CHUNKED:
            return self.next_chunked(buffer)
        if self.framing == LENGTH:
            taken = self.take(buffer)
            if self.left == 0:
                self.state = AT_END
            return taken
        self.left = buffer.length()
        return self.take(buffer)

    def take(self, buffer: Buffer) -> int:
        """Up to `left` bytes of what the buffer holds."""
        live = buffer.length()
        if live > self.left:
            live = self.left
        if live == 0:
            return NEED
        self.at = buffer.start
        self.count = live
        self.left -= live
        self.total += live
        buffer.consume(live)
        return DATA

    def next_chunked(self, buffer: Buffer) -> int:
        while True:
            if self.state == IN_DATA:
                taken = self.take(buffer)
                if self.left == 0:
                    self.state = IN_DATA_END
                return taken
            if self.state == IN_DATA_END:
                # The CRLF after the data of a chunk.
                if buffer.length() < 2:
                    if buffer.length() == 1 and buffer.find(b"\r", 0) != buffer.start:
                        return self.fail(BAD_CHUNK)
                    return NEED
                if buffer.find(b"\r\n", 0) != buffer.start:
                    return self.fail(BAD_CHUNK)
                buffer.consume(2)
                self.state = IN_SIZE
            if self.state == IN_SIZE:
                if self.line is None:
                    self.line = ChunkLine()
                taken = scan_chunk_line(buffer, self.line, self.extension_limit)
                if taken <= 0:
                    return NEED if taken == 0 else self.fail(taken)
                buffer.consume(taken)
                self.left = self.line.size
                self.state = IN_DATA if self.left else IN_TRAILERS
                continue
            head = Head()
            taken = scan_trailers(buffer, head, self.trailer_limits)
            if taken <= 0:
                return NEED if taken == 0 else self.fail(taken)
            buffer.consume(taken)
            if head.count:
                self.trailers = head
            self.state = AT_END
            return DONE

    def fail(self, error: int) -> int:
        self.error = error
        return FAILED
