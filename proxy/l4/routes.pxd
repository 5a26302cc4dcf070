cimport cython
from libc.stdint cimport int64_t

from mesh.draws cimport Draws
from mesh.request cimport RequestView
from proxy.kernel.cells cimport Slot
from proxy.upstream.endpoint cimport ServiceRuntime


cdef class StreamRouteRuntime:
    cdef public object route
    cdef public str version
    cdef public Slot slot
    cdef public ServiceRuntime service
    cdef public object split
    cdef public Draws draws
    @cython.locals(service=ServiceRuntime, version=str)
    cpdef object choose(self, RequestView stream, int64_t now_ms)
