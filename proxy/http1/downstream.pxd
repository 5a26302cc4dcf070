cimport cython
from libc.stdint cimport int64_t

from proxy.http1.body cimport BodyReader
from proxy.http1.forward cimport Forwarder
from proxy.http1.intake cimport refused_body
from proxy.http1.parties cimport ClientSide, Exchange, LimitedAcceptor, ListenerRuntime, ServerSide
from proxy.http1.settings cimport HttpSettings
from proxy.kernel.buffer cimport Buffer
from proxy.kernel.emit cimport FieldEdits, write_chunk, write_response_head, write_trailers
from proxy.kernel.netio cimport Reactor
from proxy.kernel.scan cimport Head, may_end, scan_request, skip_blank_lines


cdef int AGAIN, DRAIN_REQUEST, DRAIN_STREAM, CHUNKED, DATA, DONE, FAILED, LENGTH
cdef int FRAMING_CHUNKED, FRAMING_CLOSE, FRAMING_NONE
cdef int CONNECTIONS_TOTAL, OVERFLOWS, WORKER_CONNECTIONS
cdef int READ_TURNS, HEAD_TURNS, DIRECT_SIZE
cdef bytes CLOSE, KEEP_ALIVE
cdef double DRAIN_IDLE


cdef class Downstream(ClientSide):
    cdef public Forwarder forwarder
    cdef public ListenerRuntime listener
    cdef BodyReader body
    cdef public long served
    cdef int64_t head_began
    cdef Py_ssize_t searched
    cdef bint again
    cdef bint lingering
    cdef int framing
    @cython.locals(got=Py_ssize_t, turns=int, exchange=Exchange)
    cpdef on_readable(self)
    @cython.locals(buffer=Buffer, heads=int, exchange=Exchange)
    cdef advance(self)
    @cython.locals(taken=Py_ssize_t, head=Head, forwarder=Forwarder, settings=HttpSettings, now=int64_t, exchange=Exchange)
    cdef bint take_head(self, Buffer buffer) except -1
    cdef bint may_scan(self, Buffer buffer)
    @cython.locals(found=int, result=int, server=ServerSide, body=BodyReader)
    cdef bint take_body(self, Exchange exchange, Buffer buffer) except -1
    @cython.locals(tx=Buffer, connection=bytes, edits=FieldEdits)
    cpdef response_head(self, Exchange exchange, Head head, int framing)
    @cython.locals(tx=Buffer)
    cpdef response_data(self, Exchange exchange, Buffer source, Py_ssize_t start, Py_ssize_t count)
    @cython.locals(tx=Buffer, count=Py_ssize_t)
    cpdef int flush_response(self, Exchange exchange) except -2
    cpdef finished(self)
    cdef next_request(self)
    cpdef leave(self)
    cpdef drain(self)
    cpdef int drain_kind(self) except -1
    cpdef int spare_rank(self) except -1
    cpdef on_closed(self)


cdef class HttpAcceptor(LimitedAcceptor):
    cdef public Forwarder forwarder
    cdef public object gate
    @cython.locals(stream=Downstream)
    cpdef accepted(self, int fd, bytes host, int port)
