cimport cython
from mesh.buckets cimport Bucket, PatternTable, Rule
from mesh.conditions cimport Probe
from mesh.request cimport RequestView


cdef class Router:
    cdef readonly Py_ssize_t size
    cdef Probe probe
    cdef dict hosts
    cdef dict wildcards
    cdef tuple any_host
    cdef Py_ssize_t longest_wildcard
    @cython.locals(chain=tuple, probe=Probe, table=HostTable, rule=Rule)
    cpdef object match(self, RequestView view)
    @cython.locals(chain=object, dot=Py_ssize_t)
    cpdef tuple by_wildcard(self, bytes host)
    cpdef tuple chain(self, bytes host)


cdef class HostTable:
    cdef readonly tuple rules
    cdef readonly tuple ranks
    cdef dict exact
    cdef PatternTable patterns
    cdef PathNode root
    @cython.locals(path=bytes, bucket=Bucket, rule=Rule)
    cpdef Rule first(self, Probe probe)
    cpdef list reached(self, bytes path)


cdef class PathNode:
    cdef dict children
    cdef tuple buckets
    @cython.locals(node=PathNode, child=PathNode)
    cpdef file(self, tuple elements, Bucket bucket)
    @cython.locals(size=Py_ssize_t, start=Py_ssize_t, end=Py_ssize_t, node=PathNode, child=PathNode)
    cpdef tuple prefixes_of(self, bytes path)
