from libc.stdint cimport int64_t, uint8_t, uint64_t

from proxy.kernel.cells cimport Slot
from proxy.kernel.dnswire cimport Answers
from proxy.kernel.netio cimport Reactor, Stream


cdef struct Bucket:
    uint64_t network
    int64_t level  # thousandths of an answer
    int64_t at_ms  # when `level` was so


cdef class RateLimit:
    cdef Bucket* buckets
    cdef uint64_t seed[2]
    cdef readonly int rate
    cdef bint slips
    cdef bint allows(self, uint64_t network, int64_t now_ms) noexcept


cdef class DnsSocket(Stream):
    cdef void* room
    cdef char* memory
    cdef size_t mapped
    cdef int out_size
    cdef public Answers answers
    cdef public RateLimit limit
    cdef readonly Slot slot
    cdef readonly Slot row
    cdef bint says_local
    cpdef serve(self, Reactor reactor, int fd, Answers answers, Slot slot, Slot row)
    cpdef forward(self, bytes query, bytes client)
    cpdef reply(self, bytes client, bytes message, int64_t received)
    cpdef stop_reading(self)
    cdef void unmap(self) noexcept
    cdef int make_places(self) except -1
    cdef int receive(self) noexcept
    cdef pass_on(self, int item)
    cdef int limited(self, int item, int size, uint8_t* out) noexcept
    cdef send_queued(self, int count)
    cdef void count_sent(self, uint64_t count, uint64_t size, uint64_t lost) noexcept
