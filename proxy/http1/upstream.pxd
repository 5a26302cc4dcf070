cimport cython
from libc.stdint cimport int64_t

from mesh.retry cimport RetryPlan
from proxy.http1.body cimport BodyReader
from proxy.http1.forward cimport Forwarder
from proxy.http1.framing cimport ResponseFraming, frame_response
from proxy.http1.parties cimport ClientSide, Exchange, ServerSide
from proxy.http1.settings cimport HttpSettings
from proxy.kernel.buffer cimport Buffer
from proxy.kernel.emit cimport write_chunk, write_trailers
from proxy.kernel.netio cimport Reactor
from proxy.kernel.scan cimport Head, scan_response
from proxy.upstream.endpoint cimport EndpointRuntime


cdef int AGAIN, BROKEN, DATA, DONE, FAILED, KEEP_ALIVE, UNTIL_CLOSE, FRAMING_AS_RECEIVED, READ_TURNS


cdef class Upstream(ServerSide):
    cdef public Forwarder forwarder
    cdef BodyReader body
    cdef Head head
    cdef bint in_body
    cdef bint reusable
    cdef bint answering
    cdef bint again
    cdef bint chunked_request
    @cython.locals(got=Py_ssize_t, turns=int, exchange=Exchange)
    cpdef on_readable(self)
    @cython.locals(buffer=Buffer, result=int)
    cdef advance(self, Exchange exchange)
    @cython.locals(taken=Py_ssize_t, head=Head, settings=HttpSettings)
    cdef bint take_head(self, Exchange exchange, Buffer buffer) except -1
    @cython.locals(forwarder=Forwarder, downstream=ClientSide, framing=ResponseFraming, plan=RetryPlan, wait=double)
    cdef bint start_response(self, Exchange exchange, Head head) except -1
    @cython.locals(found=int, downstream=ClientSide, body=BodyReader)
    cdef bint take_body(self, Exchange exchange, Buffer buffer) except -1
    @cython.locals(tx=Buffer)
    cpdef send_request(self, Exchange exchange)
    cpdef int request_data(self, Buffer source, Py_ssize_t start, Py_ssize_t count) except -2
    @cython.locals(downstream=ClientSide, buffer=Buffer, reusable=bint, clean=bint)
    cdef finish_response(self, Exchange exchange)
