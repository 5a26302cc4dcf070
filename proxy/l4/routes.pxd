cimport cython
from libc.stdint cimport int64_t

from proxy.kernel.cells cimport Slot
from proxy.kernel.entropy cimport random_unit
from proxy.upstream.endpoint cimport ServiceRuntime


cdef class StreamRouteRuntime:
    cdef public object route
    cdef public str version
    cdef public Slot slot
    cdef public ServiceRuntime service
    cdef public object split
    @cython.locals(service=ServiceRuntime, version=str)
    cpdef object choose(self, int64_t now_ms)
