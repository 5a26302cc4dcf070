cimport cython
from libc.stdint cimport uint64_t


cdef uint64_t MASK, FNV_START, OTHER_START, FNV_PRIME, OTHER_PRIME, FINISH_1, FINISH_2
cdef double UNIT, LN_2


cpdef uint64_t finish(uint64_t value)
@cython.locals(low=uint64_t, high=uint64_t, byte=uint64_t)
cpdef uint64_t hash_bytes(bytes text)
@cython.locals(low=uint64_t, high=uint64_t)
cpdef uint64_t mix(uint64_t one, uint64_t other)
cpdef double unit_of(uint64_t value)
@cython.locals(halvings=int, part=double, square=double, series=double)
cpdef double log_of(double unit)
