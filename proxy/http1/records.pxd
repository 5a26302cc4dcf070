cimport cython
from libc.stdint cimport int64_t, uint64_t

from mesh.hashing cimport hash_bytes
from proxy.accesslog cimport endpoint_part, route_part
from proxy.http1.parties cimport Exchange, RouteRuntime
from proxy.kernel.ledger cimport Ledger
from proxy.kernel.scan cimport Head
from proxy.upstream.endpoint cimport EndpointRuntime, ServiceRuntime


cdef int USER_AGENT
cdef int STARTED, RECEIVED, ASSIGNED, CONNECTED, FIRST_BYTE, FINISHED, STATUS, UPSTREAM_STATUS, ATTEMPTS, RETRIES, MINOR
cdef int PROBING, BYTES_IN, BYTES_OUT, BODY_BYTES, CONFIG_VERSION
cdef int REQUEST_ID, TRACEPARENT, METHOD, HOST, TARGET, CLIENT, PEER, AGENT, FLAGS, DETAIL, DENIED, WANTED, LISTENER
cdef int SERVICE, VERSION, TRIED, ROUTE_PART, ENDPOINT_PART, ROUTE, ENDPOINT
cdef Py_ssize_t MOST_ID, MOST_METHOD, MOST_TARGET, MOST_TEXT, MOST_PART


@cython.locals(head=Head, route=RouteRuntime, service=ServiceRuntime, endpoint=EndpointRuntime, part=bytes, peer=bytes, upstream_status=int)
cpdef write(Ledger lines, Py_ssize_t line, Exchange exchange, int64_t config_version)


cdef class Kept:
    cdef readonly Ledger line
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
    cdef readonly Py_ssize_t used
    cdef readonly Py_ssize_t oldest
    cdef readonly Ledger lines
    @cython.locals(line=Py_ssize_t)
    cpdef put(self, Exchange exchange, int64_t config_version)
    @cython.locals(line=Py_ssize_t)
    cpdef list named(self, bytes request_id)
    cpdef int64_t finished(self, Py_ssize_t line) except -1


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


cpdef bint is_error(Exchange exchange) except -1
