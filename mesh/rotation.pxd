cimport cython
from libc.stdint cimport int64_t

from mesh.balance cimport Candidate, Group, Terms
from mesh.request cimport RequestView


cdef int SMOOTH, LOOKS
cdef double EQUAL, GOLDEN


cdef class RoundRobin(Group):
    cdef public Py_ssize_t next_index
    @cython.locals(
        members=list, candidate=Candidate, terms=Terms, count=Py_ssize_t, index=Py_ssize_t, spare=Py_ssize_t,
        full=Py_ssize_t, now_ms=int64_t, starts_slowly=bint,
    )
    cpdef Candidate pick(self, RequestView request, list tried, int64_t now)
    @cython.locals(terms=Terms, warmth=double)
    cdef bint waits(self, Candidate candidate, int64_t now_ms) except -1


cdef class WeightedRoundRobin(Group):
    cdef list known
    cdef double[::1] parts
    cdef double[::1] earned
    cdef int[::1] heap
    cdef double clock
    cpdef Candidate pick(self, RequestView request, list tried, int64_t now)
    @cython.locals(
        members=list, candidate=Candidate, terms=Terms, index=Py_ssize_t, starts_slowly=bint, free=bint, some=bint,
        part=double,
    )
    cdef bint take_parts(self, list tried, int64_t now_ms) except -1
    @cython.locals(known=list, index=Py_ssize_t)
    cdef bint knows(self, list members) except -1
    @cython.locals(count=Py_ssize_t, index=Py_ssize_t, best=Py_ssize_t, total=double, most=double, has=double)
    cdef Py_ssize_t richest(self) except -1
    @cython.locals(members=list, candidate=Candidate, found=Candidate, fits=bint, index=Py_ssize_t, best=Py_ssize_t)
    cdef Candidate earliest(self, list tried, int64_t now_ms)
    @cython.locals(weight=double)
    cdef put_off(self, Candidate candidate, Py_ssize_t index, int64_t now_ms)
    @cython.locals(count=Py_ssize_t, place=Py_ssize_t)
    cdef order(self)
    @cython.locals(count=Py_ssize_t, index=int, deadline=double, below=Py_ssize_t)
    cdef sink(self, Py_ssize_t place)
