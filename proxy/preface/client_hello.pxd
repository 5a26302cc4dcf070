cimport cython


cdef class _Reader:
    cdef bytes data
    cdef Py_ssize_t at
    @cython.locals(end=Py_ssize_t)
    cdef bytes take(self, Py_ssize_t count)
    cdef Py_ssize_t number(self, int count) except -1
    cdef bytes vector(self, int count)
    cdef bint is_done(self) except -1


@cython.locals(inner=_Reader, value=bytes)
cdef dict _extensions(_Reader reader)
@cython.locals(reader=_Reader, names=_Reader, name=bytes)
cdef bytes _server_name(bytes extension)
@cython.locals(reader=_Reader)
cdef object _parse_hello(bytes hello)
