cimport cython
from libc.stdint cimport int64_t


@cython.final
cdef class Buffer:
    cdef char* data
    cdef readonly Py_ssize_t size
    cdef public Py_ssize_t start
    cdef public Py_ssize_t end
    cdef int reserve(self, Py_ssize_t room) except -1
    cdef int put(self, const char* source, Py_ssize_t count) except -1
    cdef int put_decimal(self, int64_t value) except -1
    cdef int put_hex(self, int64_t value) except -1
    cdef int put_json(self, const char* source, Py_ssize_t count) except -1
    cpdef append(self, bytes data)
    cpdef append_range(self, Buffer source, Py_ssize_t start, Py_ssize_t count)
    cpdef append_decimal(self, int64_t value)
    cpdef append_hex(self, int64_t value)
    cpdef append_json(self, bytes text)
    cpdef append_millis(self, int64_t micros)
    cpdef append_padded(self, int64_t value, int digits)
    cpdef Py_ssize_t length(self) noexcept
    cpdef clear(self)
    cpdef consume(self, Py_ssize_t count)
    cpdef bytes peek(self, Py_ssize_t start, Py_ssize_t count)
    cpdef bytes take(self)
    cpdef Py_ssize_t find(self, bytes needle, Py_ssize_t start) except -2
