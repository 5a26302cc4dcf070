from proxy.http1.parties cimport Exchange


cdef class Verdict:
    cdef public str detail
    cdef public bint close
    cdef public double delay
    cdef public object failure
    cdef public int status
    cdef public str flag
    cdef public list fields
    cdef public bytes body


cdef class Phase:
    cpdef Verdict run(self, Exchange exchange)
    cpdef tuple preview(self, Exchange exchange)
    cpdef release(self, Exchange exchange)


cdef class DirectAnswer(Phase):
    cdef Verdict verdict
    cpdef Verdict run(self, Exchange exchange)


cdef class RedirectAnswer(Phase):
    cdef public str detail
    cdef object redirect
    cdef bytes matched
    cpdef Verdict run(self, Exchange exchange)
