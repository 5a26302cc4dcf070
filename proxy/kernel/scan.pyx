"""Scans HTTP/1.1 message heads (RFC 9112 sections 2 to 6) straight from a receive buffer.

One pass checks every byte, notes where each field is, recognises the fields that framing, forwarding and connection
handling need, and applies their rules. A head that is complete is copied once into its `Head`, so the receive buffer
is free at once; offsets are relative to that copy.

The result is the number of bytes the head takes, 0 while it is not complete, or one of the negative errors below.
A head is refused, never repaired: line ends are CRLF, no folding, no control characters, no white space before a
colon, one Content-Length of digits, Transfer-Encoding only "chunked" and never beside Content-Length, exactly one
Host in HTTP/1.1. What follows the head is never looked at.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy

from proxy.kernel.buffer cimport Buffer
from proxy.kernel.octets cimport octets, octets_size

cdef extern from "scan.h":
    void hm_init() noexcept nogil
    const char* hm_skip_value(const char*, const char*) noexcept nogil
    const char* hm_skip(const char*, const char*, int) noexcept nogil
    bint hm_is(const char*, const char*, Py_ssize_t, int) noexcept nogil
    unsigned char hm_class[256]

cdef extern from "bounds.h":
    void hm_hide(void*, size_t) noexcept nogil
    void hm_show(void*, size_t) noexcept nogil

hm_init()

cdef enum:
    TOKEN = 1
    TARGET = 2
    HOST = 8

cdef enum:
    E_START_LINE = -1
    E_METHOD = -2
    E_TARGET = -3
    E_VERSION = -4
    E_START_LINE_SIZE = -5
    E_HEAD_SIZE = -6
    E_FIELD_COUNT = -7
    E_FIELD_NAME = -8
    E_FIELD_VALUE = -9
    E_FOLDING = -10
    E_LINE_END = -11
    E_CONTENT_LENGTH = -12
    E_CONTENT_LENGTH_TWICE = -13
    E_TRANSFER_ENCODING = -14
    E_TRANSFER_ENCODING_OLD = -15
    E_BOTH_FRAMINGS = -16
    E_HOST_MISSING = -17
    E_HOST_TWICE = -18
    E_HOST = -19
    E_CODING = -20
    E_STATUS = -21
    E_CONNECTION = -22
    E_CHUNK = -23
    E_CHUNK_EXTENSION = -24
    E_TRAILERS_SIZE = -25

# What is wrong, in the words of a reply and of a log line, and the status that says so to a client.
ERRORS = {
    E_START_LINE: (400, "the start line is not HTTP/1"),
    E_METHOD: (400, "the method is not a token"),
    E_TARGET: (400, "the request target holds a byte that must not stand there"),
    E_VERSION: (505, "the version is not HTTP/1.0 or HTTP/1.1"),
    E_START_LINE_SIZE: (414, "the request line is longer than limits.request_line"),
    E_HEAD_SIZE: (431, "the head is larger than limits.request_head"),
    E_FIELD_COUNT: (431, "there are more fields than limits.headers"),
    E_FIELD_NAME: (400, "a field name is not a token followed by a colon"),
    E_FIELD_VALUE: (400, "a field value holds a control character"),
    E_FOLDING: (400, "a field is folded over several lines"),
    E_LINE_END: (400, "a line does not end with CRLF"),
    E_CONTENT_LENGTH: (400, "Content-Length is not a number"),
    E_CONTENT_LENGTH_TWICE: (400, "there is more than one Content-Length"),
    E_TRANSFER_ENCODING: (400, "Transfer-Encoding is not exactly chunked"),
    E_TRANSFER_ENCODING_OLD: (400, "Transfer-Encoding in an HTTP/1.0 message"),
    E_BOTH_FRAMINGS: (400, "Transfer-Encoding beside Content-Length"),
    E_HOST_MISSING: (400, "Host is missing"),
    E_HOST_TWICE: (400, "there is more than one Host"),
    E_HOST: (400, "Host is not a host and port"),
    E_CODING: (501, "a transfer coding other than chunked"),
    E_STATUS: (400, "the status code is not three digits from 100 to 599"),
    E_CONNECTION: (400, "Connection names too many fields"),
    E_CHUNK: (400, "a chunk does not start with its size in hexadecimal and end with CRLF"),
    E_CHUNK_EXTENSION: (400, "the extension of a chunk is longer than limits.chunk_extension"),
    E_TRAILERS_SIZE: (431, "the trailers are larger than limits.trailers"),
}

# Blank lines that may stand before a request line (RFC 9112 section 2.2), in bytes.
cdef enum:
    BLANK_PREFIX = 8
    NAMED_FIELDS = 32

METHODS = (b"", b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT")
cdef tuple _METHODS = METHODS

cdef enum:
    M_OTHER = 0
    M_GET = 1
    M_HEAD = 2
    M_POST = 3
    M_PUT = 4
    M_DELETE = 5
    M_OPTIONS = 6
    M_PATCH = 7
    M_TRACE = 8
    M_CONNECT = 9

FIELD_IDS = {
    "host": F_HOST, "connection": F_CONNECTION, "content-length": F_CONTENT_LENGTH,
    "transfer-encoding": F_TRANSFER_ENCODING, "te": F_TE, "trailer": F_TRAILER, "upgrade": F_UPGRADE,
    "expect": F_EXPECT, "keep-alive": F_KEEP_ALIVE, "proxy-connection": F_PROXY_CONNECTION,
    "proxy-authenticate": F_PROXY_AUTHENTICATE, "proxy-authorization": F_PROXY_AUTHORIZATION,
    "alt-svc": F_ALT_SVC, "via": F_VIA, "x-forwarded-for": F_X_FORWARDED_FOR,
    "x-forwarded-proto": F_X_FORWARDED_PROTO, "x-forwarded-host": F_X_FORWARDED_HOST, "forwarding": F_FORWARDING,
    "x-request-id": F_X_REQUEST_ID, "traceparent": F_TRACEPARENT, "tracestate": F_TRACESTATE,
    "user-agent": F_USER_AGENT, "http2-settings": F_HTTP2_SETTINGS, "content-type": F_CONTENT_TYPE,
}


cdef int identify(const char* name, Py_ssize_t size) noexcept:
    """The id of a field name. Names that forge forwarding information get F_FORWARDING, underscores included."""
    cdef unsigned char first = <unsigned char>name[0] | 0x20
    if first == b"x":
        if size < 8 or (name[1] != b"-" and name[1] != b"_"):
            return F_OTHER
        if size == 12 and hm_is(name, b"x-request-id", 12, 0):
            return F_X_REQUEST_ID
        if size >= 12 and hm_is(name, b"x-forwarded-", 12, 1):
            if size == 15 and hm_is(name, b"x-forwarded-for", 15, 0):
                return F_X_FORWARDED_FOR
            if size == 17 and hm_is(name, b"x-forwarded-proto", 17, 0):
                return F_X_FORWARDED_PROTO
            if size == 16 and hm_is(name, b"x-forwarded-host", 16, 0):
                return F_X_FORWARDED_HOST
            return F_FORWARDING
        if (size == 9 and (hm_is(name, b"x-real-ip", 9, 1))) or (size == 8 and hm_is(name, b"x-scheme", 8, 1)):
            return F_FORWARDING
        if size == 12 and hm_is(name, b"x-request-id", 12, 1):
            return F_FORWARDING
        if hm_is(name, b"x-envoy-", 8, 1) or (size >= 11 and hm_is(name, b"x-hivemesh-", 11, 1)):
            return F_FORWARDING
        return F_OTHER
    if size >= 4 and hm_is(name, b"l5d-", 4, 1):
        return F_FORWARDING
    if size == 4:
        if hm_is(name, b"host", 4, 0):
            return F_HOST
    elif size == 2:
        if hm_is(name, b"te", 2, 0):
            return F_TE
    elif size == 3:
        if hm_is(name, b"via", 3, 0):
            return F_VIA
    elif size == 6:
        if hm_is(name, b"expect", 6, 0):
            return F_EXPECT
    elif size == 7:
        if hm_is(name, b"upgrade", 7, 0):
            return F_UPGRADE
        if hm_is(name, b"trailer", 7, 0):
            return F_TRAILER
        if hm_is(name, b"alt-svc", 7, 0):
            return F_ALT_SVC
    elif size == 9:
        if hm_is(name, b"forwarded", 9, 0):
            return F_FORWARDING
    elif size == 10:
        if hm_is(name, b"connection", 10, 0):
            return F_CONNECTION
        if hm_is(name, b"user-agent", 10, 0):
            return F_USER_AGENT
        if hm_is(name, b"keep-alive", 10, 0):
            return F_KEEP_ALIVE
        if hm_is(name, b"tracestate", 10, 0):
            return F_TRACESTATE
    elif size == 11:
        if hm_is(name, b"traceparent", 11, 0):
            return F_TRACEPARENT
    elif size == 12:
        if hm_is(name, b"content-type", 12, 0):
            return F_CONTENT_TYPE
    elif size == 14:
        if hm_is(name, b"content-length", 14, 0):
            return F_CONTENT_LENGTH
        if hm_is(name, b"content_length", 14, 0):
            return F_NAMED_BY_CONNECTION
        if hm_is(name, b"http2-settings", 14, 0):
            return F_HTTP2_SETTINGS
    elif size == 16:
        if hm_is(name, b"proxy-connection", 16, 0):
            return F_PROXY_CONNECTION
    elif size == 17:
        if hm_is(name, b"transfer-encoding", 17, 0):
            return F_TRANSFER_ENCODING
        if hm_is(name, b"transfer_encoding", 17, 0):
            return F_NAMED_BY_CONNECTION
    elif size == 18:
        if hm_is(name, b"proxy-authenticate", 18, 0):
            return F_PROXY_AUTHENTICATE
    elif size == 19:
        if hm_is(name, b"proxy-authorization", 19, 0):
            return F_PROXY_AUTHORIZATION
    return F_OTHER


cdef class HeadLimits:
    """The most bytes of a head, of its start line, and the most fields."""

    def __init__(self, Py_ssize_t head=61440, Py_ssize_t start_line=8192, int fields=100):
        if not 16 <= head <= 16_777_216 or not 16 <= start_line <= head or not 1 <= fields <= 10_000:
            raise ValueError("head limits must be 16 <= start_line <= head <= 16 MiB and 1 <= fields <= 10000")
        self.head = head
        self.start_line = start_line
        self.fields = fields


# Where a head is that has no bytes: even none of them may be copied from NULL (C17 7.24.1).
cdef char NOTHING[1]


cdef class Head:
    """A message head. Reused: every scan starts it anew, and nothing it returned before is affected."""

    def __cinit__(self):
        self.data = NOTHING
        self.fields = NULL
        self.capacity = 0
        self.field_capacity = 0
        self.content_length = -1

    def __dealloc__(self):
        if self.capacity:
            free(self.data)
        free(self.fields)

    cdef int begin(self, const char* source, Py_ssize_t count) except -1:
        """Take over the bytes of a complete head."""
        cdef char* grown
        if count > self.capacity:
            grown = <char*>realloc(self.data if self.capacity else NULL, count + 256)
            if grown == NULL:
                raise MemoryError()
            self.data = grown
            self.capacity = count + 256
        hm_show(self.data, count)
        memcpy(self.data, source, count)
        hm_hide(self.data + count, self.capacity - count)
        self.size = count
        return 0

    cdef int find_id(self, int field_id) noexcept:
        cdef int index
        if not (self.seen >> field_id) & 1:
            return -1
        for index in range(self.count):
            if self.fields[index].id == field_id:
                return index
        return -1

    cdef int find_name(self, const char* name, Py_ssize_t size, int first) noexcept:
        """Index of the field called `name` (lower case) at or after `first`, -1 when there is none."""
        cdef int index
        for index in range(first, self.count):
            if self.fields[index].name_size == size and hm_is(self.data + self.fields[index].name, name, size, 0):
                return index
        return -1

    cpdef bint has(self, int field_id) noexcept:
        return 0 <= field_id < 64 and (self.seen >> field_id) & 1

    cpdef bytes get(self, bytes name):
        """Value of the first field called `name` (lower case), None when there is none."""
        cdef int index = self.find_name(octets(name), octets_size(name), 0)
        if index < 0:
            return None
        return PyBytes_FromStringAndSize(self.data + self.fields[index].value, self.fields[index].value_size)

    cpdef bytes get_id(self, int field_id):
        cdef int index = self.find_id(field_id)
        if index < 0:
            return None
        return PyBytes_FromStringAndSize(self.data + self.fields[index].value, self.fields[index].value_size)

    cpdef list get_all(self, int field_id):
        """Values of all fields with this id, in order."""
        cdef int index
        found = []
        if not (self.seen >> field_id) & 1:
            return found
        for index in range(self.count):
            if self.fields[index].id == field_id:
                found.append(PyBytes_FromStringAndSize(
                    self.data + self.fields[index].value, self.fields[index].value_size))
        return found

    def items(self):
        """All fields as (name, value), names as they were sent."""
        cdef int index
        return [
            (
                PyBytes_FromStringAndSize(self.data + self.fields[index].name, self.fields[index].name_size),
                PyBytes_FromStringAndSize(self.data + self.fields[index].value, self.fields[index].value_size),
            )
            for index in range(self.count)
        ]

    cpdef bytes method(self):
        if self.method_id:
            return <bytes>_METHODS[self.method_id]
        return PyBytes_FromStringAndSize(self.data, self.method_size)

    cpdef bytes target(self):
        return PyBytes_FromStringAndSize(self.data + self.target_at, self.target_size)

    cpdef bytes path(self):
        """The target up to the first "?"."""
        cdef const char* start = self.data + self.target_at
        cdef const char* mark = <const char*>memchr(start, b"?", self.target_size)
        return PyBytes_FromStringAndSize(start, self.target_size if mark == NULL else mark - start)

    cpdef bytes query(self):
        """What follows the first "?" of the target, b"" when there is none."""
        cdef const char* start = self.data + self.target_at
        cdef const char* mark = <const char*>memchr(start, b"?", self.target_size)
        if mark == NULL:
            return b""
        return PyBytes_FromStringAndSize(mark + 1, start + self.target_size - mark - 1)

    cpdef bytes raw_host(self):
        """The Host field as it was sent, b"" when there is none."""
        host = self.get_id(F_HOST)
        return b"" if host is None else host

    cpdef bytes host(self):
        """The Host field in lower case without its port, b"" when there is none."""
        cdef int index = self.find_id(F_HOST)
        cdef const char* at
        cdef const char* colon
        cdef char* out
        cdef Py_ssize_t size, i
        cdef unsigned char c
        if index < 0:
            return b""
        at = self.data + self.fields[index].value
        size = self.fields[index].value_size
        if size and at[0] == b"[":
            colon = <const char*>memchr(at, b"]", size)
            if colon != NULL:
                size = colon - at + 1
        else:
            colon = <const char*>memchr(at, b":", size)
            if colon != NULL:
                size = colon - at
        result = PyBytes_FromStringAndSize(NULL, size)
        out = octets(result)
        for i in range(size):
            c = <unsigned char>at[i]
            out[i] = <char>(c | 0x20) if 65 <= c <= 90 else <char>c
        return result

    @property
    def reason(self):
        return PyBytes_FromStringAndSize(self.data + self.reason_at, self.reason_size)


cdef int take_content_length(Head head, const char* value, Py_ssize_t size) noexcept:
    cdef int64_t number = 0
    cdef Py_ssize_t index
    if head.content_length >= 0:
        return E_CONTENT_LENGTH_TWICE
    if size == 0 or size > 18:
        return E_CONTENT_LENGTH
    for index in range(size):
        if not 48 <= value[index] <= 57:
            return E_CONTENT_LENGTH
        number = number * 10 + (value[index] - 48)
    head.content_length = number
    return 0


cdef int take_transfer_encoding(Head head, const char* value, Py_ssize_t size) noexcept:
    if head.chunked or (head.seen >> F_TRANSFER_ENCODING) & 1:
        return E_TRANSFER_ENCODING
    if size == 7 and hm_is(value, b"chunked", 7, 0):
        head.chunked = True
        return 0
    # A proper list that ends with chunked once is a coding we do not have; all else is an attempt to confuse.
    if size > 9 and hm_is(value + size - 9, b", chunked", 9, 0):
        if (size == 13 and hm_is(value, b"gzip", 4, 0)) or (size == 16 and hm_is(value, b"deflate", 7, 0)):
            return E_CODING
    return E_TRANSFER_ENCODING


cdef int take_connection(Head head, const char* value, Py_ssize_t size, const char** names, int* sizes,
                         int* named) noexcept:
    """Read the options of a Connection field; those that name other fields are kept for later."""
    cdef const char* at = value
    cdef const char* end = value + size
    cdef const char* mark
    cdef Py_ssize_t length
    while at < end:
        if at[0] == b"," or at[0] == b" " or at[0] == b"\t":
            at += 1
            continue
        mark = hm_skip(at, end, TOKEN)
        length = mark - at
        if length == 0:
            return E_FIELD_VALUE
        if length == 5 and hm_is(at, b"close", 5, 0):
            head.wants_close = True
        elif length == 10 and hm_is(at, b"keep-alive", 10, 0):
            head.wants_keep_alive = True
        elif length == 7 and hm_is(at, b"upgrade", 7, 0):
            head.upgrade = True
        else:
            if named[0] == NAMED_FIELDS:
                return E_CONNECTION
            names[named[0]] = at
            sizes[named[0]] = <int>length
            named[0] += 1
        at = mark
        if at < end and at[0] != b"," and at[0] != b" " and at[0] != b"\t":
            return E_FIELD_VALUE
    return 0


cdef int check_host(const char* value, Py_ssize_t size) noexcept:
    """A host and perhaps a port (RFC 3986 sections 3.2.2 and 3.2.3), or nothing at all: a name with whole escapes, or an
    IPv6 address in brackets. Zones and addresses of the future are refused: they mean nothing to another machine."""
    cdef const char* end = value + size
    cdef const char* at = hm_skip(value, end, HOST)
    cdef int port = 0
    while at < end and at[0] == b"%":
        if end - at < 3 or hex_value(at[1]) < 0 or hex_value(at[2]) < 0:
            return E_HOST
        at = hm_skip(at + 3, end, HOST)
    if at == end:
        return 0
    if at == value:
        if at[0] != b"[":
            return E_HOST
        at = <const char*>memchr(at, b"]", size)
        if at == NULL or not is_ipv6(value + 1, at):
            return E_HOST
        at += 1
        if at == end:
            return 0
    if at[0] != b":" or end - at > 6:
        return E_HOST
    at += 1
    while at < end:
        if not 48 <= at[0] <= 57:
            return E_HOST
        port = port * 10 + (at[0] - 48)
        at += 1
    return 0 if port <= 65535 else E_HOST


cdef bint is_ipv6(const char* at, const char* end) noexcept:
    """Whether this is IPv6address of RFC 3986 section 3.2.2: eight groups, or fewer and one gap; the last two may be
    an IPv4 address."""
    cdef int groups = 0, digits
    cdef bint gap = False
    if end - at >= 2 and at[0] == b":" and at[1] == b":":
        gap = True
        at += 2
        if at == end:
            return True
    while True:
        digits = 0
        while at + digits < end and hex_value(at[digits]) >= 0:
            digits += 1
        if at + digits < end and at[digits] == b".":
            return is_ipv4(at, end) and (groups <= 5 if gap else groups == 6)
        if not 1 <= digits <= 4:
            return False
        groups += 1
        at += digits
        if at == end:
            return groups <= 7 if gap else groups == 8
        if groups == 8 or at[0] != b":":
            return False
        at += 1
        if at < end and at[0] == b":":
            if gap:
                return False
            gap = True
            at += 1
            if at == end:
                return groups <= 7


cdef bint is_ipv4(const char* at, const char* end) noexcept:
    """Four numbers up to 255 without leading zeros."""
    cdef int numbers = 0, number, digits
    while True:
        number = digits = 0
        while at + digits < end and digits < 4 and 48 <= at[digits] <= 57:
            number = number * 10 + (at[digits] - 48)
            digits += 1
        if not 1 <= digits <= 3 or number > 255 or (digits > 1 and at[0] == b"0"):
            return False
        numbers += 1
        at += digits
        if at == end:
            return numbers == 4
        if numbers == 4 or at[0] != b".":
            return False
        at += 1


cpdef bint is_authority(bytes text) except -1:
    """Whether this is a host with or without a port, as Host may hold it, and not empty."""
    return octets_size(text) > 0 and check_host(octets(text), octets_size(text)) == 0


cpdef bint may_end(Buffer source, Py_ssize_t searched) noexcept:
    """Whether a head that was incomplete when it had `searched` bytes may have its end by now, or a line that ends with
    LF alone and so is none. What else may be wrong with it shows when its end comes."""
    cdef const char* start = source.data + source.start
    cdef const char* end = source.data + source.end
    cdef const char* at = start + (searched - 3 if searched > 3 else 0)
    while at < end:
        at = <const char*>memchr(at, b"\n", end - at)
        if at == NULL:
            return False
        if at == start or at[-1] != b"\r":
            return True
        if end - at > 2 and at[1] == b"\r" and at[2] == b"\n":
            return True
        at += 1
    return False


cpdef skip_blank_lines(Buffer source):
    """Consume the line ends at the start: they may follow a body and begin no request (RFC 9112 section 2.2)."""
    while source.end - source.start >= 2 and source.data[source.start] == b"\r" and (
        source.data[source.start + 1] == b"\n"
    ):
        source.start += 2


cdef bint lists_trailers(const char* value, Py_ssize_t size) noexcept:
    """Whether a TE field holds the member "trailers"."""
    cdef Py_ssize_t at = 0
    while at + 8 <= size:
        if hm_is(value + at, b"trailers", 8, 0) and (at == 0 or value[at - 1] in (b",", b" ", b"\t")) and (
            at + 8 == size or value[at + 8] in (b",", b" ", b"\t", b";")
        ):
            return True
        at += 1
    return False


cdef Py_ssize_t scan_fields(Head head, const char* start, const char* at, const char* end, int most) except? -100:
    """The fields and the empty line after them. `start` is what offsets are relative to."""
    cdef const char* mark
    cdef const char* value
    cdef const char* value_end
    cdef Field* field
    cdef Field* grown
    cdef int error, index, named = 0
    cdef const char* names[NAMED_FIELDS]
    cdef int sizes[NAMED_FIELDS]
    head.count = 0
    head.seen = 0
    head.content_length = -1
    head.chunked = False
    head.wants_close = False
    head.wants_keep_alive = False
    head.upgrade = False
    head.expects_continue = False
    head.accepts_trailers = False
    while True:
        if at >= end:
            return 0
        if at[0] == b"\r":
            if at + 1 >= end:
                return 0
            if at[1] != b"\n":
                return E_LINE_END
            at += 2
            break
        mark = hm_skip(at, end, TOKEN)
        if mark == end:
            return 0
        if mark == at or mark[0] != b":":
            if mark == at and (at[0] == b" " or at[0] == b"\t"):
                return E_FOLDING
            return E_LINE_END if mark[0] == b"\n" else E_FIELD_NAME
        value = mark + 1
        value_end = hm_skip_value(value, end)
        if value_end == end:
            return 0
        if value_end[0] != b"\r":
            return E_LINE_END if value_end[0] == b"\n" else E_FIELD_VALUE
        if value_end + 1 == end:
            return 0
        if value_end[1] != b"\n":
            return E_LINE_END
        if head.count == most:
            return E_FIELD_COUNT
        if head.count == head.field_capacity:
            grown = <Field*>realloc(head.fields, sizeof(Field) * (head.field_capacity + 24))
            if grown == NULL:
                raise MemoryError()
            head.fields = grown
            head.field_capacity += 24
        field = &head.fields[head.count]
        field.name = <uint32_t>(at - start)
        if mark - at > 65535:
            return E_FIELD_NAME
        field.name_size = <unsigned short>(mark - at)
        at = value_end + 2
        while value < value_end and (value[0] == b" " or value[0] == b"\t"):
            value += 1
        while value_end > value and (value_end[-1] == b" " or value_end[-1] == b"\t"):
            value_end -= 1
        field.value = <uint32_t>(value - start)
        field.value_size = <uint32_t>(value_end - value)
        field.id = identify(start + field.name, field.name_size)
        head.count += 1
        if field.id:
            error = 0
            if field.id == F_CONTENT_LENGTH:
                error = take_content_length(head, value, field.value_size)
            elif field.id == F_TRANSFER_ENCODING:
                error = take_transfer_encoding(head, value, field.value_size)
            elif field.id == F_CONNECTION:
                error = take_connection(head, value, field.value_size, names, sizes, &named)
            elif field.id == F_HOST:
                if (head.seen >> F_HOST) & 1:
                    error = E_HOST_TWICE
                else:
                    error = check_host(value, field.value_size)
            elif field.id == F_EXPECT:
                head.expects_continue = field.value_size == 12 and hm_is(value, b"100-continue", 12, 0)
            elif field.id == F_TE:
                head.accepts_trailers = lists_trailers(value, field.value_size)
            if error:
                return error
            head.seen |= <uint64_t>1 << field.id
    if head.chunked and head.content_length >= 0:
        return E_BOTH_FRAMINGS
    # Fields named by Connection go no further, but only those we have no rule for: naming Host or Content-Length
    # there must not make the next hop see another message (RFC 9110 section 7.6.1 forbids naming them).
    while named > 0:
        named -= 1
        for index in range(head.count):
            field = &head.fields[index]
            if field.id == F_OTHER and field.name_size == sizes[named] and same_name(
                start + field.name, names[named], sizes[named]
            ) and not (field.name_size == 13 and hm_is(start + field.name, b"authorization", 13, 0)):
                field.id = F_NAMED_BY_CONNECTION
                head.seen |= <uint64_t>1 << F_NAMED_BY_CONNECTION
    return at - start


cdef bint same_name(const char* left, const char* right, Py_ssize_t size) noexcept:
    cdef Py_ssize_t index
    cdef unsigned char a, b
    for index in range(size):
        a = <unsigned char>left[index]
        b = <unsigned char>right[index]
        if 65 <= a <= 90:
            a |= 0x20
        if 65 <= b <= 90:
            b |= 0x20
        if a != b:
            return False
    return True


cdef int method_of(const char* at, Py_ssize_t size) noexcept:
    if size == 3:
        if memcmp(at, b"GET", 3) == 0:
            return M_GET
        if memcmp(at, b"PUT", 3) == 0:
            return M_PUT
    elif size == 4:
        if memcmp(at, b"POST", 4) == 0:
            return M_POST
        if memcmp(at, b"HEAD", 4) == 0:
            return M_HEAD
    elif size == 5:
        if memcmp(at, b"PATCH", 5) == 0:
            return M_PATCH
        if memcmp(at, b"TRACE", 5) == 0:
            return M_TRACE
    elif size == 6:
        if memcmp(at, b"DELETE", 6) == 0:
            return M_DELETE
    elif size == 7:
        if memcmp(at, b"OPTIONS", 7) == 0:
            return M_OPTIONS
        if memcmp(at, b"CONNECT", 7) == 0:
            return M_CONNECT
    return M_OTHER


cdef bint target_is_plain(const char* at, Py_ssize_t size) noexcept:
    """Whether the path of an origin-form target is already in normal form: no "%", "\\", "//", or segment that
    starts with a dot. A false "no" costs only the slow path."""
    cdef const char* end = at + size
    cdef char before = 0
    cdef char c
    if size == 0 or at[0] != b"/":
        return False
    while at < end:
        c = at[0]
        if c == b"?":
            return True
        if c == b"%" or c == b"\\" or (before == b"/" and (c == b"/" or c == b".")):
            return False
        before = c
        at += 1
    return True


cdef Py_ssize_t unfinished(Buffer source, Py_ssize_t skipped, HeadLimits limits, bint request) noexcept:
    """An incomplete head is an error once it is larger than any complete one may be."""
    cdef Py_ssize_t live = source.end - source.start - skipped
    cdef Py_ssize_t line = limits.start_line + 2  # with its CRLF
    if request and live >= line and memchr(source.data + source.start + skipped, b"\n", line) == NULL:
        return E_START_LINE_SIZE
    if live >= limits.head:
        return E_HEAD_SIZE
    return 0


cpdef Py_ssize_t scan_request(Buffer source, Head head, HeadLimits limits) except? -100:
    """Scan a request head at the start of `source` (RFC 9112 section 3); nothing is consumed.

    Returns its size with the empty line, 0 while incomplete, or a key of ERRORS.
    """
    cdef const char* start = source.data + source.start
    cdef const char* end = source.data + source.end
    cdef const char* at
    cdef const char* mark
    cdef Py_ssize_t skipped = 0, result
    while start + skipped + 1 < end and start[skipped] == b"\r" and start[skipped + 1] == b"\n":
        skipped += 2
        if skipped > BLANK_PREFIX:
            return E_START_LINE
    start += skipped
    at = start
    if at == end:
        return 0
    mark = hm_skip(at, end, TOKEN)
    if mark == end:
        return unfinished(source, skipped, limits, True)
    if mark == at or mark[0] != b" ":
        if mark[0] == b"\r" and mark + 1 == end and mark == at:
            return 0
        return E_METHOD
    head.is_request = True
    head.method_size = <uint32_t>(mark - at)
    head.method_id = method_of(at, mark - at)
    at = mark + 1
    mark = hm_skip(at, end, TARGET)
    if mark - start > limits.start_line:
        return E_START_LINE_SIZE
    if mark == end:
        return unfinished(source, skipped, limits, True)
    if mark == at:
        return E_TARGET
    if mark[0] != b" ":
        return E_START_LINE if mark[0] == b"\r" or mark[0] == b"\n" else E_TARGET
    head.target_at = <uint32_t>(at - start)
    head.target_size = <uint32_t>(mark - at)
    head.plain_target = target_is_plain(at, mark - at)
    at = mark + 1
    if end - at < 10:
        # "HTTP/1.1" and CRLF. What is there so far must be able to become that.
        if memcmp(at, b"HTTP/1.", min(<Py_ssize_t>(end - at), <Py_ssize_t>7)) != 0 and end - at >= 1:
            return version_error(at, end)
        return unfinished(source, skipped, limits, True)
    if memcmp(at, b"HTTP/1.", 7) != 0 or not 48 <= at[7] <= 57:
        return version_error(at, end)
    head.minor = 0 if at[7] == b"0" else 1
    if at[8] != b"\r" or at[9] != b"\n":
        return E_LINE_END if at[8] == b"\n" or at[8] == b"\r" else E_START_LINE
    if at + 8 - start > limits.start_line:
        return E_START_LINE_SIZE
    at += 10
    result = scan_fields(head, start, at, end, limits.fields)
    if result < 0:
        return result
    if result == 0:
        return unfinished(source, skipped, limits, True)
    if result > limits.head:
        return E_HEAD_SIZE
    if head.minor == 0 and (head.seen >> F_TRANSFER_ENCODING) & 1:
        return E_TRANSFER_ENCODING_OLD
    if head.minor == 1 and not (head.seen >> F_HOST) & 1:
        return E_HOST_MISSING
    head.begin(start, result)
    return result + skipped


cdef Py_ssize_t version_error(const char* at, const char* end) noexcept:
    """505 for an HTTP version we do not speak, 400 for what is no version."""
    if end - at >= 8 and memcmp(at, b"HTTP/", 5) == 0 and 48 <= at[5] <= 57 and at[6] == b"." and 48 <= at[7] <= 57:
        return E_VERSION
    return E_START_LINE


cpdef Py_ssize_t scan_response(Buffer source, Head head, HeadLimits limits) except? -100:
    """Scan a response head at the start of `source` (RFC 9112 section 4). Results as of scan_request."""
    cdef const char* start = source.data + source.start
    cdef const char* end = source.data + source.end
    cdef const char* at = start
    cdef const char* mark
    cdef Py_ssize_t result
    if end - at < 13:
        if memcmp(at, b"HTTP/1.", min(<Py_ssize_t>(end - at), <Py_ssize_t>7)) != 0:
            return E_START_LINE
        return 0
    if memcmp(at, b"HTTP/1.", 7) != 0 or not 48 <= at[7] <= 57 or at[8] != b" ":
        return version_error(at, end)
    head.minor = 0 if at[7] == b"0" else 1
    at += 9
    if not (49 <= at[0] <= 53 and 48 <= at[1] <= 57 and 48 <= at[2] <= 57):
        return E_STATUS
    head.is_request = False
    head.status = (at[0] - 48) * 100 + (at[1] - 48) * 10 + (at[2] - 48)
    at += 3
    # The reason may be absent, and then so may the space before it: old servers send that.
    if at[0] == b" ":
        at += 1
    elif at[0] != b"\r":
        return E_STATUS
    mark = hm_skip_value(at, end)
    if mark == end or mark + 1 == end:
        return unfinished(source, 0, limits, False)
    if mark[0] != b"\r" or mark[1] != b"\n":
        return E_LINE_END
    head.reason_at = <uint32_t>(at - start)
    head.reason_size = <uint32_t>(mark - at)
    at = mark + 2
    result = scan_fields(head, start, at, end, limits.fields)
    if result < 0:
        return result
    if result == 0:
        return unfinished(source, 0, limits, False)
    if result > limits.head:
        return E_HEAD_SIZE
    if head.minor == 0 and (head.seen >> F_TRANSFER_ENCODING) & 1:
        return E_TRANSFER_ENCODING_OLD
    head.begin(start, result)
    return result


cpdef Py_ssize_t scan_trailers(Buffer source, Head head, HeadLimits limits) except? -100:
    """Scan a trailer section (RFC 9112 section 7.1.2) and the empty line that ends it. Results as of scan_request."""
    cdef const char* start = source.data + source.start
    cdef const char* end = source.data + source.end
    cdef Py_ssize_t result = scan_fields(head, start, start, end, limits.fields)
    if result == 0:
        return E_TRAILERS_SIZE if end - start >= limits.head else 0
    if result > limits.head:
        return E_TRAILERS_SIZE
    if result > 0:
        head.begin(start, result)
    return result


cdef class ChunkLine:
    """The line before a chunk: `size` is how many bytes follow it."""


cdef inline int hex_value(char c) noexcept:
    if 48 <= c <= 57:
        return c - 48
    if 97 <= c <= 102:
        return c - 87
    if 65 <= c <= 70:
        return c - 55
    return -1


cpdef Py_ssize_t scan_chunk_line(Buffer source, ChunkLine line, Py_ssize_t extension_limit) except? -100:
    """Scan a chunk-size line (RFC 9112 section 7.1) with its CRLF. Results as of scan_request.

    The size is 1 to 15 hexadecimal digits; an extension must start with ";" and hold no control character.
    """
    cdef const char* start = source.data + source.start
    cdef const char* end = source.data + source.end
    cdef const char* at = start
    cdef const char* mark
    cdef int64_t size = 0
    cdef int digit
    while at < end:
        digit = hex_value(at[0])
        if digit < 0:
            break
        if at - start == 15:
            return E_CHUNK
        size = size * 16 + digit
        at += 1
    if at == end:
        return 0
    if at == start:
        return E_CHUNK
    if at[0] != b"\r":
        mark = at
        while mark < end and (mark[0] == b" " or mark[0] == b"\t"):
            mark += 1
        if mark < end and mark[0] != b";":
            return E_CHUNK
        mark = hm_skip_value(mark, end)
        if mark - at > extension_limit:
            return E_CHUNK_EXTENSION
        if mark == end:
            return 0
        at = mark
        if at[0] != b"\r":
            return E_CHUNK
    if at + 1 == end:
        return 0
    if at[1] != b"\n":
        return E_CHUNK
    line.size = size
    return at + 2 - start
