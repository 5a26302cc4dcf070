cimport cython
from mesh.conditions cimport Condition, Named, Probe


cdef class Rule:
    cdef readonly Py_ssize_t rank
    cdef readonly object route
    cdef readonly object payload
    cdef readonly tuple conditions
    @cython.locals(condition=Condition)
    cpdef bint holds(self, Probe probe) except -1


cdef class Bucket:
    cdef readonly tuple ranks
    cdef readonly Py_ssize_t lowest
    cdef list rules
    cdef list forks
    @cython.locals(best=Rule, rule=Rule, found=Rule, fork=Fork)
    cpdef Rule first(self, Probe probe)


cdef class Fork:
    cdef Py_ssize_t lowest
    cdef Named field
    cdef dict exact
    cdef PatternTable patterns
    @cython.locals(best=Rule, found=Rule, bucket=Bucket, value=bytes)
    cpdef Rule first(self, Probe probe)


cdef class PatternTable:
    cdef object patterns
    cdef list buckets
    cpdef list matching(self, bytes text)
    @cython.locals(best=Rule, found=Rule, bucket=Bucket, index=Py_ssize_t)
    cpdef Rule first(self, Probe probe, bytes text)
