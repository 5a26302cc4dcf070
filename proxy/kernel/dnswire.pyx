"""Questions of DNS read, and answers found, fitted to who asks and written: the hot path of the DNS server.

`Answers` keeps rendered answers by question (name in small letters, type) and answers most questions without calling
Python: id, the bit RD and the name as it was written come from the question, records of equal rank begin at a random
one of them, EDNS is answered with EDNS, and what is larger than the asker takes becomes an empty answer with the bit
TC. A question that is not in the table goes to `lookup`, whose answer is kept if it says so.

 - What is refused, and how (RFC 1035 section 4.1; RFC 9619, RFC 6891, RFC 8906):
     shorter than a header, or itself an answer                 nothing: an answer could make two servers talk forever
     an operation other than QUERY                              NOTIMP, header only
     no question or several, a name that is compressed, too
     long or cut off, records where a query has none, two OPT
     records, one that has a name or broken options, bytes
     after the end                                              FORMERR, header only
     EDNS of a version that we do not know                      BADVERS
     a class other than IN, transfers of zones                  REFUSED
 - No answer to such a message is larger than the message, so that a forged sender gains nothing.
 - Of EDNS only size and DO are looked at. Options are checked for their form and otherwise ignored, as RFC 6891 has it;
   cookies (RFC 7873) are such an option.
 - The table is bounded in entries and bytes; when it is full, a random entry makes room. Only answers to common types
   are kept, or one name could be asked for 65,536 times. Its hash is keyed, because whoever asks chooses the names.
 - Entries have an owner (a service). `forget` drops those of one owner in time that depends on them alone.
 - `watch` ties an owner's entries to a word that other processes write to: a hit compares it with what the answer says
   it was, and another value is a miss. That is for states that change without a new snapshot. An answer may also have
   an end, after which a hit is a miss: for what changes by time alone. Answers without either pay one comparison each.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from proxy.kernel.entropy cimport random_bytes
from proxy.kernel.octets cimport octets, octets_size

from proxy.stats import slots as layout

cdef extern from "dnswire.h":
    int hm_dns_key(const uint8_t* name, int size, const uint8_t* type, uint8_t* key) noexcept nogil
    uint64_t hm_dns_hash(const uint8_t* key, int size, const uint64_t* seed) noexcept nogil
    void hm_prefetch(const void* at, int bytes) noexcept nogil
    uint32_t hm_draw(uint64_t* state, uint32_t most) noexcept nogil
    uint64_t hm_look(const uint64_t* word) noexcept nogil
    int64_t hm_dns_now() noexcept nogil

cdef enum:
    HEADER = 12
    OPT_SIZE = 11
    PLAIN_UDP = 512  # RFC 1035 section 2.3.4
    LARGEST = 65535
    QR = 0x80
    RD = 0x01
    TC = 0x02
    RA = 0x80
    TYPE_OPT = 41
    TYPE_IXFR = 251
    TYPE_AXFR = 252
    CLASS_IN = 1
    MOST_VARIANTS = 256
    FIRST_PLACES = 1024
    EXPECTED = 256  # bytes of an entry that most answers do not exceed
    # 10,000 services with all their names and types; twice that memory for answers of a hundred addresses.
    MOST_ENTRIES = 262_144
    MOST_BYTES = 64 << 20

# RFC 1035 section 4.1.1, RFC 6891 section 9.
cdef enum:
    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16

# What reading a message comes to, beside the codes above.
cdef enum:
    SILENCE = -1

cdef int C_MALFORMED = layout.DNS_MALFORMED
cdef int C_TRUNCATED = layout.DNS_TRUNCATED
cdef int C_UNCACHED = layout.DNS_UNCACHED
cdef int C_REQUESTS = layout.REQUESTS
cdef int C_TYPES = layout.DNS_TYPES
cdef int C_RCODES = layout.DNS_RCODES
cdef int C_OTHER_TYPE = layout.DNS_TYPES + len(layout.DNS_TYPE_NUMBERS)
cdef int C_OTHER_RCODE = layout.DNS_RCODES + len(layout.DNS_RCODE_NUMBERS)

# The cell of a type below 256 and of an rcode below 32.
cdef uint8_t TYPE_CELL[256]
cdef uint8_t RCODE_CELL[32]
memset(TYPE_CELL, C_OTHER_TYPE, sizeof(TYPE_CELL))
memset(RCODE_CELL, C_OTHER_RCODE, sizeof(RCODE_CELL))
for _index, _number in enumerate(layout.DNS_TYPE_NUMBERS):
    TYPE_CELL[_number] = C_TYPES + _index
for _index, _number in enumerate(layout.DNS_RCODE_NUMBERS):
    RCODE_CELL[_number] = C_RCODES + _index

cdef struct Entry:
    Entry* next  # of the same owner
    Entry** before  # what points here
    const uint64_t* epoch  # NULL: holds until it is forgotten
    uint64_t epoch_seen
    int64_t until  # milliseconds of the monotonic clock; 0: it has no end
    uint32_t size  # bytes of memory
    uint32_t wire_size  # of the first variant
    uint16_t key_size
    uint16_t variants
    uint16_t turn  # the variant whose turn it is
    Layout layout
    # Then the key; then, if there are variants, where each ends (uint32_t); then their bytes.


cdef inline uint8_t* key_of(Entry* entry) noexcept nogil:
    return <uint8_t*>entry + sizeof(Entry)


cdef inline bint is_over(const Entry* entry) noexcept nogil:
    """Whether the answer holds no more."""
    if entry.epoch != NULL and hm_look(entry.epoch) != entry.epoch_seen:
        return True
    return entry.until != 0 and hm_dns_now() >= entry.until


cdef inline int after_name(const uint8_t* message, int at, int size) noexcept nogil:
    """Past the name of a record; 0: there is none."""
    cdef int label
    while at < size:
        label = message[at]
        if label == 0:
            return at + 1
        if label >= 0xC0:
            return at + 2
        if label > 63:
            return 0
        at += label + 1
    return 0


cdef bint read_options(const uint8_t* message, int at, int end) noexcept nogil:
    """Whether the options of an OPT record have the form of options (RFC 6891 section 6.1.2)."""
    while at < end:
        if end - at < 4:
            return False
        at += 4 + (message[at + 2] << 8 | message[at + 3])
    return at == end


cdef int read_query(const uint8_t* query, int size, Question* q) noexcept nogil:
    """Understand a message: NOERROR, the code it is answered with, or SILENCE."""
    cdef int at = HEADER, label, verdict, number
    memset(q, 0, sizeof(Question))
    if size < HEADER or query[2] & QR:
        return SILENCE
    if query[2] & 0x78:
        return NOTIMP
    if query[4] != 0 or query[5] != 1:
        return FORMERR
    while True:
        if at >= size:
            return FORMERR
        label = query[at]
        if label > 63:
            return FORMERR
        at += label + 1
        if label == 0:
            break
        if at - HEADER > 254:
            return FORMERR
    if at + 4 > size:
        return FORMERR
    q.name_size = at - HEADER
    q.qtype = query[at] << 8 | query[at + 1]
    number = query[at + 2] << 8 | query[at + 3]
    at += 4
    if at < size or query[6] | query[7] | query[8] | query[9] | query[10] | query[11]:
        verdict = read_records(query, at, size, q)
        if verdict != NOERROR:
            return verdict
    if number != CLASS_IN or q.qtype == TYPE_AXFR or q.qtype == TYPE_IXFR:
        return REFUSED
    if q.qtype == TYPE_OPT:
        return FORMERR
    return NOERROR


cdef int read_records(const uint8_t* query, int at, int size, Question* q) noexcept nogil:
    """Understand what comes after the question."""
    cdef int authority = query[8] << 8 | query[9]
    cdef int left = authority + (query[10] << 8 | query[11])
    cdef int start, length
    # A transfer of changes says in its authority section what the asker has (RFC 1995).
    if query[6] | query[7] or authority and q.qtype != TYPE_IXFR:
        return FORMERR
    while left > 0:
        left -= 1
        authority -= 1
        start = at
        at = after_name(query, at, size)
        if at == 0 or at + 10 > size:
            return FORMERR
        length = query[at + 8] << 8 | query[at + 9]
        if at + 10 + length > size:
            return FORMERR
        if query[at] == 0 and query[at + 1] == TYPE_OPT:
            if q.udp_size or authority >= 0 or query[start] != 0 or not read_options(query, at + 10, at + 10 + length):
                return FORMERR
            q.udp_size = query[at + 2] << 8 | query[at + 3]
            if q.udp_size < PLAIN_UDP:
                q.udp_size = PLAIN_UDP
            q.version = query[at + 5]
            q.dnssec = query[at + 6] & 0x80
        at += 10 + length
    if at != size:
        return FORMERR
    return BADVERS if q.version else NOERROR


# Where an answer is written that is returned as bytes.
cdef uint8_t scratch[LARGEST + 1]


cdef class Owner:
    """Whose entries these are; with the word that they hang on, if there is one."""


cdef class Answers:
    """Rendered answers by question. Drivers answer `lookup`.

    `forwarding`: what `lookup` does not know is somebody else's to answer, instead of refused. `on_bug(exception)` is
    told what `lookup` raised; the question is then answered SERVFAIL.
    """

    def __cinit__(self):
        self.most_entries = MOST_ENTRIES
        self.most_bytes = MOST_BYTES
        self.owners = {}
        self.udp_limit = 1232
        random_bytes(<char*>self.seed, sizeof(self.seed))
        random_bytes(<char*>&self.state, sizeof(self.state))
        self.state |= 1
        self.seed[1] |= 1
        self.seed[3] |= 1
        self.places = <Place*>calloc(FIRST_PLACES, sizeof(Place))
        if self.places == NULL:
            raise MemoryError()
        self.mask = FIRST_PLACES - 1

    def __init__(self, size_t most_entries=MOST_ENTRIES, size_t most_bytes=MOST_BYTES):
        if most_entries < 1 or most_bytes < 1:
            raise ValueError("a table of answers needs room for one")
        self.most_entries = most_entries
        self.most_bytes = most_bytes

    def __dealloc__(self):
        cdef size_t at
        if self.places != NULL:
            for at in range(self.mask + 1):
                if self.places[at].hash:
                    free(self.places[at].entry)
            free(self.places)

    @property
    def udp_size(self):
        """The largest answer over UDP, and what is said to be taken (bytes)."""
        return self.udp_limit

    @udp_size.setter
    def udp_size(self, int size):
        if not PLAIN_UDP <= size <= LARGEST:
            raise ValueError(f"an answer over UDP may have from {PLAIN_UDP} to {LARGEST} bytes, not {size}")
        self.udp_limit = size

    def __len__(self):
        return self.entries

    cpdef lookup(self, bytes name, int qtype):
        """The answer (discovery/dns/answer.py) to a question of class IN; `name` is in wire form and small letters.
        None: the name is not ours."""
        return None

    # --- the table ----------------------------------------------------------------------------------------------

    cpdef put(self, bytes name, int qtype, answer):
        """Keep an answer, as if it had been looked up."""
        cdef uint8_t key[KEY_ROOM]
        cdef uint8_t number[2]
        cdef int key_size
        cdef uint64_t hash
        if (not 0 < octets_size(name) <= 255 or not 0 <= qtype <= 0xFFFF
                or after_name(<const uint8_t*>octets(name), 0, 255) != octets_size(name)):
            raise ValueError("a question has a name of at most 255 bytes and a type of 16 bits")
        number[0] = <uint8_t>(qtype >> 8)
        number[1] = <uint8_t>qtype
        key_size = hm_dns_key(<const uint8_t*>octets(name), <int>octets_size(name), number, key)
        hash = hm_dns_hash(key, key_size, self.seed)
        self.keep(key, key_size, hash, answer)

    cpdef int forget(self, str owner):
        """Drop all entries of this owner: how many there were. What it is watched by stays."""
        cdef Owner known = self.owners.get(owner)
        cdef Entry* entry
        cdef int count = 0
        if known is None:
            return 0
        if known.shared is None:
            del self.owners[owner]
        while known.first != NULL:
            entry = known.first
            self.drop(self.find(key_of(entry), entry.key_size,
                                hm_dns_hash(key_of(entry), entry.key_size, self.seed)) - self.places)
            count += 1
        return count

    cpdef clear(self):
        """Drop all entries."""
        for owner in list(self.owners):
            self.forget(owner)

    cpdef watch(self, str owner, Shared shared, int word=0):
        """Entries of this owner whose answers have an `epoch` hold from now on as long as that is what this word of the
        row says. None: there is no such word any more. What was kept is dropped."""
        cdef Owner known
        if not 0 <= word < layout.CELLS:
            raise IndexError(f"a row has no word {word}")
        self.forget(owner)
        self.owners.pop(owner, None)
        if shared is not None:
            known = Owner.__new__(Owner)
            known.shared = shared
            known.word = word
            self.owners[owner] = known

    cdef Place* find(self, const uint8_t* key, int key_size, uint64_t hash) noexcept:
        """Where this question is, or the free place where it would be."""
        cdef size_t at = hash & self.mask
        cdef Place* place
        while True:
            place = &self.places[at]
            if place.hash == 0:
                return place
            if (place.hash == hash and place.entry.key_size == key_size
                    and memcmp(key_of(place.entry), key, key_size) == 0):
                return place
            at = (at + 1) & self.mask

    cdef void drop(self, size_t at) noexcept:
        """Free the entry at this place, and move up those that had to go past it."""
        cdef Entry* entry = self.places[at].entry
        cdef size_t hole = at, home
        entry.before[0] = entry.next
        if entry.next != NULL:
            entry.next.before = entry.before
        self.entries -= 1
        self.size -= entry.size
        free(entry)
        while True:
            at = (at + 1) & self.mask
            if self.places[at].hash == 0:
                break
            home = self.places[at].hash & self.mask
            # It may not move in front of where its search begins.
            if ((at - home) & self.mask) >= ((at - hole) & self.mask):
                self.places[hole] = self.places[at]
                hole = at
        self.places[hole].hash = 0
        self.places[hole].entry = NULL

    cdef int grow(self) except -1:
        cdef size_t size = (self.mask + 1) * 2, at, to
        cdef Place* places = <Place*>calloc(size, sizeof(Place))
        if places == NULL:
            raise MemoryError()
        for at in range(self.mask + 1):
            if self.places[at].hash:
                to = self.places[at].hash & (size - 1)
                while places[to].hash:
                    to = (to + 1) & (size - 1)
                places[to] = self.places[at]
        free(self.places)
        self.places = places
        self.mask = size - 1
        return 0

    cdef Entry* keep(self, const uint8_t* key, int key_size, uint64_t hash, answer) except? NULL:
        """Put an answer into the table. NULL: it is too large for that."""
        cdef tuple variants = answer.variants or (answer.wire,)
        cdef bytes wire
        cdef Layout parts = layout_of(answer, variants)
        cdef int64_t until = answer.until
        cdef bint is_tied = answer.epoch is not None
        cdef uint64_t epoch = answer.epoch if is_tied else 0
        cdef size_t size
        cdef uint32_t end = 0
        cdef uint32_t* ends
        cdef uint8_t* at
        cdef Entry* entry
        cdef Place* place
        cdef Owner owner
        if len(variants) > MOST_VARIANTS:
            raise ValueError(f"an answer has {len(variants)} variants, expected at most {MOST_VARIANTS}")
        size = sizeof(Entry) + key_size
        if len(variants) > 1:
            size += len(variants) * sizeof(uint32_t)
        for wire in variants:
            check_wire(wire, key)
            size += octets_size(wire)
        place = self.find(key, key_size, hash)
        if place.hash:
            self.drop(place - self.places)
        while self.entries and (self.entries >= self.most_entries or self.size + size > self.most_bytes):
            self.make_room()
        if size > self.most_bytes:
            return NULL
        if (self.entries + 1) * 2 > self.mask + 1:
            self.grow()
        entry = <Entry*>malloc(size)
        if entry == NULL:
            raise MemoryError()
        memset(entry, 0, sizeof(Entry))
        entry.size = <uint32_t>size
        entry.key_size = <uint16_t>key_size
        entry.variants = <uint16_t>len(variants)
        entry.turn = <uint16_t>hm_draw(&self.state, entry.variants)
        entry.layout = parts
        at = key_of(entry)
        memcpy(at, key, key_size)
        at += key_size
        if entry.variants > 1:
            ends = <uint32_t*>at
            at += entry.variants * sizeof(uint32_t)
            for index, wire in enumerate(variants):
                end += <uint32_t>octets_size(wire)
                ends[<int>index] = end
        for wire in variants:
            memcpy(at, octets(wire), octets_size(wire))
            at += octets_size(wire)
        wire = variants[0]
        entry.wire_size = <uint32_t>octets_size(wire)
        owner = self.owners.get(answer.owner)
        if owner is None:
            owner = Owner.__new__(Owner)
            self.owners[answer.owner] = owner
        if owner.shared is not None and is_tied:
            entry.epoch = owner.shared.words + owner.word
            entry.epoch_seen = epoch
        entry.until = until
        entry.next = owner.first
        entry.before = &owner.first
        if entry.next != NULL:
            entry.next.before = &entry.next
        owner.first = entry
        place = self.find(key, key_size, hash)
        place.hash = hash
        place.entry = entry
        self.entries += 1
        self.size += size
        return entry

    cdef void make_room(self) noexcept:
        """Drop some entry, without preference. There is one."""
        cdef size_t at
        at = ((<size_t>hm_draw(&self.state, 0xFFFF) << 16) | hm_draw(&self.state, 0xFFFF)) & self.mask
        while self.places[at].hash == 0:
            at = (at + 1) & self.mask
        self.drop(at)

    # --- a question ---------------------------------------------------------------------------------------------

    # In three steps, so that a batch of messages waits for memory once and not one after the other: where answers are
    # kept is more than fits into the caches next to the processor.

    cdef void prepare(self, const uint8_t* query, int size, Plan* plan) noexcept:
        """Understand a message, and have the place fetched where its answer would be."""
        cdef Question* q = &plan.question
        plan.hash = 0
        plan.verdict = read_query(query, size, q)
        if plan.verdict == NOERROR:
            plan.key_size = hm_dns_key(query + HEADER, q.name_size, query + HEADER + q.name_size, plan.key)
            plan.hash = hm_dns_hash(plan.key, plan.key_size, self.seed)
            hm_prefetch(&self.places[plan.hash & self.mask], sizeof(Place))

    cdef void expect(self, const Plan* plan) noexcept:
        """Have the answer fetched."""
        cdef Place* place
        if plan.hash:
            place = &self.places[plan.hash & self.mask]
            if place.hash == plan.hash:
                hm_prefetch(place.entry, EXPECTED)

    cdef int respond(self, const uint8_t* query, const Plan* plan, uint8_t* out, int most, uint64_t* cells) except -2:
        """Answer a message: the bytes written to `out`, which has room for `most` and for 300 at least; 0: nothing is
        to be said; FORWARD: somebody else must be asked. `most` 0: over UDP. What was understood is in `question`."""
        cdef Question* q = &self.question
        cdef Place* place
        cdef int written
        q[0] = plan.question
        if plan.verdict != NOERROR:
            return self.reject(query, plan.verdict, out, cells)
        cells[C_REQUESTS] += 1
        cells[TYPE_CELL[q.qtype] if q.qtype < 256 else C_OTHER_TYPE] += 1
        if most == 0:
            most = self.udp_room()
        place = self.find(plan.key, plan.key_size, plan.hash)
        if place.hash and is_over(place.entry):
            self.drop(place - self.places)
            place = self.find(plan.key, plan.key_size, plan.hash)
        if place.hash:
            written = self.compose_entry(query, place.entry, out, most)
        else:
            cells[C_UNCACHED] += 1
            written = self.miss(query, plan, out, most)
            if written == FORWARD:
                return FORWARD
        if out[2] & TC:
            cells[C_TRUNCATED] += 1
        cells[RCODE_CELL[out[3] & 15]] += 1
        return written

    cdef int udp_room(self) noexcept:
        """The largest answer over UDP to the question."""
        cdef int most = self.question.udp_size if self.question.udp_size else PLAIN_UDP
        return most if most < self.udp_limit else self.udp_limit

    cdef int reject(self, const uint8_t* query, int verdict, uint8_t* out, uint64_t* cells) noexcept:
        cdef Question* q = &self.question
        if verdict == SILENCE:
            cells[C_MALFORMED] += 1
            return 0
        if verdict == FORMERR:
            cells[C_MALFORMED] += 1
            q.name_size = 0
            q.udp_size = 0
        cells[C_REQUESTS] += 1
        cells[TYPE_CELL[q.qtype] if q.name_size and q.qtype < 256 else C_OTHER_TYPE] += 1
        cells[RCODE_CELL[verdict]] += 1
        return self.error(query, verdict, out)

    cdef int error(self, const uint8_t* query, int rcode, uint8_t* out) noexcept:
        """Write an answer without records. The question is repeated if it could be read."""
        memset(out, 0, HEADER)
        out[0] = query[0]
        out[1] = query[1]
        out[2] = QR | query[2] & (0x78 | RD)
        out[3] = <uint8_t>(rcode & 15) | (RA if self.forwarding else 0)
        return self.shorten(query, out, rcode >> 4)

    cdef int shorten(self, const uint8_t* query, uint8_t* out, int extended=0) noexcept:
        """Have the answer in `out` consist of its header, the question, and EDNS. `extended`: bits of the code that
        stand in EDNS."""
        cdef Question* q = &self.question
        cdef int size = HEADER
        memset(out + 4, 0, 8)
        if q.name_size:
            out[5] = 1
            memcpy(out + HEADER, query + HEADER, q.name_size + 4)
            size += q.name_size + 4
        if q.udp_size:
            out[11] = 1
            size = self.add_edns(out, size, extended)
        return size

    cdef int add_edns(self, uint8_t* out, int size, int extended) noexcept:
        cdef uint8_t* opt = out + size
        memset(opt, 0, OPT_SIZE)
        opt[2] = TYPE_OPT
        opt[3] = <uint8_t>(self.udp_limit >> 8)
        opt[4] = <uint8_t>self.udp_limit
        opt[5] = <uint8_t>extended
        opt[7] = self.question.dnssec
        return size + OPT_SIZE

    cdef int compose_entry(self, const uint8_t* query, Entry* entry, uint8_t* out, int most) noexcept:
        cdef uint8_t* wires = key_of(entry) + entry.key_size
        cdef uint32_t* ends
        cdef uint32_t begin = 0, turn
        if entry.variants == 1:
            return self.compose(query, wires, <int>entry.wire_size, &entry.layout, out, most)
        ends = <uint32_t*>wires
        wires += entry.variants * sizeof(uint32_t)
        turn = entry.turn
        entry.turn = <uint16_t>(turn + 1 if turn + 1 < entry.variants else 0)
        if turn:
            begin = ends[turn - 1]
        return self.compose(query, wires + begin, <int>(ends[turn] - begin), &entry.layout, out, most)

    cdef int compose(self, const uint8_t* query, const uint8_t* wire, int size, const Layout* parts, uint8_t* out,
                     int most) noexcept:
        """Fit a rendered answer to who asks."""
        cdef Question* q = &self.question
        cdef int turned, end, records
        if q.udp_size:
            most -= OPT_SIZE
        if size > most and parts.additional and parts.additional <= most:
            # Addresses that were not asked for (RFC 2181 section 9): who needs them can ask.
            size = parts.additional
        if size > most:
            memcpy(out, wire, 4)
            out[2] |= TC
            size = self.shorten(query, out, 0)
        else:
            if parts.records > 1:
                turned = parts.size * <int>hm_draw(&self.state, <uint32_t>parts.records)
                end = parts.start + parts.size * parts.records
                memcpy(out, wire, parts.start)
                memcpy(out + parts.start, wire + parts.start + turned, end - parts.start - turned)
                memcpy(out + end - turned, wire + parts.start, turned)
                memcpy(out + end, wire + end, size - end)
            else:
                memcpy(out, wire, size)
            memcpy(out + HEADER, query + HEADER, q.name_size)
            if size == parts.additional:
                out[10] = out[11] = 0
            if q.udp_size:
                records = (out[10] << 8 | out[11]) + 1
                out[10] = <uint8_t>(records >> 8)
                out[11] = <uint8_t>records
                size = self.add_edns(out, size, 0)
        out[0] = query[0]
        out[1] = query[1]
        out[2] |= query[2] & RD
        if self.forwarding:
            out[3] |= RA
        return size

    cdef int miss(self, const uint8_t* query, const Plan* plan, uint8_t* out, int most) except -2:
        cdef const Question* q = &plan.question
        cdef Entry* entry
        cdef bytes wire
        cdef tuple variants
        cdef Layout parts
        try:
            answer = self.lookup(PyBytes_FromStringAndSize(<const char*>plan.key, q.name_size), q.qtype)
            if answer is None:
                return FORWARD if self.forwarding else self.error(query, REFUSED, out)
            if answer.cacheable and q.qtype < 256 and TYPE_CELL[q.qtype] != C_OTHER_TYPE:
                entry = self.keep(plan.key, plan.key_size, plan.hash, answer)
                if entry != NULL:
                    return self.compose_entry(query, entry, out, most)
            variants = answer.variants or (answer.wire,)
            parts = layout_of(answer, variants)
            wire = variants[<int>hm_draw(&self.state, <uint32_t>len(variants))]
            check_wire(wire, plan.key)
            return self.compose(query, <const uint8_t*>octets(wire), <int>octets_size(wire), &parts, out,
                                most)
        except Exception as bug:
            if self.on_bug is None:
                raise
            self.on_bug(bug)
            return self.error(query, SERVFAIL, out)

    cpdef bytes answer(self, bytes query, Slot row, bint stream=False):
        """Answer one message, counted in `row`: over TCP if `stream`, else over UDP. b"": nothing is to be said; None:
        somebody else must be asked."""
        cdef Plan plan
        cdef const uint8_t* message = <const uint8_t*>octets(query)
        cdef int size
        self.prepare(message, <int>min(octets_size(query), LARGEST), &plan)
        size = self.respond(message, &plan, scratch, LARGEST if stream else 0, row.cells)
        return None if size == FORWARD else PyBytes_FromStringAndSize(<char*>scratch, size)


    cpdef bytes finish(self, bytes query, bytes message, Slot row, bint stream=False):
        """What somebody else has answered to `query` (a message with its id and question, without EDNS), fitted to who
        asked, and counted in `row`."""
        cdef const uint8_t* asked = <const uint8_t*>octets(query)
        cdef const uint8_t* wire = <const uint8_t*>octets(message)
        cdef int size = <int>octets_size(message)
        cdef int records
        if read_query(asked, <int>octets_size(query), &self.question) != NOERROR or not HEADER <= size <= LARGEST:
            raise ValueError(f"not an answer to a question: {message[:64]!r}")
        if size + (OPT_SIZE if self.question.udp_size else 0) > (LARGEST if stream else self.udp_room()):
            memcpy(scratch, wire, 4)
            scratch[2] |= TC
            size = self.shorten(asked, scratch, 0)
        else:
            memcpy(scratch, wire, size)
            if self.question.udp_size:
                records = (scratch[10] << 8 | scratch[11]) + 1
                scratch[10] = <uint8_t>(records >> 8)
                scratch[11] = <uint8_t>records
                size = self.add_edns(scratch, size, 0)
        if scratch[2] & TC:
            row.cells[C_TRUNCATED] += 1
        row.cells[RCODE_CELL[scratch[3] & 15]] += 1
        return PyBytes_FromStringAndSize(<char*>scratch, size)


cdef Layout layout_of(answer, tuple variants) except *:
    """Which parts of an answer may be moved or left out."""
    cdef Layout parts
    cdef bytes wire
    parts.start, parts.size, parts.records = answer.rotation
    parts.additional = answer.additional
    if not 0 <= parts.start <= LARGEST or not 0 <= parts.size <= LARGEST or not 0 <= parts.records <= LARGEST:
        raise ValueError(f"not records to rotate: {answer.rotation}")
    for wire in variants:
        if parts.start + parts.size * parts.records > octets_size(wire) or parts.additional > octets_size(wire):
            raise ValueError(f"an answer of {len(wire)} bytes does not have {answer.rotation} and {answer.additional}")
        if parts.records and parts.start < HEADER or parts.additional and not (
                parts.start + parts.size * parts.records <= parts.additional >= HEADER):
            raise ValueError(f"parts of an answer overlap: {answer.rotation} and {answer.additional}")
    return parts


cdef int check_wire(bytes wire, const uint8_t* key) except -1:
    """A rendered answer repeats its question in small letters, and fits into a message."""
    cdef const uint8_t* at = <const uint8_t*>octets(wire)
    cdef Py_ssize_t size = octets_size(wire)
    cdef int name_size = after_name(key, 0, KEY_ROOM)
    if (size < HEADER + name_size + 4 or size > LARGEST or at[2] & TC
            or memcmp(at + HEADER, key, name_size + 2) != 0):
        raise ValueError(f"not an answer to its question: {wire[:64]!r}")
    return 0
