"""Datagrams between clients and endpoints: received and sent many at a time, never copied on the way.

A `DatagramServer` is the socket that clients send to. Whoever sends from an address that has no session gets one from
`open_session`, or its datagram is dropped. A `DatagramSession` is a socket of its own that is connected to one endpoint:
what comes there goes back to the client, through the server's socket and from the address that the client asked.

 - What is received goes into the `Batch`, memory for 64 datagrams that all sockets of a reactor share. It is sent from
   there when the events that are ready have been served, or when all 64 are taken: one call for each socket that has
   something to send. Pages of the batch that no datagram reached take no memory.
 - Nothing waits. What the kernel does not take at once is dropped and counted, and what is larger than the batch's
   places as well; a peer must expect that of datagrams.
 - A session ends when it was silent for its idle time, like any stream by its deadline; a datagram only moves that.
 - An error that an endpoint's machine reports (ICMP) is told to the session that met it: `on_unreachable`. One that
   concerns a client is not reported to a socket that serves many.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAFNOSUPPORT, EAGAIN, EINTR, EMFILE, ENOBUFS, errno
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from proxy.kernel.octets cimport octets, octets_size

from proxy.stats import slots as layout

cdef extern from "datagrams.h":
    int EPOLLIN, EPOLLET, AF_INET, AF_INET6
    int MSG_DONTWAIT, MSG_NOSIGNAL, MSG_TRUNC, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE, PROT_READ, PROT_WRITE
    void* MAP_FAILED
    void* mmap(void*, size_t, int, int, int, long) nogil
    int munmap(void*, size_t) nogil
    cdef struct iovec:
        void* iov_base
        size_t iov_len
    cdef struct msghdr:
        int msg_flags
        void* msg_name
        uint32_t msg_namelen
        void* msg_control
        size_t msg_controllen
        iovec* msg_iov
        size_t msg_iovlen
    cdef struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    cdef union hm_name:
        pass
    cdef union hm_control:
        pass
    ssize_t send(int, const void*, size_t, int) nogil
    int c_close "close"(int) nogil
    int recvmmsg(int, mmsghdr*, unsigned int, int, void*) nogil
    int sendmmsg(int, mmsghdr*, unsigned int, int) nogil
    int hm_is_wildcard(int, int*) nogil
    int hm_want_local(int, int) nogil
    void hm_slot(mmsghdr*, iovec*, void*, char*, size_t, hm_control*) noexcept nogil
    int hm_peer_of(mmsghdr*, hm_peer*) noexcept nogil
    void hm_address(mmsghdr*, const hm_peer*, hm_name*, hm_control*) noexcept nogil
    int hm_peer_text(const hm_peer*, char*, int) noexcept nogil
    int hm_peer_port(const hm_peer*) noexcept nogil
    void hm_unwatch(int, int) noexcept nogil
    int hm_connect_datagrams(int, const void*, uint32_t, int*) nogil

cdef enum:
    PLACES = 64  # datagrams of a batch; a system call for 64 costs each less than a twentieth of its own
    FEW = 8  # places left that are not worth a call
    # A page and some lines of the cache between places: at a power of two all datagrams would fall into the same sets.
    SPREAD = 4096 + 5 * 64
    TURNS = 4  # batches of one socket in a row; then others get their turn
    ERRORS = 2  # of a socket in a row; what fails more often has no remedy here

cdef int BYTES_IN = layout.BYTES_IN
cdef int BYTES_OUT = layout.BYTES_OUT
cdef int DATAGRAMS_IN = layout.DATAGRAMS_IN
cdef int DATAGRAMS_OUT = layout.DATAGRAMS_OUT
cdef int DATAGRAMS_OVERSIZE = layout.DATAGRAMS_OVERSIZE
cdef int DATAGRAMS_NOT_SENT = layout.DATAGRAMS_NOT_SENT

cdef struct Room:
    mmsghdr received[PLACES]
    iovec pieces[PLACES]
    hm_name names[PLACES]
    hm_control controls[PLACES]
    int following[PLACES]  # the next datagram that goes out of the same socket
    void* peers[PLACES]  # the session whose client a datagram goes to, with a reference of ours; NULL: to an endpoint
    mmsghdr sent[PLACES]
    hm_name targets[PLACES]
    hm_control origins[PLACES]


def client_of(bytes key):
    """Address as text and port of the client that a session's key names."""
    cdef char text[64]
    cdef const hm_peer* peer = <const hm_peer*>octets(key)
    if octets_size(key) != sizeof(hm_peer):
        raise ValueError("not the key of a session")
    return PyBytes_FromStringAndSize(text, hm_peer_text(peer, text, 64)), hm_peer_port(peer)


cdef class Batch(BatchEnd):
    """The datagrams on their way; one for each reactor, which flushes it."""

    def __cinit__(self, Py_ssize_t largest=65536):
        """`largest`: bytes of the largest datagram. No datagram of UDP is above 65,527."""
        if largest < 1:
            raise ValueError(f"datagrams of {largest} bytes are none")
        self.largest = largest
        self.senders = []
        self.room = calloc(1, sizeof(Room))
        if self.room == NULL:
            raise MemoryError()
        self.mapped = PLACES * (<size_t>largest + SPREAD)
        self.memory = <char*>mmap(NULL, self.mapped, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if self.memory == <char*>MAP_FAILED:
            self.memory = NULL
            raise MemoryError()

    def __dealloc__(self):
        free(self.room)
        if self.memory != NULL:
            munmap(self.memory, self.mapped)

    cdef int receive(self, int fd, int most, bint named, bint local) noexcept:
        """Receive what there is into free places, at most `most`, from `used` on: how many, or -1 and `errno`.

        The caller has queued or dropped all of them before anything is received again."""
        cdef Room* room = <Room*>self.room
        cdef int item
        for item in range(self.used, self.used + most):
            hm_slot(&room.received[item], &room.pieces[item], &room.names[item] if named else NULL,
                    self.memory + item * (self.largest + SPREAD), self.largest,
                    &room.controls[item] if local else NULL)
        return recvmmsg(fd, &room.received[self.used], most, MSG_DONTWAIT, NULL)

    cdef flush(self):
        """Send all that is queued; then all places are free."""
        cdef DatagramSocket sender
        cdef list senders = self.senders
        if senders:
            self.senders = []
            for sender in senders:
                try:
                    sender.send_queued()
                except Exception as bug:
                    sender.reactor.report(sender, bug)
        self.used = 0


cdef class DatagramSocket(Stream):
    """What both kinds do: queue datagrams of the batch and send them."""

    def __cinit__(self):
        self.first_out = -1
        self.last_out = -1

    cpdef on_answered(self):
        """The endpoint has sent its first datagram."""

    cpdef on_unreachable(self, int error):
        """The network says that what was sent did not arrive, or cannot."""

    cdef queue(self, int item, DatagramSession peer):
        """Send this datagram with the next flush; `peer` None: to whom the socket is connected."""
        cdef Room* room = <Room*>self.batch.room
        room.following[item] = -1
        if peer is None:
            room.peers[item] = NULL
        else:
            Py_INCREF(peer)
            room.peers[item] = <void*>peer
        if self.first_out < 0:
            self.first_out = item
            self.batch.senders.append(self)
        else:
            room.following[self.last_out] = item
        self.last_out = item

    cdef send_queued(self):
        cdef Room* room = <Room*>self.batch.room
        cdef mmsghdr* out = room.sent
        cdef int item = self.first_out
        cdef int count = 0, at = 0, lost = 0, done, error
        cdef DatagramSession peer
        self.first_out = -1
        while item >= 0:
            out[count].msg_hdr.msg_iov = &room.pieces[item]
            out[count].msg_hdr.msg_iovlen = 1
            out[count].msg_hdr.msg_flags = 0
            if room.peers[item] == NULL:
                out[count].msg_hdr.msg_name = NULL
                out[count].msg_hdr.msg_namelen = 0
                out[count].msg_hdr.msg_control = NULL
                out[count].msg_hdr.msg_controllen = 0
            else:
                peer = <DatagramSession>room.peers[item]
                hm_address(&out[count], &peer.peer, &room.targets[count], &room.origins[count])
                room.peers[item] = NULL
                Py_DECREF(peer)
            count += 1
            item = room.following[item]
        while at < count:
            if self.fd < 0:
                lost += count - at
                break
            if count == 1 and out[0].msg_hdr.msg_name == NULL:
                done = 1 if send(self.fd, out[0].msg_hdr.msg_iov.iov_base, out[0].msg_hdr.msg_iov.iov_len,
                                 MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 else -1
            else:
                done = sendmmsg(self.fd, &out[at], count - at, MSG_DONTWAIT | MSG_NOSIGNAL)
            if done > 0:
                at += done
                continue
            error = errno
            if error == EINTR:
                continue
            if error == EAGAIN or error == ENOBUFS:
                lost += count - at
                break
            # This one cannot be sent; that says nothing of the next.
            at += 1
            lost += 1
            self.on_unreachable(error)
        if lost:
            self.slot.cells[DATAGRAMS_NOT_SENT] += <uint64_t>lost


cdef class DatagramServer(DatagramSocket):
    """The socket of a listener. Drivers answer `open_session`."""

    def __cinit__(self):
        self.sessions = {}

    cpdef serve(self, Batch batch, Reactor reactor, int fd, Slot slot):
        """Own a bound, non-blocking socket and serve whoever sends to it. `slot`: where it is counted."""
        cdef int family = 0
        cdef int wildcard = hm_is_wildcard(fd, &family)
        if wildcard < 0 or (wildcard and hm_want_local(fd, family) < 0):
            raise OSError(errno, "a socket that cannot serve datagrams")
        self.says_local = wildcard != 0
        self.batch = batch
        self.slot = slot
        reactor.batch_end = batch
        self.attach(reactor, fd)
        reactor.register(self, EPOLLIN | <uint32_t>EPOLLET)

    cpdef DatagramSession open_session(self, bytes key):
        """The session for a client that has none, or one whose session is misplaced; None: drop the datagram."""
        return None

    cpdef stop_reading(self):
        """Somebody else reads this socket from now on. Answers of sessions still leave through it."""
        if self.registered:
            self.registered = False
            self.readable = False
            self.reactor.streams[self.fd] = None
            # Another process may hold the same socket, so that closing ours alone would not end the watching.
            hm_unwatch(self.reactor.epoll, self.fd)

    cpdef close(self):
        if self.fd >= 0:
            self.stop_reading()
            self.recent = None
        DatagramSocket.close(self)

    cpdef on_readable(self):
        cdef Batch batch = self.batch
        cdef int turns = 0, errors = 0, first, last, item, got
        while self.fd >= 0 and self.registered:
            if turns == TURNS:
                self.reactor.wake(self)
                break
            turns += 1
            if PLACES - batch.used < FEW:
                batch.flush()
            first = batch.used
            got = batch.receive(self.fd, PLACES - first, True, self.says_local)
            if got <= 0:
                # An error is told once, and datagrams may be behind it, of which no edge will come.
                if got < 0 and errno != EAGAIN and errors < ERRORS:
                    errors += 1
                    continue
                break
            last = first + got
            batch.used = last
            for item in range(first, last):
                self.dispatch(item)
            if last < PLACES:
                break  # that was all; what comes later is a new edge

    cdef dispatch(self, int item):
        """Give a datagram to the session of its sender."""
        cdef Room* room = <Room*>self.batch.room
        cdef mmsghdr* message = &room.received[item]
        cdef Slot slot = self.slot
        cdef DatagramSession session = self.recent
        cdef hm_peer peer
        cdef bytes key
        slot.cells[DATAGRAMS_IN] += 1
        slot.cells[BYTES_IN] += message.msg_len
        if message.msg_hdr.msg_flags & MSG_TRUNC:
            slot.cells[DATAGRAMS_OVERSIZE] += 1
            return
        if not hm_peer_of(message, &peer):
            return
        if session is None or memcmp(&peer, &session.peer, sizeof(hm_peer)) != 0 or session.misplaced:
            key = PyBytes_FromStringAndSize(<char*>&peer, sizeof(hm_peer))
            session = <DatagramSession>self.sessions.get(key)
            if session is None or session.misplaced:
                try:
                    session = self.open_session(key)
                except Exception as bug:
                    # What goes wrong with one client must not take the listener from all others.
                    self.reactor.tell_bug(self, bug)
                    return
                if session is None:
                    return
            self.recent = session
        session.bytes_in += message.msg_len
        session.datagrams_in += 1
        if session.endpoint_slot is not None:
            session.endpoint_slot.cells[BYTES_OUT] += message.msg_len
        if session.service_slot is not None:
            session.service_slot.cells[BYTES_OUT] += message.msg_len
        if session.route_slot is not None:
            session.route_slot.cells[BYTES_IN] += message.msg_len
        room.pieces[item].iov_len = message.msg_len
        session.touch()
        session.queue(item, None)


cdef class DatagramSession(DatagramSocket):
    """A client's address and the endpoint that it is served by. Drivers subclass it."""

    cpdef int open(self, DatagramServer server, bytes key, Address address, double idle) except -2:
        """Take the place of `key` in `server`, with a socket to `address`; `idle`: seconds without a datagram, after
        which `on_timeout` is called, 0 for no end. 0, or the error number, and then nothing is open."""
        cdef int error = 0
        cdef int fd
        if octets_size(key) != sizeof(hm_peer):
            raise ValueError("not the key of a session")
        if address.family != AF_INET and address.family != AF_INET6:
            return EAFNOSUPPORT
        fd = hm_connect_datagrams(address.family, address.raw, address.raw_size, &error)
        if fd < 0:
            return error
        if fd >= server.reactor.descriptor_limit > 0:
            # What is left is for connections that were admitted before.
            c_close(fd)
            return EMFILE
        memcpy(&self.peer, octets(key), sizeof(hm_peer))
        self.key = key
        self.server = server
        self.batch = server.batch
        self.slot = server.slot
        self.idle_ms = <int64_t>(idle * 1000)
        self.attach(server.reactor, fd)
        try:
            self.reactor.register(self, EPOLLIN | <uint32_t>EPOLLET)
        except OSError as refused:
            # The system has no room for a further watch (fs.epoll.max_user_watches, memory).
            c_close(self.detach())
            return refused.errno
        server.sessions[key] = self
        self.touch()
        return 0

    cpdef bytes client(self):
        """The client's address as text; an IPv4 client of an IPv6 socket is shown as IPv4."""
        cdef char text[64]
        return PyBytes_FromStringAndSize(text, hm_peer_text(&self.peer, text, 64))

    cpdef int client_port(self) noexcept:
        return hm_peer_port(&self.peer)

    cpdef limit_idle(self, double idle):
        """From now on this many seconds of silence are enough, if they are fewer than before."""
        cdef int64_t limit = <int64_t>(idle * 1000)
        if self.idle_ms == 0 or limit < self.idle_ms:
            self.idle_ms = limit
            self.set_timeout(idle)

    cdef void touch(self) noexcept:
        """A datagram came or went."""
        if self.idle_ms <= 0:
            return
        if self.linked_at >= 0:
            self.deadline = self.reactor.now_ms + self.idle_ms
        else:
            self.set_timeout(self.idle_ms / 1000.0)

    cpdef close(self):
        """What is queued to the endpoint still goes; answers that are queued leave through the server."""
        cdef DatagramServer server = self.server
        if self.fd >= 0 and server is not None:
            if self.first_out >= 0:
                self.send_queued()
            if server.recent is self:
                server.recent = None
            if server.sessions.get(self.key) is self:
                del server.sessions[self.key]
        DatagramSocket.close(self)

    cpdef on_readable(self):
        cdef Batch batch = self.batch
        cdef Room* room = <Room*>batch.room
        cdef DatagramServer server = self.server
        cdef Slot slot = self.slot
        cdef unsigned int size
        cdef int turns = 0, errors = 0, first, last, item, got
        while self.fd >= 0:
            if turns == TURNS:
                self.reactor.wake(self)
                break
            turns += 1
            if PLACES - batch.used < FEW:
                batch.flush()
                if self.fd < 0:
                    break
            first = batch.used
            # Preparing places costs more than another call for the few sessions that have many answers at once.
            got = batch.receive(self.fd, FEW, False, False)
            if got < 0:
                if errno == EINTR:
                    continue
                if errno != EAGAIN and errors < ERRORS:
                    errors += 1
                    self.on_unreachable(errno)
                    # The error is forgotten by being told; datagrams may be behind it.
                    continue
                break
            last = first + got
            batch.used = last
            for item in range(first, last):
                if room.received[item].msg_hdr.msg_flags & MSG_TRUNC:
                    slot.cells[DATAGRAMS_OVERSIZE] += 1
                    continue
                size = room.received[item].msg_len
                room.pieces[item].iov_len = size
                slot.cells[DATAGRAMS_OUT] += 1
                slot.cells[BYTES_OUT] += size
                self.bytes_out += size
                self.datagrams_out += 1
                if self.datagrams_out == 1:
                    self.on_answered()
                if self.endpoint_slot is not None:
                    self.endpoint_slot.cells[BYTES_IN] += size
                if self.service_slot is not None:
                    self.service_slot.cells[BYTES_IN] += size
                if self.route_slot is not None:
                    self.route_slot.cells[BYTES_OUT] += size
                server.queue(item, self)
            self.touch()
            if got < FEW:
                break
