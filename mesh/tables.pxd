cimport cython
from libc.stdint cimport uint64_t

from mesh.balance cimport Candidate
from mesh.hashing cimport finish, mix


cdef int MAGLEV_SIZE, SLICE


cdef class KeyTable:
    cdef public list members
    cdef public list ordered
    cdef int[::1] owners
    cdef public Py_ssize_t size
    cdef Py_ssize_t start(self, uint64_t hashed) except -1
    cdef Py_ssize_t after(self, Py_ssize_t place, uint64_t hashed, uint64_t step) except -1


cdef class Ring(KeyTable):
    cdef uint64_t[::1] points
    cdef int[::1] begins
    cdef int shift
    @cython.locals(count=uint64_t, point=uint64_t, part=Py_ssize_t, place=int)
    cpdef put(self, int number, uint64_t identity, uint64_t begin, uint64_t end, bint placing)
    @cython.locals(part=Py_ssize_t)
    cpdef add_up(self)
    @cython.locals(part=Py_ssize_t, first=Py_ssize_t, at=Py_ssize_t, place=Py_ssize_t, point=uint64_t, owner=int)
    cpdef sort_parts(self, Py_ssize_t begin, Py_ssize_t end)
    @cython.locals(point=uint64_t, part=Py_ssize_t, place=Py_ssize_t)
    cdef Py_ssize_t start(self, uint64_t hashed) except -1


cdef class Maglev(KeyTable):
    cdef int[::1] skips
    cdef int[::1] places
    cdef double[::1] turns
    cdef double[::1] shares
    cdef int taken
    @cython.locals(steps=int, place=int, skip=int)
    cpdef Py_ssize_t fill(self, Py_ssize_t number, Py_ssize_t count)
    cdef Py_ssize_t start(self, uint64_t hashed) except -1
    cdef Py_ssize_t after(self, Py_ssize_t place, uint64_t hashed, uint64_t step) except -1
