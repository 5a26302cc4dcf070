cimport cython
from libc.stdint cimport int64_t, uint64_t

from mesh.balance cimport Candidate, Terms
from mesh.hashing cimport hash_bytes, log_of, mix, unit_of
from mesh.request cimport RequestView
from mesh.sampling cimport Drawing
from mesh.tables cimport KeyTable


cdef int MANY, OFTEN, AT_ONCE, STEPS


cdef class Hashing(Drawing):
    cdef object key
    cdef bint by_client
    cdef double bound
    cdef object make_table
    cdef Py_ssize_t few
    cdef public KeyTable table
    cdef KeyTable coming
    cdef object building
    cdef bint outdated
    cdef bint is_ahead
    cdef int64_t slices
    @cython.locals(table=KeyTable)
    cdef KeyTable next_table(self)
    @cython.locals(place=Py_ssize_t, step=Py_ssize_t)
    cdef dict steps(self, KeyTable table, uint64_t hashed)
    cdef int64_t summed_at
    cdef double load_sum
    cdef double weight_sum
    @cython.locals(key=bytes, now_ms=int64_t, hashed=uint64_t, found=Candidate)
    cpdef Candidate pick(self, RequestView request, list tried, int64_t now)
    @cython.locals(
        best=Candidate, candidate=Candidate, rank=int, best_rank=int, score=double, best_score=double,
    )
    cdef Candidate rendezvous(self, uint64_t hashed, list tried, int64_t now_ms)
    cdef double score(self, uint64_t hashed, Candidate candidate, int64_t now_ms) except? -1.0
    @cython.locals(
        table=KeyTable, terms=Terms, members=list, place=Py_ssize_t, step=Py_ssize_t, candidate=Candidate, before=Candidate,
        spare=Candidate, warmth=double,
    )
    cdef Candidate walk(self, uint64_t hashed, list tried, int64_t now_ms)
    @cython.locals(part=double, most=double)
    cdef bint is_loaded(self, Candidate candidate) except -1
    @cython.locals(now_ms=int64_t, loads=double, weights=double, candidate=Candidate)
    cdef sum_up(self, int64_t now)
    cdef build(self)
