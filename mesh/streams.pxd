cdef class StreamRouter:
    cdef public list entries
    cdef public bint looks_at_sni
    cdef public object only
    cpdef object match(self, bytes sni, bytes client)
