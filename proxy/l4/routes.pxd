from proxy.kernel.cells cimport Slot
from proxy.upstream.endpoint cimport ServiceRuntime


cdef class StreamRouteRuntime:
    cdef public object route
    cdef public str version
    cdef public Slot slot
    cdef public ServiceRuntime service
    cdef public object split
