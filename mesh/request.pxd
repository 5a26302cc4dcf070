cdef class RequestView:
    cdef public bytes method
    cdef public bytes host
    cdef public bytes path
    cdef public bytes query
    cdef public bytes client
    cpdef bytes header(self, bytes name)


cdef class SampleRequest(RequestView):
    cdef dict fields
    cpdef bytes header(self, bytes name)
