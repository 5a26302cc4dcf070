cimport cython
from libc.stdint cimport int64_t

from mesh.balance cimport Balancer, Candidate
from mesh.request cimport RequestView
from proxy.kernel.cells cimport Slot
from proxy.kernel.netio cimport Address, Stream


cdef class PooledStream(Stream):
    cdef public int64_t idle_since
    cdef public long uses


cdef class ServiceRuntime


cdef class EndpointRuntime(Candidate):
    cdef public ServiceRuntime service
    cdef public Address address
    cdef public Slot slot
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
    @cython.locals(stream=PooledStream, age=int64_t)
    cpdef PooledStream take(self, bint replayable, int64_t now_us)
    cpdef bint give(self, PooledStream stream, int64_t now_us)
    cpdef bint make_room(self)
    cdef look_full(self)
    cdef learn(self, double now)
    cpdef opened(self)
    cpdef not_opened(self)
    cpdef closed(self, PooledStream stream)


cdef class ServiceRuntime:
    cdef public str name
    cdef public object service
    cdef public Slot slot
    cdef public Balancer balancer
    cdef public dict versions
    cdef public object split
    cdef public object proxy_header
    cdef public dict endpoints
    cdef public object pending
    cdef public bint serving
    cdef public set crowded
    cdef public double timeout
    cdef public long max_pending
    cdef public long max_total
    @cython.locals(endpoint=EndpointRuntime, slot=Slot)
    cpdef bint claim(self)
