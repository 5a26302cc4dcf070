cimport cython
from libc.stdint cimport int64_t, uint64_t


@cython.final
cdef class Slot:
    cdef uint64_t* cells
    cdef readonly int number
    cdef object owner
    cdef public object lease
    cdef inline void bump(self, int cell, int64_t by) noexcept:
        self.cells[cell] += <uint64_t>by
    cpdef void add(self, int cell, int64_t by) noexcept
    cpdef int64_t get(self, int cell) noexcept
    cpdef int64_t total(self, int cell)
    cpdef void count_request(self, int code, int64_t microseconds, int64_t bytes_in, int64_t bytes_out) noexcept
    cpdef void observe(self, int64_t microseconds, int count) noexcept


@cython.final
cdef class Shared:
    cdef uint64_t* words
    cdef readonly int number
    cdef object owner
    cdef uint64_t* at(self, int word) except NULL
    cpdef uint64_t load(self, int word) except? 0
    cpdef bint swap(self, int word, uint64_t expected, uint64_t wanted) except -1
    cpdef uint64_t add(self, int word, int64_t by) except? 0


cdef class Table:
    cdef void* base
    cdef readonly size_t size
    cdef readonly int blocks
    cdef readonly int slots
    cdef int used(self) noexcept
    cpdef Slot slot(self, int worker, int number)
    cpdef Shared shared(self, int number)
    cdef uint64_t* keyed(self) noexcept
    cpdef int64_t total(self, int number, int cell) noexcept
