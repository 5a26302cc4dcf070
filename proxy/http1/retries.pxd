cimport cython

from mesh.retry cimport RetryPlan
from proxy.http1.ending cimport Ending
from proxy.http1.parties cimport Exchange
from proxy.kernel.scan cimport Head


cdef int MICROS, PAUSE_RETRY, FINAL, REFUSED, RETRIES, RETRY_DENIALS
cdef double DENIED


cdef class Retries(Ending):
    cpdef assign(self, Exchange exchange)
    @cython.locals(plan=RetryPlan)
    cpdef take_policy(self, Exchange exchange)
    cpdef count_for(self, RetryPlan plan, Exchange exchange)
    cpdef double refused_answer(self, Exchange exchange, Head head) except? -1.0
