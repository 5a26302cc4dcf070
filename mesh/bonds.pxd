cimport cython
from libc.stdint cimport int64_t, uint64_t

from mesh.balance cimport Balancer, Candidate


cdef uint64_t MASK, FNV_START, FNV_STEP, MIX_1, MIX_2
cdef double UNIT

cpdef uint64_t mix(uint64_t value)
@cython.locals(hashed=uint64_t, byte=uint64_t)
cpdef uint64_t hash_of(bytes text, uint64_t seed)
cpdef double unit_of(uint64_t hashed)
cpdef bint is_able(Candidate candidate, int64_t now_ms) except -1


cdef class Bond:
    cdef public object affinities
    cdef public Candidate candidate
    cdef public uint64_t key
    cdef public bint is_keyed
    cdef public bint is_lost
    cdef public bint is_new
    cdef public bint is_strict
    cdef public bint is_broken
    cdef public bint is_guest
    cdef public bint is_told
    cpdef exclude(self)
    @cython.locals(candidate=Candidate)
    cpdef Candidate target(self, Balancer balancer, list tried, int64_t now_ms)
    cpdef bint forbids(self, list tried) except -1
    @cython.locals(
        candidate=Candidate, home=Candidate, best=Candidate, home_cost=double, best_cost=double, cost=double,
        home_rank=int, best_rank=int, rank=int, spots=dict, spot=uint64_t,
    )
    cdef Candidate rendezvous(self, list candidates, list tried, int64_t now_ms)
    @cython.locals(bound=Candidate)
    cpdef object line_for(self, Candidate candidate, int64_t now_ms)
