"""Writes the heads that leave: a request as an upstream gets it, a response as a client gets it.

A received head is written again field by field, never passed on raw. Hop-by-hop fields stay behind (RFC 9110 section
7.6.1), forwarding fields are set by what we know of the peer, and framing is stated anew by whoever decided it.
Nothing here decides; the caller says what is to be written.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from proxy.kernel.buffer cimport Buffer
from proxy.kernel.entropy cimport put_hex_bytes, random_bytes
from proxy.kernel.octets cimport octets, octets_size
from proxy.kernel.scan cimport (
    F_ALT_SVC,
    F_CONNECTION,
    F_CONTENT_LENGTH,
    F_FORWARDING,
    F_HOST,
    F_HTTP2_SETTINGS,
    F_KEEP_ALIVE,
    F_NAMED_BY_CONNECTION,
    F_PROXY_AUTHENTICATE,
    F_PROXY_AUTHORIZATION,
    F_PROXY_CONNECTION,
    F_TE,
    F_TRACEPARENT,
    F_TRACESTATE,
    F_TRAILER,
    F_TRANSFER_ENCODING,
    F_UPGRADE,
    F_X_FORWARDED_FOR,
    F_X_FORWARDED_HOST,
    F_X_FORWARDED_PROTO,
    F_X_REQUEST_ID,
    Field,
    Head,
)

# How a response body is framed towards the client.
FRAMING_AS_RECEIVED = 0  # the fields say it (Content-Length), or there is no body
FRAMING_CHUNKED = 1
FRAMING_CLOSE = 2
FRAMING_NONE = 3  # 1xx and 204: no framing field may stand

cdef enum:
    AS_RECEIVED = 0
    CHUNKED = 1
    UNTIL_CLOSE = 2
    NONE = 3

cdef uint64_t ONE = 1
cdef uint64_t HOP_BY_HOP = (
    (ONE << F_CONNECTION) | (ONE << F_KEEP_ALIVE) | (ONE << F_PROXY_CONNECTION) | (ONE << F_TE)
    | (ONE << F_TRANSFER_ENCODING) | (ONE << F_UPGRADE) | (ONE << F_PROXY_AUTHENTICATE)
    | (ONE << F_PROXY_AUTHORIZATION) | (ONE << F_HTTP2_SETTINGS) | (ONE << F_NAMED_BY_CONNECTION)
)
# Written by ourselves in every request.
cdef uint64_t OURS = (
    (ONE << F_HOST) | (ONE << F_X_FORWARDED_FOR) | (ONE << F_X_FORWARDED_PROTO) | (ONE << F_X_FORWARDED_HOST)
    | (ONE << F_X_REQUEST_ID) | (ONE << F_TRACEPARENT)
)
# Those of them that edits may leave out. Via stays: without it a loop would not be noticed.
OURS_BY_NAME = {
    b"x-forwarded-for": ONE << F_X_FORWARDED_FOR, b"x-forwarded-proto": ONE << F_X_FORWARDED_PROTO,
    b"x-forwarded-host": ONE << F_X_FORWARDED_HOST, b"x-forwarded-port": ONE << F_FORWARDING,
    b"x-request-id": ONE << F_X_REQUEST_ID, b"traceparent": ONE << F_TRACEPARENT,
}


cdef class FieldEdits:
    """Changes to a head: names (lower case) that are left out, then complete field lines that are added."""

    def __init__(self, drop, bytes append=b""):
        if append and not append.endswith(b"\r\n"):
            raise ValueError("added fields must be complete lines that end with CRLF")
        self.drop = tuple(drop)
        self.append = append
        self.drops_ours = 0
        for name in self.drop:
            self.drops_ours |= <uint64_t>OURS_BY_NAME.get(name, 0)

    cdef bint drops(self, const char* name, Py_ssize_t size) except -1:
        cdef bytes candidate
        cdef Py_ssize_t index
        cdef const char* lower
        cdef unsigned char c
        for candidate in self.drop:
            if octets_size(candidate) != size:
                continue
            lower = octets(candidate)
            for index in range(size):
                c = <unsigned char>name[index]
                if 65 <= c <= 90:
                    c |= 0x20
                if c != <unsigned char>lower[index]:
                    break
            else:
                return True
        return False


cdef class ForwardAs:
    """What an upstream is told about the client: everything but `peer` and `trusted` is written as given.

    peer: text of the peer's address, b"" for a unix socket. scheme: b"http" or b"https". host: value for
    X-Forwarded-Host, None for the Host field as received. port: our own, that the client connected to. trusted: whether
    the peer's own forwarding fields are kept and added to. deadline: milliseconds until the answer has to be there, -1
    to say nothing of it.
    """

    def __init__(self):
        self.peer = b""
        self.scheme = b"http"
        self.host = None
        self.port = b""
        self.trusted = False
        self.request_id = b""
        self.traceparent = b""
        self.keep_tracestate = False
        self.via = b""
        self.deadline = -1


cdef inline int put_bytes(Buffer out, bytes value) except -1:
    return out.put(octets(value), octets_size(value))


cdef inline int put_line(Buffer out, const char* name, Py_ssize_t name_size, const char* value,
                         Py_ssize_t value_size) except -1:
    """One field line; `name` without colon. Room is reserved once."""
    cdef char* at
    out.reserve(name_size + value_size + 4)
    at = out.data + out.end
    memcpy(at, name, name_size)
    at += name_size
    at[0] = b":"
    at[1] = b" "
    memcpy(at + 2, value, value_size)
    at += 2 + value_size
    at[0] = b"\r"
    at[1] = b"\n"
    out.end = at + 2 - out.data
    return 0


cdef int put_fields(Buffer out, Head head, uint64_t skip, FieldEdits edits) except -1:
    return put_fields_but(out, head, skip, edits, None)


cdef int put_fields_but(Buffer out, Head head, uint64_t skip, FieldEdits edits, FieldEdits others) except -1:
    """All fields but those of ids in `skip` and of names that `edits` or `others` drop."""
    cdef int index
    cdef Field* field
    for index in range(head.count):
        field = &head.fields[index]
        if (skip >> field.id) & 1:
            continue
        if edits is not None and edits.drops(head.data + field.name, field.name_size):
            continue
        if others is not None and others.drops(head.data + field.name, field.name_size):
            continue
        put_line(out, head.data + field.name, field.name_size, head.data + field.value, field.value_size)
    return 0


cdef int put_all(Buffer out, Head head, int field_id, const char* name, Py_ssize_t name_size, bytes last) except -1:
    """One line with the values of all fields of an id, then `last`."""
    cdef int index
    cdef bint first = True
    out.put(name, name_size)
    out.put(b": ", 2)
    for index in range(head.count):
        if head.fields[index].id == field_id:
            if not first:
                out.put(b", ", 2)
            out.put(head.data + head.fields[index].value, head.fields[index].value_size)
            first = False
    if last:
        if not first:
            out.put(b", ", 2)
        put_bytes(out, last)
    return out.put(b"\r\n", 2)


cdef int put_ours(Buffer out, Head head, ForwardAs forward, uint64_t drop) except -1:
    """The fields that we write in every request, but for those whose bit is set in `drop`."""
    if (drop >> F_X_FORWARDED_FOR) & 1:
        pass
    elif forward.trusted and (head.seen >> F_X_FORWARDED_FOR) & 1:
        put_all(out, head, F_X_FORWARDED_FOR, b"X-Forwarded-For", 15, forward.peer)
    elif forward.peer:
        put_line(out, b"X-Forwarded-For", 15, octets(forward.peer), octets_size(forward.peer))
    if (drop >> F_X_FORWARDED_PROTO) & 1:
        pass
    elif forward.trusted and (head.seen >> F_X_FORWARDED_PROTO) & 1:
        put_all(out, head, F_X_FORWARDED_PROTO, b"X-Forwarded-Proto", 17, None)
    else:
        put_line(out, b"X-Forwarded-Proto", 17, octets(forward.scheme), octets_size(forward.scheme))
    if (drop >> F_X_FORWARDED_HOST) & 1:
        pass
    elif forward.trusted and (head.seen >> F_X_FORWARDED_HOST) & 1:
        put_all(out, head, F_X_FORWARDED_HOST, b"X-Forwarded-Host", 16, None)
    elif forward.host is not None:
        if forward.host:
            put_line(out, b"X-Forwarded-Host", 16, octets(forward.host), octets_size(forward.host))
    elif (head.seen >> F_HOST) & 1:
        put_all(out, head, F_HOST, b"X-Forwarded-Host", 16, None)
    if (drop >> F_FORWARDING) & 1:
        pass
    elif forward.port and not (forward.trusted and head.find_name(b"x-forwarded-port", 16, 0) >= 0):
        put_line(out, b"X-Forwarded-Port", 16, octets(forward.port), octets_size(forward.port))
    if not (drop >> F_X_REQUEST_ID) & 1:
        put_line(out, b"X-Request-Id", 12, octets(forward.request_id), octets_size(forward.request_id))
    if not (drop >> F_TRACEPARENT) & 1:
        put_line(out, b"traceparent", 11, octets(forward.traceparent), octets_size(forward.traceparent))
    return 0


cdef FieldEdits _DEADLINE = FieldEdits((b"x-envoy-expected-rq-timeout-ms",))


cpdef write_request_head(
    Buffer out, Head head, bytes target, bytes host, ForwardAs forward, FieldEdits edits, bint upgrade
):
    """Append the request head for an upstream.

    target: origin-form or b"*"; None: as received. host: value of Host; None: as received. upgrade: whether the
    client's wish to change protocols goes along.
    """
    cdef uint64_t skip = HOP_BY_HOP | OURS
    cdef int index
    cdef const char* at
    cdef Py_ssize_t size
    if not forward.trusted:
        skip |= ONE << F_FORWARDING
    if not forward.keep_tracestate:
        skip |= ONE << F_TRACESTATE
    out.reserve(head.size + 512)
    out.put(head.data, head.method_size)
    out.put(b" ", 1)
    if target is None:
        out.put(head.data + head.target_at, head.target_size)
    else:
        put_bytes(out, target)
    out.put(b" HTTP/1.1\r\nHost: ", 17)
    if host is None:
        index = head.find_id(F_HOST)
        if index >= 0:
            out.put(head.data + head.fields[index].value, head.fields[index].value_size)
    else:
        put_bytes(out, host)
    out.put(b"\r\n", 2)
    if forward.deadline >= 0:
        # A peer's own field has been taken into account by whoever set ours.
        put_fields_but(out, head, skip, edits, _DEADLINE)
        out.put(b"x-envoy-expected-rq-timeout-ms: ", 32)
        out.put_decimal(forward.deadline)
        out.put(b"\r\n", 2)
    else:
        put_fields(out, head, skip, edits)
    put_ours(out, head, forward, 0 if edits is None else edits.drops_ours)
    out.put(b"Via: ", 5)
    put_bytes(out, forward.via)
    out.put(b"\r\n", 2)
    if head.chunked:
        out.put(b"Transfer-Encoding: chunked\r\n", 28)
    if upgrade:
        put_all(out, head, F_UPGRADE, b"Upgrade", 7, None)
        out.put(b"Connection: upgrade\r\n", 21)
    elif head.accepts_trailers:
        out.put(b"TE: trailers\r\nConnection: TE\r\n", 30)
    if edits is not None:
        put_bytes(out, edits.append)
    out.put(b"\r\n", 2)


cpdef write_response_head(
    Buffer out, Head head, FieldEdits edits, int framing, bytes connection, bint upgrade, bytes lines=None
):
    """Append the response head for a client.

    framing: one of the FRAMING constants. connection: value of a Connection field, or None. upgrade: whether the
    response's Upgrade field goes along (101, 426). lines: complete field lines of ours, or None.
    """
    cdef uint64_t skip = HOP_BY_HOP | (ONE << F_ALT_SVC)
    out.reserve(head.size + 96)
    out.put(b"HTTP/1.1 ", 9)
    out.put_decimal(head.status)
    out.put(b" ", 1)
    out.put(head.data + head.reason_at, head.reason_size)
    out.put(b"\r\n", 2)
    if framing == NONE:
        skip |= ONE << F_CONTENT_LENGTH
    if framing != CHUNKED:
        skip |= ONE << F_TRAILER
    put_fields(out, head, skip, edits)
    if framing == CHUNKED:
        out.put(b"Transfer-Encoding: chunked\r\n", 28)
    if upgrade and (head.seen >> F_UPGRADE) & 1:
        put_all(out, head, F_UPGRADE, b"Upgrade", 7, None)
        out.put(b"Connection: upgrade\r\n", 21)
    elif connection is not None:
        put_line(out, b"Connection", 10, octets(connection), octets_size(connection))
    if edits is not None:
        put_bytes(out, edits.append)
    if lines is not None:
        put_bytes(out, lines)
    out.put(b"\r\n", 2)


cpdef write_chunk(Buffer out, Buffer source, Py_ssize_t start, Py_ssize_t count):
    """Append `count` bytes of `source` as one chunk. Nothing for count 0: that would end the body."""
    if count <= 0:
        return
    if start < 0 or count > source.end - start:
        raise IndexError(f"range {start}+{count} is outside the buffer")
    out.put_hex(count)
    out.put(b"\r\n", 2)
    out.put(source.data + start, count)
    out.put(b"\r\n", 2)


cdef tuple NO_TRAILERS = (
    b"authorization", b"cookie", b"set-cookie", b"content-encoding", b"content-range", b"cache-control", b"pragma",
    b"range", b"max-forwards", b"location", b"www-authenticate", b"retry-after", b"vary", b"age", b"expires", b"date",
)
cdef FieldEdits _NOT_IN_TRAILERS = FieldEdits(NO_TRAILERS)


cpdef write_trailers(Buffer out, Head head, FieldEdits edits):
    """Append the last chunk and the trailers of `head` (None: none), without those that `edits` drop.

    Fields that say something about framing, routing, forwarding, authentication or the handling of the content are
    left out (RFC 9110 section 6.5.1): whoever merges trailers into a head must not be misled by them.
    """
    cdef int index
    cdef Field* field
    out.put(b"0\r\n", 3)
    if head is not None:
        for index in range(head.count):
            field = &head.fields[index]
            if field.id or _NOT_IN_TRAILERS.drops(head.data + field.name, field.name_size):
                continue
            if edits is not None and edits.drops(head.data + field.name, field.name_size):
                continue
            put_line(out, head.data + field.name, field.name_size, head.data + field.value, field.value_size)
    out.put(b"\r\n", 2)


cpdef write_fields(Buffer out, list pairs):
    """Append field lines from (name, value) pairs of bytes that are known to be clean."""
    cdef bytes name, value
    for name, value in pairs:
        put_line(out, octets(name), octets_size(name), octets(value),
                 octets_size(value))


cdef bint is_hex(const char* at, int count) noexcept:
    """Lower-case hexadecimal digits, not all zero."""
    cdef int index
    cdef bint some = False
    for index in range(count):
        if not (48 <= at[index] <= 57 or 97 <= at[index] <= 102):
            return False
        if at[index] != 48:
            some = True
    return some


cdef bint valid_traceparent(bytes value) except -1:
    cdef const char* at = octets(value)
    cdef Py_ssize_t size = octets_size(value)
    cdef char zero = 48
    if size < 55 or at[2] != b"-" or at[35] != b"-" or at[52] != b"-":
        return False
    if not (at[0] == zero and at[1] == zero):
        # A later version may be longer, and must be separated from what it adds.
        if not is_hex(at, 2) or (at[0] == b"f" and at[1] == b"f") or (size > 55 and at[55] != b"-"):
            return False
    elif size != 55:
        return False
    if not is_hex(at + 3, 32) or not is_hex(at + 36, 16):
        return False
    return (at[53] == zero and at[54] == zero) or is_hex(at + 53, 2)


cpdef bytes continue_trace(bytes traceparent):
    """A traceparent for the next hop (W3C Trace Context, version 00): the trace of a valid `traceparent` goes on with
    a new parent id and its flags; anything else, None included, starts a new sampled trace."""
    cdef char raw[24]
    cdef char* out
    cdef const char* was
    cdef bint known = traceparent is not None and valid_traceparent(traceparent)
    result = PyBytes_FromStringAndSize(NULL, 55)
    out = octets(result)
    memcpy(out, b"00-", 3)
    random_bytes(raw, 24)
    if known:
        was = octets(traceparent)
        memcpy(out + 3, was + 3, 32)
        out[53] = was[53]
        out[54] = was[54]
    else:
        put_hex_bytes(out + 3, <unsigned char*>raw, 16)
        out[53] = 48
        out[54] = 49
    out[35] = b"-"
    put_hex_bytes(out + 36, <unsigned char*>raw + 16, 8)
    out[52] = b"-"
    return result


def continues_trace(bytes before, bytes after):
    """Whether `after` belongs to the trace of `before`, so that its tracestate stays true."""
    return before is not None and before[3:35] == after[3:35]
