cimport cython
from libc.stdint cimport uint64_t

from mesh.hashing cimport hash_bytes, mix


cdef uint64_t MASK, STEP, MIX_1, MIX_2
cdef double UNIT


cdef class Draws:
    cdef public uint64_t state
    @cython.locals(mixed=uint64_t)
    cpdef uint64_t bits(self)
    cpdef double unit(self)
    cpdef Py_ssize_t below(self, Py_ssize_t count)


cpdef Draws draws_of(bytes request_id, uint64_t salt)
