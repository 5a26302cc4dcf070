cimport cython


cdef class LogSink:
    cdef readonly str path
    cdef readonly Py_ssize_t pending
    cdef readonly long dropped
    cdef object _row
    cdef object _on_loss
    cdef bint _is_losing
    cdef bint _is_torn
    cdef list _lines
    cdef Py_ssize_t _collected
    cdef object _backlog
    cdef Py_ssize_t _offset
    cdef object _target

    @cython.locals(size=Py_ssize_t)
    cpdef append(self, bytes line)
    cpdef flush(self)
    cpdef reopen(self)
    cpdef close(self)
    @cython.locals(data=bytes, count=Py_ssize_t)
    cdef _write(self, Py_ssize_t budget)
    cdef _give_up(self, str reason)
    cdef _lose(self, long lines, str reason)
