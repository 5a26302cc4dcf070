from libc.stdint cimport int64_t, uint64_t

from proxy.kernel.cells cimport Table


cdef class KeyedLimits:
    cdef Table table
    cdef uint64_t* words
    cdef readonly uint64_t sets
    cdef uint64_t first_secret
    cdef uint64_t second_secret
    cdef uint64_t* entry(self, uint64_t tag) noexcept
    cpdef uint64_t look(self, uint64_t digest)
    cpdef uint64_t digest(self, uint64_t scope, bytes key)
    cpdef int64_t take(self, uint64_t digest, int64_t interval, int64_t tolerance, int64_t now) except? -1
