from libc.stdint cimport int64_t, uint16_t, uint32_t

from proxy.kernel.cells cimport Slot
from proxy.kernel.netio cimport Address, BatchEnd, Reactor, Stream


cdef extern from "datagrams.h":
    cdef struct hm_peer:
        unsigned char family
        unsigned char has_local
        uint16_t port
        unsigned char addr[16]


cdef class Batch(BatchEnd):
    cdef void* room  # struct of arrays, see the .pyx
    cdef char* memory
    cdef size_t mapped
    cdef readonly Py_ssize_t largest
    cdef int used
    cdef list senders
    cdef int receive(self, int fd, int most, bint named, bint local) noexcept
    cdef flush(self)


cdef class DatagramSocket(Stream):
    cdef Batch batch
    cdef readonly Slot slot
    cdef int first_out
    cdef int last_out
    cdef queue(self, int item, DatagramSession peer)
    cdef send_queued(self)
    cpdef on_answered(self)
    cpdef on_unreachable(self, int error)


cdef class DatagramServer(DatagramSocket):
    cdef readonly dict sessions
    cdef bint says_local
    cdef DatagramSession recent
    cpdef serve(self, Batch batch, Reactor reactor, int fd, Slot slot)
    cpdef DatagramSession open_session(self, bytes key)
    cpdef stop_reading(self)
    cdef dispatch(self, int item)


cdef class DatagramSession(DatagramSocket):
    cdef public DatagramServer server
    cdef hm_peer peer
    cdef readonly bytes key
    cdef public bint misplaced
    cdef int64_t idle_ms
    cdef readonly int64_t bytes_in
    cdef readonly int64_t bytes_out
    cdef readonly int64_t datagrams_in
    cdef readonly int64_t datagrams_out
    cdef public Slot route_slot
    cdef public Slot service_slot
    cdef public Slot endpoint_slot
    cpdef int open(self, DatagramServer server, bytes key, Address address, double idle) except -2
    cpdef bytes client(self)
    cpdef int client_port(self) noexcept
    cpdef limit_idle(self, double idle)
    cdef void touch(self) noexcept
