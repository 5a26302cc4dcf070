cimport cython
from libc.stdint cimport int64_t, uint64_t

from proxy.http1.parties cimport Exchange
from proxy.http1.phases cimport Phase, Verdict
from proxy.kernel.cells cimport Shared, Slot
from proxy.kernel.limits cimport KeyedLimits
from proxy.upstream.endpoint cimport ServiceRuntime


cdef int ACTIVE, DENIED, RATE_LIMITED, RATE_WORD, TOO_LARGE, TOO_MANY_AT_ONCE, NANOS_OF_MICRO


cdef class AccessPhase(Phase):
    cdef object allow
    cdef object deny
    cdef bint open
    cdef Shared shared
    cpdef Verdict run(self, Exchange exchange)
    cpdef tuple preview(self, Exchange exchange)
    cdef Verdict judge(self, Exchange exchange)


cdef class BodyLimitPhase(Phase):
    cdef int64_t most
    cdef Shared shared
    cpdef Verdict run(self, Exchange exchange)
    cpdef tuple preview(self, Exchange exchange)


cdef class RateLimitPhase(Phase):
    cdef object limit
    cdef int64_t interval
    cdef int64_t tolerance
    cdef Shared shared
    cdef KeyedLimits keyed
    cdef uint64_t scope
    @cython.locals(keyed=KeyedLimits, now=int64_t, wait=int64_t, digest=uint64_t)
    cpdef Verdict run(self, Exchange exchange)
    cpdef tuple preview(self, Exchange exchange)
    cdef int64_t time_of(self, Exchange exchange) except -1
    @cython.locals(shared=Shared)
    cdef object take(self, int64_t now)


cdef class ConcurrencyPhase(Phase):
    cdef int64_t most
    cdef Slot slot
    cdef Shared shared
    @cython.locals(slot=Slot)
    cpdef Verdict run(self, Exchange exchange)
    cpdef tuple preview(self, Exchange exchange)
    cpdef release(self, Exchange exchange)


cdef class ServiceConcurrencyPhase(ConcurrencyPhase):
    @cython.locals(service=ServiceRuntime)
    cpdef Verdict run(self, Exchange exchange)
    cpdef tuple preview(self, Exchange exchange)
