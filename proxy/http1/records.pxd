cimport cython
from libc.stdint cimport int64_t, uint64_t

from mesh.hashing cimport hash_bytes
from proxy.http1.parties cimport Exchange, RouteRuntime
from proxy.kernel.scan cimport Head
from proxy.upstream.endpoint cimport EndpointRuntime, ServiceRuntime


cdef int USER_AGENT
cdef Py_ssize_t MOST_METHOD, MOST_TARGET, MOST_HOST, MOST_AGENT, MOST_ADDRESS, MOST_DETAIL


@cython.final
@cython.no_gc
cdef class Kept:
    cdef readonly int64_t started
    cdef readonly int64_t received
    cdef readonly int64_t assigned
    cdef readonly int64_t connected
    cdef readonly int64_t first_byte
    cdef readonly int64_t finished
    cdef readonly int64_t bytes_in
    cdef readonly int64_t bytes_out
    cdef readonly int64_t body_bytes
    cdef readonly int64_t config_version
    cdef readonly int status
    cdef readonly int upstream_status
    cdef readonly int attempts
    cdef readonly int retries
    cdef readonly int minor
    cdef readonly bint probing
    cdef readonly bytes request_id
    cdef readonly bytes traceparent
    cdef readonly bytes method
    cdef readonly bytes host
    cdef readonly bytes target
    cdef readonly bytes client
    cdef readonly bytes peer
    cdef readonly bytes user_agent
    cdef readonly str flags
    cdef readonly str detail
    cdef readonly str denied
    cdef readonly str wanted
    cdef readonly str listener
    cdef readonly str route
    cdef readonly object position
    cdef readonly str service
    cdef readonly str version
    cdef readonly str endpoint
    cdef readonly tuple tried
    @cython.locals(head=Head, agent=bytes, route=RouteRuntime, service=ServiceRuntime, endpoint=EndpointRuntime)
    cpdef take(self, Exchange exchange, int64_t config_version)


@cython.final
cdef class Versions:
    cdef readonly int64_t version
    cdef readonly int64_t since
    cdef list before
    cpdef put(self, int64_t version, int64_t now)
    cpdef int64_t at(self, int64_t moment) except -1
    cdef int64_t earlier(self, int64_t moment) except -1


@cython.final
cdef class Ring:
    cdef readonly Py_ssize_t size
    cdef readonly list entries
    cdef readonly Py_ssize_t oldest
    @cython.locals(kept=Kept)
    cpdef Kept next(self)
    cpdef list in_order(self)
    cpdef resize(self, Py_ssize_t size)
    @cython.locals(kept=Kept)
    cpdef list named(self, bytes request_id)


@cython.final
cdef class Records:
    cdef readonly Versions versions
    cdef readonly Ring sampled
    cdef readonly Ring failed
    cdef readonly bint takes_all
    cdef uint64_t below
    cdef readonly int worker
    cdef readonly int64_t wall_offset
    @cython.locals(ring=Ring)
    cpdef keep(self, Exchange exchange)


cpdef bytes cut(bytes text, Py_ssize_t most)
cpdef bint is_error(Exchange exchange) except -1
