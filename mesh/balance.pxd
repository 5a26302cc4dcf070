cimport cython
from libc.stdint cimport int64_t

from mesh.request cimport RequestView


cdef int FULL, BACKUP, TRIED, UNUSABLE, FEW


cdef class Candidate:
    cdef public object endpoint
    cdef public bint usable
    cdef public bint full
    cdef public long weight
    cdef public bint backup
    cpdef bint is_ejected(self, int64_t now_ms) except -1
    cpdef int64_t load(self) except -1


cdef class Balancer:
    cdef public list candidates
    @cython.locals(candidate=Candidate)
    cpdef exchange(self, object gone, object new)
    @cython.locals(candidates=list, index=Py_ssize_t)
    cpdef take_out(self, Candidate candidate)
    cpdef left(self, Py_ssize_t index)
    cpdef replace(self, list candidates)
    @cython.locals(candidate=Candidate)
    cpdef bint has_usable(self, list tried, int64_t now_ms) except -1
    cpdef Candidate pick(self, RequestView request, list tried, int64_t now)


cdef class RoundRobin(Balancer):
    cdef Py_ssize_t next_index
    @cython.locals(
        candidates=list, candidate=Candidate, best=Candidate, count=Py_ssize_t, step=Py_ssize_t, index=Py_ssize_t,
        best_index=Py_ssize_t, rank=int, best_rank=int, now_ms=int64_t,
    )
    cpdef Candidate pick(self, RequestView request, list tried, int64_t now)
