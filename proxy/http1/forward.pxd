cimport cython
from libc.stdint cimport int64_t

from mesh.balance cimport Balancer, Candidate
from proxy.accesslog cimport AccessLog
from proxy.http1.intake cimport read_request
from proxy.http1.parties cimport ClientSide, Exchange, ListenerRuntime, RouteRuntime, ServerSide
from proxy.http1.phases cimport Phase, Verdict
from proxy.http1.settings cimport HttpSettings
from proxy.kernel.buffer cimport Buffer
from proxy.kernel.cells cimport Slot
from proxy.kernel.emit cimport ForwardAs, write_request_head
from proxy.kernel.entropy cimport new_request_id, random_unit
from proxy.kernel.netio cimport Reactor
from proxy.kernel.scan cimport Head
from proxy.upstream.endpoint cimport EndpointRuntime, PooledStream, ServiceRuntime


cdef int CONTENT_TYPE, IDEMPOTENT_METHODS
cdef int ACTIVE, CONNECT_FAILURES, CONNECT_MICROSECONDS, CONNECT_TIMEOUTS, CONNECTS, OVERFLOWS, REPLAYS
cdef int MOST_ATTEMPTS, SPARE_HEADS, SPARE_SIZE, MICROS


cdef class Forwarder:
    cdef public Reactor reactor
    cdef public HttpSettings settings
    cdef public object connector
    cdef public AccessLog log
    cdef public Slot worker_slot
    cdef public bint draining
    cdef public long active
    cdef ForwardAs forward_as
    cdef list spare_heads
    cpdef Head take_head(self)
    cpdef give_head(self, Head head)
    @cython.locals(head=Head, route=RouteRuntime, phase=Phase, verdict=Verdict, settings=HttpSettings)
    cpdef begin(self, Exchange exchange)
    @cython.locals(route=RouteRuntime, service=ServiceRuntime, balancer=Balancer)
    cdef object choose(self, Exchange exchange)
    @cython.locals(endpoint=EndpointRuntime, stream=PooledStream, service=ServiceRuntime, balancer=Balancer, server=ServerSide)
    cpdef assign(self, Exchange exchange)
    @cython.locals(service=ServiceRuntime)
    cpdef Balancer balancer_of(self, Exchange exchange)
    cdef bint replayable(self, Exchange exchange)
    cdef attach(self, Exchange exchange, ServerSide server)
    @cython.locals(route=RouteRuntime, forward_as=ForwardAs)
    cpdef write_head(self, Exchange exchange, Buffer out)
    cpdef connected(self, Exchange exchange, ServerSide server)
    cpdef response_started(self, Exchange exchange, Head head)
    @cython.locals(client=ClientSide)
    cpdef complete(self, Exchange exchange, ServerSide server, bint reusable)
    @cython.locals(elapsed=int64_t, head=Head, endpoint=EndpointRuntime, service=ServiceRuntime, now=int64_t)
    cpdef finish(self, Exchange exchange)
