cimport cython
from libc.stdint cimport int64_t

from mesh.bonds cimport Bond
from mesh.draws cimport Draws
from proxy.accesslog cimport AccessLog
from proxy.http1.intake cimport read_request
from proxy.http1.parties cimport ClientSide, Exchange, ListenerRuntime, RouteRuntime, ServerSide
from proxy.http1.phases cimport Phase
from proxy.http1.records cimport Records
from proxy.http1.settings cimport HttpSettings
from proxy.kernel.cells cimport Slot
from proxy.kernel.emit cimport ForwardAs
from proxy.kernel.entropy cimport new_request_id, random_unit
from proxy.kernel.netio cimport Reactor
from proxy.kernel.scan cimport Head
from proxy.upstream.endpoint cimport EndpointRuntime, ServiceRuntime


cdef int ACTIVE, SPARE_HEADS, SPARE_SIZE, FAILED, UNKNOWN, WORKED


cdef class Ending:
    cdef public Reactor reactor
    cdef public HttpSettings settings
    cdef public object connector
    cdef public AccessLog log
    cdef public Records records
    cdef public object taps
    cdef public Slot worker_slot
    cdef public bint draining
    cdef public long active
    cdef public Draws draws
    cdef ForwardAs forward_as
    cdef list spare_heads
    cdef object ready
    cpdef Head take_head(self)
    cpdef give_head(self, Head head)
    @cython.locals(endpoint=EndpointRuntime)
    cpdef report(self, Exchange exchange, int outcome)
    @cython.locals(elapsed=int64_t, head=Head, endpoint=EndpointRuntime, service=ServiceRuntime, now=int64_t, phase=Phase)
    cpdef finish(self, Exchange exchange)
