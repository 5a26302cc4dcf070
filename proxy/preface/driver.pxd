cimport cython
from libc.stdint cimport int64_t

from proxy.http1.parties cimport LimitedAcceptor, ListenerRuntime
from proxy.kernel.cells cimport Slot
from proxy.kernel.netio cimport Reactor, Stream


cdef int DRAIN_REQUEST
cdef double DRAIN_IDLE
cdef int CONNECTIONS_TOTAL, PROXY_HEADER_FAILURES, WORKER_CONNECTIONS


cdef class PrefaceSettings:
    cdef public object trusted
    cdef public double header
    cdef public double detect
    cdef public Py_ssize_t hello


cdef class Found:
    cdef public ListenerRuntime listener
    cdef public bytes peer
    cdef public int port
    cdef public tuple destination
    cdef public bint is_http
    cdef public bytes sni
    cdef public int64_t started
    cdef public int64_t received


cdef class Handlers:
    cdef public Slot worker_slot
    cdef public object take
    cdef public object refuse
    cdef public object reject
    cdef public object gate
    cdef public int looking
    cdef public PrefaceSettings settings


cpdef bint decides_by_bytes(ListenerRuntime listener) except -1


cdef class Preface(Stream):
    cdef public Handlers handlers
    cdef public Found found
    cdef public PrefaceSettings settings
    cdef public bint awaits_header
    cdef public bint waits
    cdef public bint drains
    cdef public bint refused
    cdef public bint is_counted
    cpdef int drain_kind(self) except -1
    @cython.locals(found=Found, data=bytes)
    cpdef bint take_header(self) except -1
    @cython.locals(found=Found, data=bytes)
    cpdef look(self)
    @cython.locals(handlers=Handlers, found=Found)
    cpdef hand_on(self)


cdef class PrefaceAcceptor(LimitedAcceptor):
    cdef public Handlers handlers
    @cython.locals(handlers=Handlers, listener=ListenerRuntime, found=Found, stream=Preface, reactor=Reactor)
    cpdef accepted(self, int fd, bytes host, int port)
