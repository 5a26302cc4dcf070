cimport cython


cdef double LARGEST_DRAW


cdef class Split:
    cdef public tuple shares
    cdef public object total
    cdef list _sums
    cdef double _width
    cpdef object draw(self, double random)
    @cython.locals(index=Py_ssize_t)
    cpdef double within(self, double random) except -1.0
    cdef Py_ssize_t _index(self, double random) except -1
