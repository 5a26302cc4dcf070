from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from proxy.kernel.buffer cimport Buffer


cdef class Address:
    cdef char raw[112]
    cdef readonly int family
    cdef uint32_t raw_size
    cdef readonly str text


cdef class BatchEnd:
    cdef flush(self)


cdef class Reactor:
    cdef int epoll
    cdef readonly Buffer rx
    cdef readonly Buffer tx
    cdef void* rx_owner
    cdef list streams
    cdef list woken
    cdef list held
    cdef readonly int64_t now_ms
    cdef void** slots
    cdef int64_t tick
    cdef uint64_t drawn
    cdef readonly int open_streams
    cdef public object on_bug
    cdef public object call_soon
    cdef uint32_t generation
    cdef bint polling
    cdef public BatchEnd batch_end
    cdef public int descriptor_limit
    cdef readonly bint crowded
    cdef bint wary
    cdef public object on_crowded
    cdef bint has_room(self, int fd) except -1
    cdef crowd(self, int error)
    cdef int register(self, Stream stream, uint32_t events) except -1
    cdef bint arm(self, Stream stream) except -1
    cdef void unlink(self, Stream stream) noexcept
    cdef void link(self, Stream stream, int64_t at) noexcept
    cdef run_woken(self)
    cdef serve(self, Stream stream, uint32_t flags)
    cpdef wake(self, Stream stream)
    cpdef hold(self, object item)
    cpdef poll(self)
    cpdef turn(self)
    cpdef Stream spare(self)
    cpdef int64_t micros(self) noexcept


cdef class Stream:
    cdef readonly int fd
    cdef readonly Reactor reactor
    cdef uint32_t generation
    cdef public bint readable
    cdef public bint peer_closed
    cdef readonly bint connecting
    cdef readonly bint write_dead
    cdef readonly int error
    cdef public bint failed
    cdef readonly bint urgent
    cdef public bint awaits_room
    cdef bint wants_write
    cdef bint registered
    cdef bint is_woken
    cdef public bint shared
    cdef public Buffer rx
    cdef readonly Buffer out
    cdef int64_t deadline
    cdef int64_t linked_at
    cdef void* before
    cdef void* after
    cpdef attach(self, Reactor reactor, int fd)
    cpdef bint watch(self) except -1
    cpdef int connect(self, Reactor reactor, Address address) except -2
    cpdef on_connected(self, int error)
    cpdef on_readable(self)
    cpdef on_drained(self)
    cpdef on_progress(self)
    cpdef on_room(self)
    cpdef await_room(self)
    cpdef on_timeout(self)
    cpdef on_closed(self)
    cpdef drain(self)
    cpdef int drain_kind(self) except -1
    cpdef int spare_rank(self) except -1
    cpdef Py_ssize_t fill(self) except -3
    cpdef Buffer buffer(self)
    cpdef bytes peek(self, Py_ssize_t size)
    cpdef bint skip(self, Py_ssize_t count) except -1
    cpdef keep(self)
    cpdef int send(self, Buffer source) except -2
    cpdef int send_range(self, Buffer source, Py_ssize_t start, Py_ssize_t count) except -2
    cpdef int send_with(self, Buffer head, Buffer source, Py_ssize_t start, Py_ssize_t count) except -2
    cpdef int send_bytes(self, bytes data) except -2
    cpdef Py_ssize_t pending(self) noexcept
    cpdef bint is_quiet(self) noexcept
    cpdef tuple local_address(self)
    cpdef set_timeout(self, double seconds)
    cpdef clear_timeout(self)
    cpdef shut_write(self)
    cpdef close(self)
    cpdef int detach(self) except -2
    cpdef abort(self)
    cdef int push(self, const char* first, Py_ssize_t first_size, const char* second, Py_ssize_t second_size) except -2
    cdef flush(self)
    cdef void disown(self) noexcept
    cdef void break_off(self, int error)


cdef class Acceptor(Stream):
    cdef public int batch
    cpdef accepted(self, int fd, bytes host, int port)
    cpdef bint may_accept(self)
    cpdef not_accepted(self)
    cpdef resume(self)
    cpdef pause(self, double seconds)
