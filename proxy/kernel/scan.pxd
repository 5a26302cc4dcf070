cimport cython
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from proxy.kernel.buffer cimport Buffer


cdef enum FieldId:
    F_OTHER = 0
    F_HOST = 1
    F_CONNECTION = 2
    F_CONTENT_LENGTH = 3
    F_TRANSFER_ENCODING = 4
    F_TE = 5
    F_TRAILER = 6
    F_UPGRADE = 7
    F_EXPECT = 8
    F_KEEP_ALIVE = 9
    F_PROXY_CONNECTION = 10
    F_PROXY_AUTHENTICATE = 11
    F_PROXY_AUTHORIZATION = 12
    F_ALT_SVC = 13
    F_VIA = 14
    F_X_FORWARDED_FOR = 15
    F_X_FORWARDED_PROTO = 16
    F_X_FORWARDED_HOST = 17
    F_FORWARDING = 18
    F_X_REQUEST_ID = 19
    F_TRACEPARENT = 20
    F_TRACESTATE = 21
    F_USER_AGENT = 22
    F_HTTP2_SETTINGS = 23
    F_CONTENT_TYPE = 24
    F_NAMED_BY_CONNECTION = 62


cdef struct Field:
    uint32_t name
    uint32_t value
    uint32_t value_size
    uint16_t name_size
    uint16_t id


@cython.final
cdef class HeadLimits:
    cdef readonly Py_ssize_t head
    cdef readonly Py_ssize_t start_line
    cdef readonly int fields


@cython.final
cdef class Head:
    cdef char* data
    cdef readonly Py_ssize_t capacity
    cdef readonly Py_ssize_t size
    cdef Field* fields
    cdef int field_capacity
    cdef readonly int count
    cdef readonly bint is_request
    # start line
    cdef readonly int method_id
    cdef uint32_t method_size
    cdef uint32_t target_at
    cdef uint32_t target_size
    cdef readonly int minor
    cdef readonly int status
    cdef uint32_t reason_at
    cdef uint32_t reason_size
    # framing and connection
    cdef readonly int64_t content_length
    cdef readonly bint chunked
    cdef readonly bint wants_close
    cdef readonly bint wants_keep_alive
    cdef readonly bint upgrade
    cdef readonly bint expects_continue
    cdef readonly bint accepts_trailers
    cdef readonly bint plain_target
    cdef uint64_t seen
    cdef int begin(self, const char* source, Py_ssize_t count) except -1
    cdef int find_id(self, int field_id) noexcept
    cdef int find_name(self, const char* name, Py_ssize_t size, int first) noexcept
    cpdef bytes get(self, bytes name)
    cpdef bytes get_id(self, int field_id)
    cpdef list get_all(self, int field_id)
    cpdef bint has(self, int field_id) noexcept
    cpdef bytes target(self)
    cpdef bytes path(self)
    cpdef bytes query(self)
    cpdef bytes method(self)
    cpdef bytes host(self)
    cpdef bytes raw_host(self)


cdef class ChunkLine:
    cdef readonly int64_t size


cpdef Py_ssize_t scan_request(Buffer source, Head head, HeadLimits limits) except? -100
cpdef Py_ssize_t scan_response(Buffer source, Head head, HeadLimits limits) except? -100
cpdef bint may_end(Buffer source, Py_ssize_t searched) noexcept
cpdef skip_blank_lines(Buffer source)
cpdef bint is_authority(bytes text) except -1
cpdef Py_ssize_t scan_trailers(Buffer source, Head head, HeadLimits limits) except? -100
cpdef Py_ssize_t scan_chunk_line(Buffer source, ChunkLine line, Py_ssize_t extension_limit) except? -100
