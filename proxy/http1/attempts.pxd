cimport cython
from libc.stdint cimport int64_t

from mesh.balance cimport Balancer, Candidate
from mesh.bonds cimport Bond
from mesh.retry cimport RetryPlan
from proxy.http1.parties cimport ClientSide, Exchange, RouteRuntime, ServerSide
from proxy.http1.retries cimport Retries
from proxy.kernel.buffer cimport Buffer
from proxy.kernel.cells cimport Slot
from proxy.kernel.emit cimport ForwardAs, write_request_head
from proxy.kernel.scan cimport Head
from proxy.upstream.endpoint cimport EndpointRuntime, PooledStream, ServiceRuntime, pick_admitted, pick_bound


cdef int CONTENT_TYPE
cdef int ACTIVE, CONNECT_FAILURES, CONNECT_MICROSECONDS, CONNECT_TIMEOUTS, CONNECTS, OVERFLOWS, REPLAYS
cdef int RETRY_SUCCESSES
cdef double SOON, FOREVER
cdef int MOST_ATTEMPTS, MICROS, PAUSE_PHASE, FAILED, PROBE, UNKNOWN, WORKED
cdef int AFFINITY_BROKEN
cdef int PANIC_PICKS


cdef class Attempts(Retries):
    @cython.locals(endpoint=EndpointRuntime, stream=PooledStream, service=ServiceRuntime, balancer=Balancer, server=ServerSide, plan=RetryPlan,
                   connect=double, waited=bint, at_once=bint, now=int64_t, probing=bint, bond=Bond)
    cpdef assign(self, Exchange exchange)
    cdef begin_attempt(self, Exchange exchange, EndpointRuntime endpoint, bint probing)
    cpdef Balancer balancer_of(self, Exchange exchange)
    @cython.locals(endpoint=EndpointRuntime)
    cdef EndpointRuntime pick_bound(self, Exchange exchange, Balancer balancer, Bond bond, int64_t now)
    cdef bint replayable(self, Exchange exchange)
    cdef attach(self, Exchange exchange, ServerSide server)
    @cython.locals(route=RouteRuntime, forward_as=ForwardAs)
    cpdef write_head(self, Exchange exchange, Buffer out)
    @cython.locals(left=double, plan=RetryPlan, now=int64_t)
    cpdef int64_t deadline(self, Exchange exchange) except? -1
    @cython.locals(left=double, plan=RetryPlan)
    cpdef double head_timeout(self, Exchange exchange, int64_t since) except -1.0
    cpdef connected(self, Exchange exchange, ServerSide server)
    cpdef proceed(self, Exchange exchange)
    @cython.locals(stays_open=bint, outcome=int, bond=Bond, endpoint=EndpointRuntime, penalty=int64_t)
    cpdef response_started(self, Exchange exchange, Head head)
    @cython.locals(client=ClientSide)
    cpdef complete(self, Exchange exchange, ServerSide server, bint reusable)
