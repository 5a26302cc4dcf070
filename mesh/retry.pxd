cimport cython
from libc.stdint cimport int64_t

from mesh.draws cimport Draws


cdef class RetryBudget:
    cdef double percent
    cdef int64_t piece
    cdef int64_t ends
    cdef Py_ssize_t index
    cdef int64_t requests
    cdef int64_t retries
    cdef list requests_in
    cdef list retries_in
    cdef int64_t requests_now
    cdef int64_t retries_now
    cdef object words
    cdef int word
    cdef object interval
    cdef long burst
    cpdef request(self, int64_t now)
    cdef turn(self, int64_t now)
    cpdef bint take(self, int64_t now) except -1


cdef class RetryPlan:
    cdef readonly object policy
    cdef readonly RetryBudget budget
    cdef readonly Draws draws
    cdef readonly int max_retries
    cdef readonly double per_try
    cdef readonly bint keyed
    cdef readonly int least_status
    cdef bint no_connection
    cdef bint no_answer
    cdef bint rate_limited
    cdef object statuses
    cdef tuple headers
    cpdef bint wants_failure(self, bint connected) except -1
    cpdef int judge(self, int status, object fields) except -1
    cpdef double back_off(self, int retry) except -1.0
