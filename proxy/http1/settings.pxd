cimport cython
from proxy.kernel.scan cimport HeadLimits


@cython.final
cdef class HttpSettings:
    cdef public HeadLimits request_limits
    cdef public HeadLimits response_limits
    cdef public HeadLimits trailer_limits
    cdef public long body
    cdef public long chunk_extension
    cdef public long interim_responses
    cdef public long replay_body
    cdef public long requests_per_connection
    cdef public double request_head
    cdef public double keep_alive
    cdef public double stream_idle
    cdef public double connect
    cdef public double response_header
    cdef public double linger
    cdef public bint has_trusted
    cdef public object trusted
    cdef public object escapes
    cdef public bint merge_slashes
    cdef public str name
    cdef public bytes via
    cdef public bytes pseudonym
