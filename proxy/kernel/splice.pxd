from proxy.kernel.netio cimport Stream


cdef class Pipe:
    cdef int reader
    cdef int writer
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t held
    cdef bint open(self) except -1
    cpdef Py_ssize_t pull(self, Stream source) except -3
    cpdef Py_ssize_t push(self, Stream target) except -3


cpdef Pipe take_pipe()
cpdef give_pipe(Pipe pipe)
