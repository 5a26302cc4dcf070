cimport cython


cdef class StreamRule:
    cdef readonly object route
    cdef readonly object target
    cdef readonly object networks


cdef class StreamRouter:
    cdef dict exact
    cdef dict wildcards
    cdef list others
    cdef readonly bint looks_at_sni
    cdef readonly object only
    @cython.locals(dot=Py_ssize_t)
    cpdef object match(self, bytes sni, bytes client)
    @cython.locals(rule=StreamRule)
    cpdef object first(self, list rules, bytes client)
