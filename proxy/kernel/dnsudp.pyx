"""The DNS server's socket for UDP: questions received and answers sent many at a time.

One call takes up to 64 questions from the kernel, `Answers` writes what each is answered with, and one call sends all
of that back: to whom it came from, from the address that was asked. Nothing waits: what the kernel does not take at
once is dropped and counted, and who asked will ask again. What somebody else must answer goes to `forward`, and its
answer leaves through `reply`.

`RateLimit` keeps forged questions from making us flood whoever seems to have sent them: each network of clients (/24,
/56) has a bucket of answers for one second. Over it every second answer is dropped, and the other is a truncated one,
which is hardly larger than its question and brings a real client over by TCP.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, ENOBUFS, errno
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free

from proxy.kernel.dnswire cimport FORWARD, Plan
from proxy.kernel.entropy cimport random_bytes
from proxy.kernel.octets cimport octets, octets_size

from proxy.stats import slots as layout

cdef extern from "dnsudp.h":
    int EPOLLIN, EPOLLET, AF_INET
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
        unsigned int msg_namelen
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
    cdef struct hm_peer:
        unsigned char family
        unsigned char addr[16]
    int recvmmsg(int, mmsghdr*, unsigned int, int, void*) nogil
    int sendmmsg(int, mmsghdr*, unsigned int, int) nogil
    int hm_is_wildcard(int, int*) nogil
    int hm_want_local(int, int) nogil
    int hm_peer_of(mmsghdr*, hm_peer*) noexcept nogil
    void hm_slot(mmsghdr*, iovec*, void*, char*, size_t, hm_control*) noexcept nogil
    void hm_address(mmsghdr*, const hm_peer*, hm_name*, hm_control*) noexcept nogil
    void hm_unwatch(int, int) noexcept nogil
    void hm_turn_back(msghdr*) noexcept nogil
    void hm_dns_socket(int, int) noexcept nogil
    uint64_t hm_network_of(const hm_name*) noexcept nogil
    uint64_t hm_network(unsigned char, const unsigned char*) noexcept nogil

cdef extern from "bounds.h":
    void hm_hide(void*, size_t) noexcept nogil
    void hm_show(void*, size_t) noexcept nogil

cdef extern from "dnswire.h":
    uint64_t hm_mix(uint64_t, uint64_t) noexcept nogil

cdef enum:
    PLACES = 64
    QUERY_SIZE = 2048  # a question with EDNS, padding and cookies stays below 1 KiB
    # Some lines of the cache between places: at a power of two all datagrams would fall into the same sets.
    SPREAD = 5 * 64
    SOME = 4  # where so many came at once, more came meanwhile: one call here spares two of the event loop's
    TURNS = 8  # batches in a row; then others get their turn
    ERRORS = 2  # in a row; what fails more often has no remedy here
    SETS = 16_384  # of the rate limit, each of
    WAYS = 4
    HEADER = 12
    TC = 0x02

cdef int C_BYTES_IN = layout.BYTES_IN
cdef int C_BYTES_OUT = layout.BYTES_OUT
cdef int C_DATAGRAMS_IN = layout.DATAGRAMS_IN
cdef int C_DATAGRAMS_OUT = layout.DATAGRAMS_OUT
cdef int C_NOT_SENT = layout.DNS_NOT_SENT
cdef int C_DATAGRAMS_NOT_SENT = layout.DATAGRAMS_NOT_SENT
cdef int C_RATE_LIMITED = layout.DNS_RATE_LIMITED

cdef struct Room:
    mmsghdr received[PLACES]
    iovec pieces[PLACES]
    hm_name names[PLACES]
    hm_control controls[PLACES]
    mmsghdr sent[PLACES]
    iovec answers[PLACES]
    Plan plans[PLACES]


cdef class RateLimit:
    """At most `rate` answers per second to one network."""

    def __cinit__(self, int rate):
        if rate < 1:
            raise ValueError(f"a limit of {rate} answers per second is none")
        self.rate = rate
        random_bytes(<char*>self.seed, sizeof(self.seed))
        self.buckets = <Bucket*>calloc(SETS * WAYS, sizeof(Bucket))
        if self.buckets == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.buckets)

    cdef bint allows(self, uint64_t network, int64_t now_ms) noexcept:
        """Count an answer to this network, unless there were too many. Where more networks meet than there is room
        for, the one that asked least recently is forgotten: that may let answers pass, but never holds back others."""
        cdef Bucket* found = self.buckets + (hm_mix(network ^ self.seed[0], self.seed[1] | 1) % SETS) * WAYS
        cdef Bucket* oldest = found
        cdef int way
        for way in range(WAYS):
            if found[way].network == network:
                oldest = &found[way]
                break
            if found[way].at_ms < oldest.at_ms:
                oldest = &found[way]
        if oldest.network != network:
            oldest.network = network
            oldest.level = 0
            oldest.at_ms = now_ms
        oldest.level -= (now_ms - oldest.at_ms) * self.rate
        if oldest.level < 0:
            oldest.level = 0
        oldest.at_ms = now_ms
        if oldest.level + 1000 > <int64_t>self.rate * 1000:
            return False
        oldest.level += 1000
        return True


cdef class DnsSocket(Stream):
    """A bound socket and who is answered through it. Drivers answer `forward`. `limit`: None for no limit of rate."""

    def __cinit__(self):
        self.room = calloc(1, sizeof(Room))
        if self.room == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.room)
        self.unmap()

    cdef void unmap(self) noexcept:
        if self.memory != NULL:
            hm_show(self.memory, self.mapped)
            munmap(self.memory, self.mapped)
            self.memory = NULL

    cpdef serve(self, Reactor reactor, int fd, Answers answers, Slot slot, Slot row):
        """Own a bound, non-blocking socket and answer whoever asks. `slot`: the row of the listener; `row`: that of
        the protocol."""
        cdef int family = 0
        cdef int wildcard = hm_is_wildcard(fd, &family)
        if wildcard < 0 or (wildcard and hm_want_local(fd, family) < 0):
            raise OSError(errno, "a socket that cannot serve datagrams")
        hm_dns_socket(fd, family)
        self.says_local = wildcard != 0
        self.answers = answers
        self.slot = slot
        self.row = row
        self.make_places()
        self.attach(reactor, fd)
        reactor.register(self, EPOLLIN | <uint32_t>EPOLLET)

    cpdef forward(self, bytes query, bytes client):
        """Have somebody else answer this; `client` is for `reply`."""

    cpdef stop_reading(self):
        """Somebody else reads this socket from now on. Answers still leave through it."""
        if self.registered:
            self.registered = False
            self.readable = False
            self.reactor.streams[self.fd] = None
            # Another process may hold the same socket, so that closing ours alone would not end the watching.
            hm_unwatch(self.reactor.epoll, self.fd)

    cpdef close(self):
        if self.fd >= 0:
            self.stop_reading()
        Stream.close(self)

    cdef int make_places(self) except -1:
        """Memory for 64 questions, and for 64 answers as large as they may be by now."""
        cdef Room* room = <Room*>self.room
        cdef char* at
        cdef int item, answer_size = self.answers.udp_limit
        self.unmap()
        self.mapped = <size_t>PLACES * (QUERY_SIZE + answer_size + 2 * SPREAD)
        self.memory = <char*>mmap(NULL, self.mapped, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if self.memory == <char*>MAP_FAILED:
            self.memory = NULL
            raise MemoryError()
        self.out_size = answer_size
        hm_hide(self.memory, self.mapped)
        at = self.memory
        for item in range(PLACES):
            hm_slot(&room.received[item], &room.pieces[item], &room.names[item], at, QUERY_SIZE,
                    &room.controls[item] if self.says_local else NULL)
            at += QUERY_SIZE + SPREAD
        for item in range(PLACES):
            hm_slot(&room.sent[item], &room.answers[item], NULL, at, answer_size, NULL)
            hm_show(at, answer_size)
            at += answer_size + SPREAD
        return 0

    cdef int receive(self) noexcept:
        """Receive as many as there are places for: how many, or -1 and `errno`."""
        cdef Room* room = <Room*>self.room
        cdef int item, got
        for item in range(PLACES):
            hm_show(room.pieces[item].iov_base, QUERY_SIZE)
        got = recvmmsg(self.fd, room.received, PLACES, MSG_DONTWAIT, NULL)
        for item in range(got):
            hm_hide(<char*>room.pieces[item].iov_base + room.received[item].msg_len,
                    QUERY_SIZE - room.received[item].msg_len)
        return got

    cpdef on_readable(self):
        cdef Room* room = <Room*>self.room
        cdef mmsghdr* message
        cdef mmsghdr* back
        cdef Answers answers = self.answers
        cdef uint64_t* cells = self.row.cells
        cdef uint64_t bytes_in
        cdef int64_t began
        cdef int turns = 0, errors = 0, item, got, count, size, length
        cdef const uint8_t* query
        while self.fd >= 0 and self.registered:
            if turns == TURNS:
                self.reactor.wake(self)
                break
            turns += 1
            if self.out_size != answers.udp_limit:
                self.make_places()
            got = self.receive()
            if got <= 0:
                # An error is told once, and datagrams may be behind it, of which no edge will come.
                if got < 0 and errno != EAGAIN and errors < ERRORS:
                    errors += 1
                    continue
                break
            began = self.reactor.micros()
            count = 0
            bytes_in = 0
            for item in range(got):
                message = &room.received[item]
                length = <int>message.msg_len
                bytes_in += <uint64_t>length
                if message.msg_hdr.msg_flags & MSG_TRUNC:
                    length = HEADER  # what is cut off is no question
                answers.prepare(<const uint8_t*>room.pieces[item].iov_base, length, &room.plans[item])
            for item in range(got):
                answers.expect(&room.plans[item])
            for item in range(got):
                message = &room.received[item]
                query = <const uint8_t*>room.pieces[item].iov_base
                back = &room.sent[count]
                size = answers.respond(query, &room.plans[item], <uint8_t*>back.msg_hdr.msg_iov.iov_base, 0, cells)
                if size and self.limit is not None:
                    size = self.limited(item, size, <uint8_t*>back.msg_hdr.msg_iov.iov_base)
                if size == FORWARD:
                    self.pass_on(item)
                elif size > 0:
                    back.msg_hdr.msg_iov.iov_len = <size_t>size
                    back.msg_hdr.msg_name = message.msg_hdr.msg_name
                    back.msg_hdr.msg_namelen = message.msg_hdr.msg_namelen
                    back.msg_hdr.msg_control = message.msg_hdr.msg_control
                    back.msg_hdr.msg_controllen = message.msg_hdr.msg_controllen
                    if self.says_local:
                        hm_turn_back(&back.msg_hdr)
                    count += 1
            cells[C_BYTES_IN] += bytes_in
            self.slot.cells[C_BYTES_IN] += bytes_in
            self.slot.cells[C_DATAGRAMS_IN] += <uint64_t>got
            if count:
                self.send_queued(count)
            for item in range(got):
                message = &room.received[item]
                message.msg_hdr.msg_namelen = sizeof(hm_name)
                message.msg_hdr.msg_controllen = sizeof(hm_control) if self.says_local else 0
            self.row.observe(self.reactor.micros() - began, count)
            if got < SOME:
                break  # that was all; what comes later is a new edge

    cdef pass_on(self, int item):
        cdef Room* room = <Room*>self.room
        cdef hm_peer peer
        if hm_peer_of(&room.received[item], &peer):
            try:
                self.forward(PyBytes_FromStringAndSize(<char*>room.pieces[item].iov_base, room.received[item].msg_len),
                             PyBytes_FromStringAndSize(<char*>&peer, sizeof(hm_peer)))
            except Exception as bug:
                # What goes wrong with one question must not take the server from all others.
                self.reactor.tell_bug(self, bug)

    cdef int limited(self, int item, int size, uint8_t* out) noexcept:
        """What becomes of an answer of `size` (FORWARD: somebody else has it) by the limit of rate: its size, 0 for
        none."""
        cdef Room* room = <Room*>self.room
        cdef RateLimit limit = self.limit
        cdef const uint8_t* query = <const uint8_t*>room.pieces[item].iov_base
        if limit.allows(hm_network_of(&room.names[item]), self.reactor.now_ms):
            return size
        self.row.cells[C_RATE_LIMITED] += 1
        limit.slips = not limit.slips
        if limit.slips:
            return 0
        if size == FORWARD:
            self.answers.error(query, 0, out)
        if self.answers.question.name_size:
            out[2] |= TC
        return self.answers.shorten(query, out)

    cdef send_queued(self, int count):
        """Send the first `count` answers; what the kernel does not take is lost."""
        cdef Room* room = <Room*>self.room
        cdef int at = 0, done, error, item
        cdef uint64_t size = 0, lost = 0
        for item in range(count):
            size += room.answers[item].iov_len
        while at < count:
            done = sendmmsg(self.fd, &room.sent[at], <unsigned int>(count - at), MSG_DONTWAIT | MSG_NOSIGNAL)
            if done > 0:
                at += done
                continue
            error = errno
            if error == EINTR:
                continue
            if error == EAGAIN or error == ENOBUFS:
                lost += <uint64_t>(count - at)
                break
            # This one cannot be sent; that says nothing of the next.
            at += 1
            lost += 1
        self.count_sent(<uint64_t>count - lost, size, lost)

    cdef void count_sent(self, uint64_t count, uint64_t size, uint64_t lost) noexcept:
        self.row.cells[C_BYTES_OUT] += size
        self.slot.cells[C_BYTES_OUT] += size
        self.slot.cells[C_DATAGRAMS_OUT] += count
        if lost:
            self.row.cells[C_NOT_SENT] += lost
            self.slot.cells[C_DATAGRAMS_NOT_SENT] += lost

    cpdef reply(self, bytes client, bytes message, int64_t received):
        """Send the answer to a question that was forwarded; `received`: when (microseconds)."""
        cdef mmsghdr back
        cdef iovec piece
        cdef hm_name name
        cdef hm_control control
        cdef int done
        if octets_size(client) != sizeof(hm_peer):
            raise ValueError("not a client")
        if self.fd < 0:
            return
        hm_slot(&back, &piece, NULL, octets(message), octets_size(message), NULL)
        hm_address(&back, <const hm_peer*>octets(client), &name, &control)
        while True:
            done = sendmmsg(self.fd, &back, 1, MSG_DONTWAIT | MSG_NOSIGNAL)
            if done >= 0 or errno != EINTR:
                break
        self.count_sent(1 if done > 0 else 0, <uint64_t>octets_size(message), 0 if done > 0 else 1)
        self.row.observe(self.reactor.micros() - received, 1)
