from collections.abc import Iterable

from proxy.kernel.buffer import Buffer
from proxy.kernel.scan import Head

FRAMING_AS_RECEIVED: int
FRAMING_CHUNKED: int
FRAMING_CLOSE: int
FRAMING_NONE: int

class FieldEdits:
    drop: tuple[bytes, ...]
    append: bytes
    def __init__(self, drop: Iterable[bytes], append: bytes = b"") -> None: ...

class ForwardAs:
    peer: bytes
    scheme: bytes
    host: bytes | None
    port: bytes
    trusted: bool
    request_id: bytes
    traceparent: bytes
    keep_tracestate: bool
    via: bytes
    deadline: int

def write_request_head(
    out: Buffer,
    head: Head,
    target: bytes | None,
    host: bytes | None,
    forward: ForwardAs,
    edits: FieldEdits | None,
    upgrade: bool,
) -> None: ...
def write_response_head(
    out: Buffer,
    head: Head,
    edits: FieldEdits | None,
    framing: int,
    connection: bytes | None,
    upgrade: bool,
    lines: bytes | None = None,
) -> None: ...
def write_chunk(out: Buffer, source: Buffer, start: int, count: int) -> None: ...
def write_fields(out: Buffer, pairs: list[tuple[bytes, bytes]]) -> None: ...
def continue_trace(traceparent: bytes | None) -> bytes: ...
def continues_trace(before: bytes | None, after: bytes) -> bool: ...
def write_trailers(out: Buffer, head: Head | None, edits: FieldEdits | None) -> None: ...
