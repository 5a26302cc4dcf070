cimport cython


cpdef object parse(bytes data)
@cython.locals(line=bytes, end=Py_ssize_t, words=list)
cdef object _parse_v1(bytes data)
cdef object _parse_v2(bytes data)
