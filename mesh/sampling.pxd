cimport cython
from libc.stdint cimport int64_t

from mesh.balance cimport Candidate, Group, Terms
from mesh.draws cimport Draws
from mesh.request cimport RequestView


cdef int FEW, DRAWS
cdef double FIRST_RTT
cdef int64_t PENALTY_US, MOST_PENALTY_US


@cython.locals(seconds=int64_t)
cpdef int64_t penalty_us(bytes retry_after) except -1


cdef class Drawing(Group):
    cdef double[::1] sums
    cdef bint stale
    @cython.locals(
        members=list, candidate=Candidate, first=long, equal=bint, index=Py_ssize_t, total=double, weight=long,
    )
    cdef add_up(self)
    @cython.locals(count=Py_ssize_t, draws=Draws, wanted=double, low=Py_ssize_t, high=Py_ssize_t, middle=Py_ssize_t)
    cdef Py_ssize_t index(self) except -1
    @cython.locals(members=list, candidate=Candidate, terms=Terms, warmth=double, fitting=list)
    cdef Candidate draw(self, list tried, int64_t now_ms)
    @cython.locals(candidate=Candidate, found=Candidate, total=double, weight=double)
    cdef Candidate draw_among(self, list candidates, int64_t now_ms)
    @cython.locals(weight=double)
    cdef double share(self, Candidate candidate, int64_t now_ms) except -1


cdef class Random(Drawing):
    cpdef Candidate pick(self, RequestView request, list tried, int64_t now)


cdef class Comparing(Drawing):
    cdef Py_ssize_t choices
    cdef Py_ssize_t scanned
    cdef str kind
    cdef double unit
    cdef double cost(self, Candidate candidate, int64_t now) except -1
    @cython.locals(members=list, now_ms=int64_t, found=Candidate, candidate=Candidate, fitting=list, some=list)
    cpdef Candidate pick(self, RequestView request, list tried, int64_t now)
    @cython.locals(
        members=list, now_ms=int64_t, seen=list, best=Candidate, candidate=Candidate, least=double, cost=double,
        tied=Py_ssize_t,
    )
    cdef Candidate cheapest_drawn(self, list tried, int64_t now)
    @cython.locals(
        best=Candidate, candidate=Candidate, least=double, cost=double, total=double, weight=double, now_ms=int64_t,
    )
    cdef Candidate cheapest(self, list candidates, int64_t now)


cdef class LeastConnections(Comparing):
    @cython.locals(load=int64_t)
    cdef double cost(self, Candidate candidate, int64_t now) except -1


cdef class PeakEwma(Comparing):
    cdef double decay_us
    @cython.locals(candidate=Candidate)
    cpdef changed(self)
    @cython.locals(rtt=double)
    cdef double cost(self, Candidate candidate, int64_t now) except -1
