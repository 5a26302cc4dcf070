"""Sockets of our own on one epoll descriptor that the event loop watches as a single reader.

The loop (uvloop) calls `Reactor.poll` when anything is ready; one call then serves a whole batch of sockets. A
connection is a `Stream`; drivers subclass it and are told `on_readable`, `on_drained`, `on_connected`, `on_timeout`.

 - Sockets are watched edge-triggered, for input only; output is watched from the first write that did not fit until
   it has been sent. `readable` stays true until a read came back short, so a driver that does not want to read simply
   does not, and the peer is held back by the kernel's buffer.
 - What does not fit into the socket goes to `out`; a driver stops its source until `on_drained`.
 - Reads go to one receive buffer that all streams share. A driver that leaves bytes unread calls `keep`, which moves
   them to a buffer of the stream's own. An idle stream owns no buffer.
 - Deadlines are lazy: setting one is a store. A wheel of 50 ms slots looks at a stream when the earliest deadline it
   has had comes up, and moves on if that has changed since.
 - A stream has one owner of its descriptor: itself. `close` and `abort` may be called any number of times. A closed
   stream lives to the end of the event, because methods of it may still be running.
 - Clients take descriptors up to `descriptor_limit` of the reactor; those above are for what is done for them. Beyond,
   acceptors pause, and look again every CROWDED_PAUSE. `on_crowded` is told the error number, and 0 when it is over.
 - An exception in a driver is a bug of ours: it is reported to `on_bug`, ends that stream, and nothing else.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, ECONNABORTED, EINPROGRESS, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from proxy.kernel.buffer cimport Buffer
from proxy.kernel.octets cimport octets, octets_size

cdef extern from "netio.h":
    int EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, EPOLLET, EPOLLERR, EPOLLHUP
    int EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, EPOLL_CLOEXEC
    int SHUT_WR, MSG_DONTWAIT, MSG_PEEK, MSG_NOSIGNAL, SOL_SOCKET, SO_LINGER
    ctypedef union epoll_data:
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data data
    int epoll_create1(int) nogil
    int epoll_wait(int, epoll_event*, int, int) nogil
    ssize_t recv(int, void*, size_t, int) nogil
    int shutdown(int, int) nogil
    int c_close "close"(int) nogil
    int hm_epoll_ctl(int, int, int, uint32_t, uint64_t) nogil
    ssize_t hm_send2(int, const char*, size_t, const char*, size_t) nogil
    int hm_connect(int, const void*, uint32_t, int*) nogil
    int hm_socket_error(int) nogil
    int hm_accept(int, char*, int*, int*) nogil
    void hm_local(int, char*, int*, int*) nogil
    int64_t hm_micros() nogil
    int hm_v4(const char*, int, char*, uint32_t*)
    int hm_v6(const char*, int, char*, uint32_t*)
    int hm_unix(const char*, size_t, char*, uint32_t*)
    int setsockopt(int, int, int, const void*, uint32_t) nogil
    int fcntl(int, int, ...) nogil
    int F_DUPFD_CLOEXEC
    cdef struct linger:
        int l_onoff
        int l_linger

cdef extern from "bounds.h":
    void hm_hide(void*, size_t) noexcept nogil
    void hm_show(void*, size_t) noexcept nogil

# Results of Stream.fill.
END = 0  # the peer has finished sending
AGAIN = -1  # nothing to read now
BROKEN = -2  # the connection is gone; `error` says how

# Results of Stream.drain_kind: what a stopping worker waits for, and by which deadline.
DRAIN_NOTHING = 0  # what serves another stream ends with that one
DRAIN_REQUEST = 1  # timeouts.drain
DRAIN_STREAM = 2  # timeouts.drain_streams: it has no end of its own

cdef enum:
    RX_SIZE = 65536
    BATCH = 256
    ROUNDS = 16  # batches of one poll; then the event loop has its turn
    WHEEL = 1024  # slots; a later deadline is looked at once per round
    SLOT_MS = 50
    LOOKS = 64  # streams that are looked at to find one that can be spared

TICK = SLOT_MS / 1000.0  # seconds between calls of Reactor.turn
CROWDED_PAUSE = 0.1  # seconds without accepting when there are no descriptors or no memory for clients

cdef int lost = 0


def streams_lost():
    """How many streams of this process were forgotten before they were closed. One is a bug: nobody was told of the
    end of the connection, so it is still counted."""
    return lost


cdef void reset_at_close(int fd) noexcept:
    cdef linger now
    now.l_onoff = 1
    now.l_linger = 0
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now))


cdef class Address:
    """A place to connect to: `host:port` with an IP literal (or localhost), `[v6]:port`, or `unix:PATH`."""

    def __init__(self, str text):
        cdef bytes name
        cdef int port
        self.text = text
        if "\0" in text or text == "unix:":
            pass
        elif text.startswith("unix:"):
            name = text[5:].encode()
            self.family = hm_unix(name, len(name), self.raw, &self.raw_size)
        else:
            host, _, number = text.rpartition(":")
            if host and number.isascii() and number.isdigit() and 0 < int(number) < 65536:
                port = int(number)
                if host.startswith("[") and host.endswith("]"):
                    name = host[1 : len(host) - 1].encode()
                    self.family = hm_v6(name, port, self.raw, &self.raw_size)
                else:
                    name = (b"127.0.0.1" if host == "localhost" else host.encode())
                    self.family = hm_v4(name, port, self.raw, &self.raw_size)
        if not self.family:
            raise ValueError(f"{text!r} is not an address: expected IPv4:port, [IPv6]:port or unix:PATH")


cdef class BatchEnd:
    """What is left to the end of a batch of events, so that it is done once for all of them."""

    cdef flush(self):
        pass


cdef class Reactor:
    """One per event loop and thread. `register_with(loop)` starts it, `close` ends all its streams."""

    def __cinit__(self):
        self.slots = <void**>calloc(WHEEL, sizeof(void*))
        if self.slots == NULL:
            raise MemoryError()
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            raise OSError(errno, "epoll_create1")
        self.rx = Buffer(RX_SIZE)
        self.tx = Buffer(RX_SIZE)
        self.streams = []
        self.woken = []
        self.held = []
        self.generation = 0
        self.now_ms = hm_micros() // 1000
        self.tick = self.now_ms // SLOT_MS
        self.drawn = <uint64_t>hm_micros()

    def __dealloc__(self):
        if self.epoll >= 0:
            c_close(self.epoll)
        free(self.slots)

    def fileno(self):
        return self.epoll

    cpdef int64_t micros(self) noexcept:
        """Microseconds of the monotonic clock, now."""
        return hm_micros()

    def all_streams(self):
        """The streams that are being watched."""
        return [stream for stream in self.streams if stream is not None]

    def close(self):
        for stream in self.all_streams():
            stream.abort()

    cdef int register(self, Stream stream, uint32_t events) except -1:
        cdef list streams = self.streams
        while <Py_ssize_t>len(streams) <= stream.fd:
            streams.append(None)
        self.generation += 1
        stream.generation = self.generation
        if hm_epoll_ctl(self.epoll, EPOLL_CTL_ADD, stream.fd, events,
                        (<uint64_t>stream.generation << 32) | <uint32_t>stream.fd) < 0:
            raise OSError(errno, "epoll_ctl")
        streams[stream.fd] = stream
        stream.registered = True
        return 0

    cdef bint arm(self, Stream stream) except -1:
        """Watch for output as well, once; it stays so, since an edge costs nothing while nothing waits. False: the
        system has no room for that, and the stream is broken."""
        stream.wants_write = True
        if not stream.registered:
            try:
                self.register(stream, EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | <uint32_t>EPOLLET)
            except OSError as refused:
                stream.break_off(refused.errno)
                return False
        elif hm_epoll_ctl(self.epoll, EPOLL_CTL_MOD, stream.fd, EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | <uint32_t>EPOLLET,
                          (<uint64_t>stream.generation << 32) | <uint32_t>stream.fd) < 0:
            stream.break_off(errno)
            return False
        return True

    cpdef wake(self, Stream stream):
        """Call `on_readable` of this stream once the current event has been dealt with."""
        if stream.fd >= 0 and not stream.is_woken:
            stream.is_woken = True
            self.woken.append(stream)

    cpdef hold(self, object item):
        """Keep something alive to the end of this event: methods that were called with it may still be running."""
        self.held.append(item)

    cdef run_woken(self):
        """One turn for each: who wakes itself meanwhile comes after what else is ready."""
        cdef Stream stream
        cdef list woken = self.woken
        self.woken = []
        for stream in woken:
            stream.is_woken = False
            if stream.fd >= 0:
                try:
                    stream.on_readable()
                except Exception as bug:
                    self.report(stream, bug)

    cdef bint has_room(self, int fd) except -1:
        """Whether the process has a descriptor for a further client. A new descriptor is the lowest free number, so one
        from `descriptor_limit` on says that all below are taken. Once that was so each client is asked about, until half
        of them have gone. `fd`: any of ours."""
        cdef int lowest
        if not self.wary:
            return True
        lowest = fcntl(fd, F_DUPFD_CLOEXEC, 0)
        if lowest >= 0:
            c_close(lowest)
        if lowest < 0 or lowest >= self.descriptor_limit > 0:
            self.crowd(EMFILE)
            return False
        self.wary = self.descriptor_limit > 0 and lowest > self.descriptor_limit // 2
        if self.crowded:
            self.crowded = False
            if self.on_crowded is not None:
                self.on_crowded(0)
        return True

    cdef crowd(self, int error):
        """There is no room for further clients; `error` says why."""
        self.wary = True
        if not self.crowded:
            self.crowded = True
            if self.on_crowded is not None:
                self.on_crowded(error)

    def report(self, Stream stream, bug):
        """An exception came out of a driver: end its stream."""
        stream.abort()
        self.tell_bug(stream, bug)

    def tell_bug(self, Stream stream, bug):
        if self.on_bug is None:
            raise bug
        self.on_bug(stream, bug)

    cpdef poll(self):
        """Serve what is ready now; called by the event loop."""
        cdef epoll_event events[BATCH]
        cdef int count, index, fd, rounds = 0
        cdef uint32_t flags
        cdef Stream stream
        if self.polling:
            return
        self.polling = True
        try:
            while rounds < ROUNDS:
                rounds += 1
                count = epoll_wait(self.epoll, events, BATCH, 0)
                self.now_ms = hm_micros() // 1000
                for index in range(count):
                    fd = <int><uint32_t>events[index].data.u64
                    item = self.streams[fd]
                    if item is None:
                        continue
                    stream = <Stream>item
                    if stream.generation != <uint32_t>(events[index].data.u64 >> 32):
                        continue
                    flags = events[index].events
                    try:
                        self.serve(stream, flags)
                    except Exception as bug:
                        self.report(stream, bug)
                    if self.woken:
                        self.run_woken()
                if self.woken:
                    self.run_woken()
                if self.batch_end is not None:
                    self.batch_end.flush()
                if count < BATCH and not self.woken:
                    break
        finally:
            self.polling = False
            self.held.clear()
        # Who wants another turn has no event coming: the event loop calls again, after whatever else it has.
        if self.woken and self.call_soon is not None:
            self.call_soon(self.poll)

    cdef serve(self, Stream stream, uint32_t flags):
        cdef int error
        if stream.connecting:
            if not flags & (EPOLLOUT | EPOLLERR | EPOLLHUP):
                return
            stream.connecting = False
            # Without an error or a hang-up beside it, writable means connected.
            error = hm_socket_error(stream.fd) if flags & (EPOLLERR | EPOLLHUP) else 0
            stream.on_connected(error)
            if stream.fd >= 0 and stream.out is not None:
                stream.flush()
            if stream.fd < 0 or not flags & EPOLLIN:
                return
        elif flags & EPOLLOUT:
            if stream.out is not None:
                stream.flush()
            if stream.awaits_room and stream.fd >= 0 and stream.out is None:
                stream.on_room()
            if stream.fd < 0:
                return
        if flags & EPOLLERR:
            stream.failed = True
        if flags & EPOLLPRI:
            stream.urgent = True
        if flags & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP):
            stream.readable = True
            if flags & (EPOLLRDHUP | EPOLLERR | EPOLLHUP):
                stream.peer_closed = True
            stream.on_readable()

    cdef void link(self, Stream stream, int64_t at) noexcept:
        """Put the stream where it is looked at in slot `at` of the wheel."""
        cdef int place = <int>(at % WHEEL)
        cdef Stream head
        stream.linked_at = at
        stream.before = NULL
        stream.after = self.slots[place]
        if stream.after != NULL:
            head = <Stream>stream.after
            head.before = <void*>stream
        self.slots[place] = <void*>stream

    cdef void unlink(self, Stream stream) noexcept:
        cdef Stream other
        if stream.linked_at < 0:
            return
        if stream.before != NULL:
            other = <Stream>stream.before
            other.after = stream.after
        else:
            self.slots[stream.linked_at % WHEEL] = stream.after
        if stream.after != NULL:
            other = <Stream>stream.after
            other.before = stream.before
        stream.before = NULL
        stream.after = NULL
        stream.linked_at = -1

    cpdef Stream spare(self):
        """The stream that is best done without, if there is one: of LOOKS of them from a random place on, the one with
        the highest rank, and of these the one whose deadline comes first. Nothing is kept in order for it."""
        cdef Py_ssize_t size = len(self.streams), step, at
        cdef int rank, best = 0, looked = 0
        cdef Stream stream, found = None
        if size == 0:
            return None
        self.drawn = self.drawn * 6364136223846793005ULL + 1442695040888963407ULL
        at = <Py_ssize_t>((self.drawn >> 33) % <uint64_t>size)
        for step in range(size):
            item = self.streams[at]
            at = at + 1 if at + 1 < size else 0
            if item is None:
                continue
            stream = <Stream>item
            rank = stream.spare_rank()
            if rank > best or (rank == best and rank and stream.deadline < found.deadline):
                best, found = rank, stream
            looked += 1
            if looked == LOOKS:
                break
        return found

    cpdef turn(self):
        """Turn the wheel up to now and call `on_timeout` of what is due; called every TICK seconds."""
        cdef Stream stream
        cdef int64_t target, due
        cdef int place
        self.now_ms = hm_micros() // 1000
        target = self.now_ms // SLOT_MS
        if target - self.tick > WHEEL:
            self.tick = target - WHEEL
        while self.tick <= target:
            place = <int>(self.tick % WHEEL)
            # What is put back goes to a later slot, so the list only shrinks.
            while self.slots[place] != NULL:
                stream = <Stream>self.slots[place]
                self.unlink(stream)
                if stream.deadline == 0 or stream.fd < 0:
                    continue
                if stream.deadline > self.now_ms:
                    due = stream.deadline // SLOT_MS + 1
                    if due <= self.tick:
                        due = self.tick + 1
                    if due > self.tick + WHEEL - 1:
                        due = self.tick + WHEEL - 1
                    self.link(stream, due)
                    continue
                stream.deadline = 0
                try:
                    stream.on_timeout()
                except Exception as bug:
                    self.report(stream, bug)
            self.tick += 1
        if self.woken:
            self.run_woken()
        self.held.clear()


cdef class Stream:
    """A connected (or connecting) stream socket. Subclasses are the drivers."""

    def __cinit__(self):
        self.fd = -1
        self.linked_at = -1

    def __dealloc__(self):
        global lost
        if self.fd >= 0:
            lost += 1
            c_close(self.fd)

    cpdef attach(self, Reactor reactor, int fd):
        """Own a non-blocking socket. It is not watched until `watch`, so that a first read can come before."""
        self.reactor = reactor
        self.fd = fd
        self.readable = True
        self.error = 0
        reactor.open_streams += 1

    cpdef bint watch(self) except -1:
        """Be told of events from now on. True the first time; called again it does nothing."""
        if self.fd < 0 or self.registered or self.error:
            return False
        try:
            self.reactor.register(self, EPOLLIN | EPOLLPRI | EPOLLRDHUP | <uint32_t>EPOLLET)
        except OSError as refused:
            # The system has no room for a further watch (fs.epoll.max_user_watches, memory): nothing would be told of.
            self.break_off(refused.errno)
            return False
        return True

    cpdef int connect(self, Reactor reactor, Address address) except -2:
        """Start connecting. 0: `on_connected` will be called; else the error number, and nothing is open."""
        cdef int error = 0
        cdef int fd = hm_connect(address.family, address.raw, address.raw_size, &error)
        if fd < 0:
            return error
        if error != 0 and error != EINPROGRESS and not (error == EAGAIN and address.family != 1):
            c_close(fd)
            return error
        self.attach(reactor, fd)
        self.readable = False
        self.connecting = True
        self.wants_write = True
        try:
            reactor.register(self, EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | <uint32_t>EPOLLET)
        except OSError as refused:
            # The system has no room for a further watch (fs.epoll.max_user_watches, memory).
            self.connecting = False
            self.wants_write = False
            c_close(self.detach())
            return refused.errno
        return 0

    # What subclasses answer to.

    cpdef on_connected(self, int error):
        """The connection is made (error 0) or could not be."""

    cpdef on_readable(self):
        """There may be something to read, an end, or an error: `fill` says which."""

    cpdef on_drained(self):
        """All that was written has been handed to the kernel, after some of it had to wait."""

    cpdef on_progress(self):
        """Some of what waited has been handed to the kernel, and more still waits."""

    cpdef on_room(self):
        """The socket takes bytes again; told after `await_room`, until `awaits_room` is False."""

    cpdef on_timeout(self):
        """The deadline that was set last has passed."""

    cpdef on_closed(self):
        """The stream has been closed, by whomever; told once."""

    # Stopping.

    cpdef drain(self):
        """The worker is stopping: end now if nothing is lost by it, and otherwise as soon as that is so."""

    cpdef int drain_kind(self) except -1:
        """What the worker waits for, one of the constants above; asked again until its deadline is over."""
        return DRAIN_NOTHING

    cpdef int spare_rank(self) except -1:
        """Whether it may be closed to make room for another: 0 it may not; the higher, the rather."""
        return 0

    # Reading.

    cpdef Buffer buffer(self):
        """Where received bytes are: the stream's own buffer if it keeps one, else the shared one, which is empty
        for all but the stream that filled it in this event."""
        if self.rx is not None:
            return self.rx
        if self.reactor.rx_owner != <void*>self:
            self.reactor.rx.clear()
        return self.reactor.rx

    cpdef Py_ssize_t fill(self) except -3:
        """Read once into `buffer()`: the number of bytes, or END, AGAIN or BROKEN."""
        cdef Buffer into
        cdef Py_ssize_t room
        cdef ssize_t got
        if self.fd < 0:
            return -2
        if not self.readable:
            return -1
        if self.rx is None:
            into = self.reactor.rx
            into.start = 0
            into.end = 0
            self.reactor.rx_owner = <void*>self
        else:
            into = self.rx
            if into.size - into.end < 2048:
                into.reserve(RX_SIZE if into.size >= 16384 else into.size)
        room = into.size - into.end
        hm_show(into.data + into.end, room)
        while True:
            got = recv(self.fd, into.data + into.end, room, MSG_DONTWAIT)
            if got > 0:
                into.end += got
                hm_hide(into.data + into.end, room - got)
                # A short read has emptied the socket; what comes later is a new edge. Not so for an end or an
                # error that was already announced, nor at the mark of urgent data (tcp(7)), where reads stop.
                if got < room and not self.peer_closed and not self.urgent:
                    self.readable = False
                return got
            if got == 0:
                self.readable = False
                self.peer_closed = True
                # The kernel tells a reset once. If a write was told, a read is told of an end.
                return -2 if self.error else 0
            if errno == EAGAIN:
                self.readable = False
                return -2 if self.error else -1
            if errno != EINTR:
                self.error = errno
                self.readable = False
                return -2

    cpdef bytes peek(self, Py_ssize_t size):
        """The first bytes that wait in the socket, at most `size` (and RX_SIZE), without taking them; `fill` and whoever
        gets the descriptor find them still there. b"" when there are none: `readable` is false then, and `peer_closed`
        or `error` say whether some may still come.

        What is left in the socket is no event; the next is told when there is more of it."""
        cdef char into[RX_SIZE]
        cdef ssize_t got
        if self.fd < 0 or size <= 0:
            return b""
        while True:
            got = recv(self.fd, into, min(size, RX_SIZE), MSG_DONTWAIT | MSG_PEEK)
            if got > 0:
                return PyBytes_FromStringAndSize(into, got)
            if got < 0 and errno == EINTR:
                continue
            self.readable = False
            if got == 0:
                self.peer_closed = True
            elif errno != EAGAIN:
                self.error = errno
            return b""

    cpdef bint skip(self, Py_ssize_t count) except -1:
        """Take the first `count` bytes, which have been seen by `peek`, and forget them. False: they are not there."""
        cdef char into[RX_SIZE]
        cdef ssize_t got
        while self.fd >= 0 and count > 0:
            got = recv(self.fd, into, min(count, RX_SIZE), MSG_DONTWAIT)
            if got > 0:
                count -= got
            elif got == 0 or errno != EINTR:
                return False
        return self.fd >= 0

    cpdef keep(self):
        """Keep what was read and not consumed past this event; own no buffer when there is nothing."""
        cdef Buffer shared, own
        cdef Py_ssize_t live
        if self.rx is not None:
            if self.rx.start == self.rx.end:
                self.rx = None
            return
        # What another stream left unread is not ours to keep.
        if self.reactor is None or self.reactor.rx_owner != <void*>self:
            return
        self.reactor.rx_owner = NULL
        shared = self.reactor.rx
        live = shared.end - shared.start
        if live:
            own = Buffer(live + 1024 if live > 4096 else 4096)
            own.put(shared.data + shared.start, live)
            shared.start = 0
            shared.end = 0
            self.rx = own

    cdef void break_off(self, int error):
        """Nothing can be sent any more, or nothing would be told of: as after EPOLLERR, with or without one. What has
        been received may still be read; then comes BROKEN."""
        self.error = error
        self.write_dead = True
        self.out = None
        self.failed = True
        self.peer_closed = True
        self.readable = True
        self.reactor.wake(self)

    # Writing. Results: 0 all sent, 1 some of it waits in `out`, -1 the peer takes nothing any more.

    cdef int push(self, const char* first, Py_ssize_t first_size, const char* second, Py_ssize_t second_size) except -2:
        cdef ssize_t sent
        cdef Py_ssize_t total = first_size + second_size
        if self.fd < 0 or self.write_dead:
            return -1
        if total == 0:
            return 0 if self.out is None else 1
        if self.out is None and not self.connecting:
            while True:
                sent = hm_send2(self.fd, first, first_size, second, second_size)
                if sent >= 0:
                    break
                if errno == EINTR:
                    continue
                if errno == EAGAIN or errno == ENOBUFS:
                    sent = 0
                    break
                self.break_off(errno)
                return -1
            if sent == total:
                return 0
        else:
            sent = 0
        if self.out is None:
            self.out = Buffer(total - sent + 256)
        if sent < first_size:
            self.out.put(first + sent, first_size - sent)
            sent = 0
        else:
            sent -= first_size
        if second_size:
            self.out.put(second + sent, second_size - sent)
        if not self.wants_write and not self.reactor.arm(self):
            return -1
        return 1

    cdef flush(self):
        """Send what waits. Tells the driver when all is gone."""
        cdef ssize_t sent
        cdef Buffer out = self.out
        while out.start < out.end:
            sent = hm_send2(self.fd, out.data + out.start, out.end - out.start, NULL, 0)
            if sent < 0:
                if errno == EINTR:
                    continue
                if errno == EAGAIN or errno == ENOBUFS:
                    return
                self.break_off(errno)
                self.on_drained()
                return
            out.start += sent
            if out.start < out.end:
                self.on_progress()
                if self.out is not out:
                    return
        self.out = None
        self.on_drained()

    cpdef await_room(self):
        """Call `on_room` when the socket takes bytes again: for who writes to the descriptor without `out`."""
        self.awaits_room = True
        if not self.wants_write and self.fd >= 0:
            self.reactor.arm(self)

    cpdef int send(self, Buffer source) except -2:
        """Send all of `source`, which is empty afterwards."""
        cdef int result = self.push(source.data + source.start, source.end - source.start, NULL, 0)
        source.start = 0
        source.end = 0
        return result

    cpdef int send_range(self, Buffer source, Py_ssize_t start, Py_ssize_t count) except -2:
        """Send `count` bytes of `source` from its absolute index `start`; `source` stays as it is."""
        if start < 0 or count < 0 or count > source.end - start:
            raise IndexError(f"range {start}+{count} is outside the buffer")
        return self.push(source.data + start, count, NULL, 0)

    cpdef int send_with(self, Buffer head, Buffer source, Py_ssize_t start, Py_ssize_t count) except -2:
        """Send all of `head` (empty afterwards) and then a range of `source`, in one system call."""
        cdef int result
        if start < 0 or count < 0 or count > source.end - start:
            raise IndexError(f"range {start}+{count} is outside the buffer")
        result = self.push(head.data + head.start, head.end - head.start, source.data + start, count)
        head.start = 0
        head.end = 0
        return result

    cpdef int send_bytes(self, bytes data) except -2:
        return self.push(octets(data), octets_size(data), NULL, 0)

    cpdef Py_ssize_t pending(self) noexcept:
        """Bytes that wait to be sent."""
        return 0 if self.out is None else self.out.end - self.out.start

    cpdef bint is_quiet(self) noexcept:
        """Whether the peer has neither sent anything nor closed: asked of an idle connection before it is used."""
        cdef char one
        if self.fd < 0 or self.peer_closed or self.error:
            return False
        return recv(self.fd, &one, 1, MSG_DONTWAIT | MSG_PEEK) < 0 and errno == EAGAIN

    cpdef tuple local_address(self):
        """Where the peer has connected to: text of an IP address and a port; (b"", 0) for a unix socket."""
        cdef char text[64]
        cdef int size = 0, port = 0
        if self.fd >= 0:
            hm_local(self.fd, text, &size, &port)
        return PyBytes_FromStringAndSize(text, size), port

    # Deadlines.

    cpdef set_timeout(self, double seconds):
        """Call `on_timeout` once this many seconds from now, unless set anew; 0 or less: never."""
        cdef int64_t due, most
        cdef Reactor reactor = self.reactor
        if self.fd < 0:
            return
        if seconds <= 0:
            self.deadline = 0
            return
        # The wheel borrows its streams from the table of watched ones.
        if not self.registered:
            self.watch()
        self.deadline = reactor.now_ms + <int64_t>(seconds * 1000)
        due = self.deadline // SLOT_MS + 1
        if due <= reactor.tick:
            due = reactor.tick + 1
        most = reactor.tick + WHEEL - 1
        if due > most:
            due = most
        if self.linked_at < 0 or due < self.linked_at:
            reactor.unlink(self)
            reactor.link(self, due)

    cpdef clear_timeout(self):
        self.deadline = 0

    # Ending.

    cdef void disown(self) noexcept:
        """What is left in the shared buffer is nobody's: the next stream may come to be at our address in memory, and
        would take it for its own."""
        if self.reactor.rx_owner == <void*>self:
            self.reactor.rx_owner = NULL

    cpdef shut_write(self):
        """Tell the peer that nothing more is coming."""
        if self.fd >= 0 and not self.write_dead:
            self.write_dead = True
            shutdown(self.fd, SHUT_WR)

    cpdef close(self):
        cdef int fd = self.fd
        if fd < 0:
            return
        self.fd = -1
        self.reactor.unlink(self)
        self.reactor.open_streams -= 1
        # Whoever called may hold no reference of its own: compiled code borrows `x` in `x.y.close()` from the field.
        self.reactor.held.append(self)
        if self.error:
            # What was sent may not be all that there was, and an end could be taken for the end of it.
            reset_at_close(fd)
        if self.registered:
            self.registered = False
            self.reactor.streams[fd] = None
            if self.shared:
                # Other processes hold the same socket, so that closing ours alone would not end the watching.
                hm_epoll_ctl(self.reactor.epoll, EPOLL_CTL_DEL, fd, 0, 0)
        self.rx = None
        self.out = None
        self.readable = False
        self.disown()
        c_close(fd)
        self.on_closed()

    cpdef int detach(self) except -2:
        """Let go of the descriptor, open and watched by nobody, and return it; -1 when it is closed already. For a
        stream that owns no bytes: what was read, or waits to be sent, would be lost. `on_closed` is not told."""
        cdef int fd = self.fd
        if fd < 0:
            return -1
        if self.rx is not None or self.out is not None:
            raise ValueError("a stream that owns bytes cannot let go of its descriptor")
        self.fd = -1
        self.reactor.unlink(self)
        self.reactor.open_streams -= 1
        self.reactor.held.append(self)
        if self.registered:
            self.registered = False
            self.reactor.streams[fd] = None
            hm_epoll_ctl(self.reactor.epoll, EPOLL_CTL_DEL, fd, 0, 0)
        self.readable = False
        self.disown()
        return fd

    cpdef abort(self):
        """Close with a reset, so that the peer cannot take what it got for complete."""
        if self.fd >= 0:
            reset_at_close(self.fd)
        self.close()

    def __repr__(self):
        return f"<{type(self).__name__} fd={self.fd}>"


cdef class Acceptor(Stream):
    """A listening socket. Subclasses answer `accepted`."""

    def __cinit__(self):
        # Accepted in one turn: who is here already must not wait for all who are still to come. Fewer cost more turns
        # each (at four times of what a core can do: 16 serve as many as 64 with a p99 that is a tenth less, 4 serve
        # an eighth fewer).
        self.batch = 16

    def listen(self, Reactor reactor, int fd):
        """Own a listening, non-blocking socket and accept on it."""
        self.shared = True
        self.attach(reactor, fd)
        reactor.register(self, EPOLLIN)

    cpdef accepted(self, int fd, bytes host, int port):
        """A connection from `host` (text, b"" for a unix socket). Whoever takes it owns the descriptor."""
        c_close(fd)

    cpdef on_readable(self):
        cdef char text[64]
        cdef int size, port, fd, index, error
        for index in range(self.batch):
            if self.fd >= 0 and not self.reactor.has_room(self.fd):
                self.pause(CROWDED_PAUSE)
                return
            if self.fd < 0 or not self.may_accept():
                return
            fd = hm_accept(self.fd, text, &size, &port)
            if fd < 0:
                error = errno
                self.not_accepted()
                if error == EINTR or error == ECONNABORTED:
                    continue
                if error in (EMFILE, ENFILE, ENOBUFS, ENOMEM):
                    # Level-triggered: without a pause this would spin until descriptors are free again.
                    self.reactor.crowd(error)
                    self.pause(CROWDED_PAUSE)
                return
            if fd >= self.reactor.descriptor_limit > 0:
                self.reactor.crowd(EMFILE)
            try:
                self.accepted(fd, PyBytes_FromStringAndSize(text, size), port)
            except Exception as bug:
                # What goes wrong with one connection must not take the listener from all others.
                self.reactor.tell_bug(self, bug)

    cpdef bint may_accept(self):
        """Asked before each connection. False: there is no room, and `pause` has been called."""
        return True

    cpdef not_accepted(self):
        """There was none after all."""

    cpdef resume(self):
        """Go on accepting, before the end of a pause."""
        if self.fd >= 0:
            self.clear_timeout()
            self.on_timeout()

    cpdef pause(self, double seconds):
        """Accept nothing for a while; clients wait in the backlog."""
        if self.fd >= 0:
            hm_epoll_ctl(self.reactor.epoll, EPOLL_CTL_MOD, self.fd, 0,
                         (<uint64_t>self.generation << 32) | <uint32_t>self.fd)
            self.set_timeout(seconds)

    cpdef on_timeout(self):
        hm_epoll_ctl(self.reactor.epoll, EPOLL_CTL_MOD, self.fd, EPOLLIN,
                     (<uint64_t>self.generation << 32) | <uint32_t>self.fd)
