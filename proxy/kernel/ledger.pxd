cimport cython
from libc.stdint cimport int64_t

from proxy.kernel.scan cimport Head


cdef struct Line


@cython.final
cdef class Ledger:
    cdef readonly Py_ssize_t lines
    cdef Line* memory
    cdef Line* line
    cdef Line* at(self, Py_ssize_t line) except NULL
    cdef int put(self, int place, const char* text, Py_ssize_t size, Py_ssize_t most) except -1
    cpdef int begin(self, Py_ssize_t line) except -1
    cpdef int numbers(self, int place, int64_t one, int64_t two, int64_t three, int64_t four) except -1
    cpdef int text(self, int place, bytes value, Py_ssize_t most) except -1
    cpdef int word(self, int place, str value, Py_ssize_t most) except -1
    cpdef int target(self, int place, Head head, Py_ssize_t most) except -1
    cpdef bint field(self, int place, Head head, int field_id, Py_ssize_t most) except -1
    cpdef int64_t number_at(self, Py_ssize_t line, int place) except? -1
    cpdef bytes text_at(self, Py_ssize_t line, int place)
    cpdef bint is_text(self, Py_ssize_t line, int place, bytes value) except -1
    cpdef copy(self, Py_ssize_t line, Ledger other, Py_ssize_t from_line)
