from mesh.request cimport RequestView


cdef class Candidate:
    cdef public object endpoint
    cdef public bint usable
    cdef public long weight
    cdef public bint backup


cdef class Balancer:
    cdef public list candidates
    cpdef Candidate pick(self, RequestView request, list tried)


cdef class RoundRobin(Balancer):
    cdef Py_ssize_t next_index
    cpdef Candidate pick(self, RequestView request, list tried)
