cimport cython
from libc.stdint cimport int64_t

from proxy.http1.parties cimport Exchange, RouteRuntime
from proxy.kernel.buffer cimport Buffer
from proxy.kernel.scan cimport Head
from proxy.log cimport LogSink
from proxy.logfilter cimport LineFilter
from proxy.streamlog cimport StreamRecord, write_stream_json, write_stream_text
from proxy.upstream.endpoint cimport EndpointRuntime


cdef int USER_AGENT, X_FORWARDED_FOR, MICROS, BLOCK


@cython.final
cdef class AccessLog:
    cdef LogSink sink
    cdef bint as_json
    cdef tuple filters
    cdef tuple stream_filters
    cdef Buffer lines
    cdef int64_t wall_offset
    cdef int64_t second
    cdef bytes second_text
    cpdef write(self, Exchange exchange)
    cpdef write_stream(self, StreamRecord record)
    cpdef hand_over(self)
    @cython.locals(line_filter=LineFilter)
    cdef bint keeps(self, Exchange exchange) except -1
    @cython.locals(out=Buffer, head=Head, route=RouteRuntime, endpoint=EndpointRuntime)
    cdef write_json(self, Exchange exchange)
    @cython.locals(out=Buffer, head=Head)
    cdef write_text(self, Exchange exchange)
    @cython.locals(wall=int64_t)
    cdef write_time(self, int64_t micros)
    cdef write_quoted(self, bytes value)


cpdef bytes route_part(RouteRuntime route)
cpdef bytes endpoint_part(EndpointRuntime endpoint)
