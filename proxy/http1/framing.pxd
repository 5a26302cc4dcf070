from libc.stdint cimport int64_t

cdef int CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE

cdef class ResponseFraming:
    cdef readonly int body
    cdef readonly int towards_client

cdef ResponseFraming NOTHING, NOT_ALLOWED, FIXED, STREAM, STREAM_OLD, REST, REST_OLD

cpdef ResponseFraming frame_response(int status, int64_t content_length, bint chunked, bint to_head, int client_minor)
