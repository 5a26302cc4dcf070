cimport cython
from libc.stdint cimport int64_t

from mesh.request cimport RequestView
from proxy.kernel.buffer cimport Buffer
from proxy.upstream.endpoint cimport EndpointRuntime


@cython.final
cdef class StreamRecord(RequestView):
    cdef public bytes protocol
    cdef public str listener
    cdef public object route
    cdef public str service
    cdef public str version
    cdef public EndpointRuntime endpoint
    cdef public int client_port
    cdef public bytes sni
    cdef public int attempts
    cdef public str flags
    cdef public str detail
    cdef public int64_t started
    cdef public int64_t received
    cdef public int64_t assigned
    cdef public int64_t connected
    cdef public int64_t finished
    cdef public int64_t bytes_in
    cdef public int64_t bytes_out
    cdef public int64_t datagrams_in
    cdef public int64_t datagrams_out
    cpdef add_flag(self, str flag)


@cython.locals(endpoint=EndpointRuntime)
cpdef write_stream_json(Buffer out, StreamRecord record)
cpdef write_stream_text(Buffer out, StreamRecord record)
cdef write_quoted(Buffer out, bytes value)
