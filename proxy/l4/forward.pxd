cimport cython

from mesh.balance cimport Balancer
from mesh.streams cimport StreamRouter
from proxy.accesslog cimport AccessLog
from proxy.kernel.cells cimport Slot
from proxy.kernel.netio cimport Reactor
from proxy.l4.ends cimport ClientEnd, ServerEnd
from proxy.l4.routes cimport StreamRouteRuntime
from proxy.streamlog cimport StreamRecord
from proxy.upstream.endpoint cimport EndpointRuntime, ServiceRuntime


cdef int ACTIVE, CONNECT_FAILURES, CONNECT_MICROSECONDS, CONNECT_TIMEOUTS, CONNECTS, OVERFLOWS, REPLAYS
cdef int MOST_ATTEMPTS, MICROS, FAILED, PROBE, UNKNOWN, PANIC_PICKS, WORKED


cdef class TcpForwarder:
    cdef public Reactor reactor
    cdef public Slot worker_slot
    cdef public AccessLog log
    cdef public double connect
    cdef public double idle
    cdef public bint draining
    cdef public object connector
    @cython.locals(record=StreamRecord, route=StreamRouteRuntime, service=ServiceRuntime)
    cpdef begin(self, ClientEnd client)
    @cython.locals(service=ServiceRuntime, version=str)
    cpdef Balancer balancer_of(self, ClientEnd client)
    @cython.locals(record=StreamRecord, balancer=Balancer, endpoint=EndpointRuntime, server=ServerEnd, probing=bint)
    cpdef assign(self, ClientEnd client)
    @cython.locals(record=StreamRecord, slot=Slot)
    cpdef connected(self, ClientEnd client, ServerEnd server)
    @cython.locals(server=ServerEnd)
    cpdef ServerEnd part(self, ClientEnd client)
    cdef report(self, ClientEnd client, EndpointRuntime endpoint, int outcome)
    @cython.locals(server=ServerEnd)
    cpdef end(self, ClientEnd client, bint broken)
    @cython.locals(record=StreamRecord, service=ServiceRuntime)
    cpdef finish(self, ClientEnd client)
