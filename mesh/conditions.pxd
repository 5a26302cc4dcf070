cimport cython
from mesh.request cimport RequestView


cdef class Probe:
    cdef public RequestView view
    cdef dict parameters
    cdef tuple address
    cdef bint has_address
    cpdef ask(self, RequestView view)
    cpdef forget(self)
    cpdef bytes parameter(self, bytes name)
    cpdef tuple client(self)


cdef class Condition:
    cpdef bint holds(self, Probe probe) except -1


cdef class MethodIn(Condition):
    cdef readonly frozenset methods
    cdef bytes only
    cpdef bint holds(self, Probe probe) except -1


cdef class ClientIn(Condition):
    cdef readonly object networks
    cpdef bint holds(self, Probe probe) except -1


cdef class Named(Condition):
    cdef readonly bytes name
    cdef readonly bytes wanted
    cdef readonly str expression
    cdef object pattern
    cpdef bytes value(self, Probe probe)
    @cython.locals(value=bytes)
    cpdef bint holds(self, Probe probe) except -1


cdef class HeaderIs(Named):
    cpdef bytes value(self, Probe probe)


cdef class QueryIs(Named):
    cpdef bytes value(self, Probe probe)


cpdef dict parse_query(bytes query)
cpdef bytes percent_decode(bytes text)
