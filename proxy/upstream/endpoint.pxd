cimport cython
from libc.stdint cimport int64_t, uint64_t

from mesh.balance cimport Balancer, Candidate, Changes
from mesh.bonds cimport Bond
from mesh.request cimport RequestView
from mesh.retry cimport RetryPlan
from proxy.kernel.cells cimport Shared, Slot
from proxy.kernel.netio cimport Address, Stream


cdef int ACTIVE, CONNECTIONS_ACTIVE, CONNECTIONS_TOTAL, PENDING, POOL_IDLE, RETRIES_ACTIVE
cdef int ATTEMPTS, ATTEMPT_FAILURES, REJECTIONS
cdef int ADMITTED, FAILED, FAILURE, REFUSED, SUCCESS, UNKNOWN, WORKED
cdef int BREAKER_WORD, PROBES, MOST_REFUSALS
cdef uint64_t CLOSED, STATE_MASK
cdef int PENDING_RESOURCE, REQUESTS_RESOURCE, RETRIES_RESOURCE
cdef int RECOVERED_WORD, TOLD_WITHIN_MS


cdef class PooledStream(Stream):
    cdef public int64_t idle_since
    cdef public long uses


cdef class ServiceRuntime


cdef class EndpointRuntime(Candidate):
    cdef public ServiceRuntime service
    cdef public Address address
    cdef public Slot slot
    cdef public Shared shared
    cdef public bytes log_part
    cdef public list idle
    cdef public long open
    cdef public long limit
    cdef public long max_idle
    cdef public object policy
    cdef public double keep_for
    cdef double keep_until
    cdef public object habit
    cdef public bint removed
    cdef public int admission
    @cython.locals(stream=PooledStream, age=int64_t)
    cpdef PooledStream take(self, bint replayable, int64_t now_us)
    cpdef bint give(self, PooledStream stream, int64_t now_us)
    cpdef bint make_room(self)
    cdef public bint is_first
    cpdef int64_t load(self) except -1
    cpdef int64_t recovered_ms(self) except -1
    cpdef bint is_draining(self) except -1
    @cython.locals(word=uint64_t)
    cpdef int admit(self, int64_t now_ms) except -1
    @cython.locals(word=uint64_t)
    cpdef int would_admit(self, int64_t now_ms) except -1
    @cython.locals(word=uint64_t)
    cpdef bint is_closed(self) except -1
    @cython.locals(word=uint64_t)
    cpdef bint is_ejected(self, int64_t now_ms) except -1
    cpdef attempt_over(self, int outcome, bint probing, int64_t now_ms)
    cdef look_full(self)
    cdef learn(self, double now)
    cpdef opened(self)
    cpdef not_opened(self)
    cpdef closed(self, PooledStream stream)


cdef class ServiceRuntime:
    cdef public str name
    cdef public object service
    cdef public Slot slot
    cdef public Shared shared
    cdef public tuple phases
    cdef public object breaker
    cdef public RetryPlan retry
    cdef public bint deadline_header
    cdef public object breakers
    cdef public uint64_t epoch
    cdef public long max_requests
    cdef public long max_waiting
    cdef public double yields_until
    cdef public object ring
    cdef public Balancer balancer
    cdef public dict versions
    cdef public object split
    cdef public object affinities
    cdef public object subsets
    cdef public object make_balancer
    cdef public object proxy_header
    cdef public dict endpoints
    cdef public object pending
    cdef public dict waiting
    cdef public bint serving
    cdef public Changes changes
    cdef public set crowded
    cdef public double timeout
    cdef public long max_pending
    cdef public long max_total
    @cython.locals(balancer=Balancer)
    cpdef Balancer balancer_of(self, str version, object subset, RequestView request, bint asking=*)
    @cython.locals(endpoint=EndpointRuntime, slot=Slot)
    cpdef bint claim(self)
    @cython.locals(slot=Slot)
    cpdef bint enter(self)
    @cython.locals(slot=Slot, limit=long)
    cpdef bint begin_retry(self)
    cpdef end_retry(self)
    cpdef bint is_below_total(self)
    cpdef int64_t others_wait(self)
    cpdef bint yields(self)
    @cython.locals(slot=Slot)
    cpdef bint owes(self)
    @cython.locals(owed=bint)
    cpdef unclaim(self)
    cpdef int outcome_of(self, int status) except -1


@cython.locals(target=EndpointRuntime, now_ms=int64_t)
cpdef EndpointRuntime pick_bound(
    Balancer balancer, Bond bond, RequestView request, list tried, int64_t now_us, bint in_subset, bint asking=*
)
@cython.locals(endpoint=EndpointRuntime, now_ms=int64_t, _=int)
cpdef EndpointRuntime pick_admitted(
    Balancer balancer, RequestView request, list tried, int64_t now_us, bint asking=*
)
