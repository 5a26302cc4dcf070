from libc.stdint cimport int64_t, uint64_t

from mesh.hashing cimport hash_bytes, mix, unit_of
from proxy.http1.parties cimport Exchange
from proxy.streamlog cimport StreamRecord


cdef uint64_t SALT


cdef class LineFilter:
    cdef public tuple statuses
    cdef public int64_t min_micros
    cdef public bint retried
    cdef public object flags
    cdef public bint any_flag
    cdef public double share
    cdef public bint is_for_streams
    cpdef bint keeps(self, Exchange exchange) except -1
    cpdef bint keeps_stream(self, StreamRecord record) except -1
    cdef bint has_status(self, int status) except -1
    cdef bint has_flag(self, str flags) except -1
    cdef bint draws(self, bytes id) except -1
