from libc.stdint cimport uint8_t, uint16_t, uint64_t

from proxy.kernel.cells cimport Shared, Slot


cdef enum:
    FORWARD = -1


cdef struct Question:
    int name_size  # bytes of the name in wire form; 0 while it could not be read
    uint16_t qtype
    uint16_t udp_size  # that the asker takes; 0 without EDNS
    uint8_t version
    uint8_t dnssec  # the bit DO


cdef enum:
    KEY_ROOM = 264  # a name of 255, a type, zeros to a multiple of 8


# A message that was understood.
cdef struct Plan:
    Question question
    int verdict
    int key_size
    uint64_t hash  # 0: there is nothing to look up
    uint8_t key[KEY_ROOM]


cdef struct Layout:
    int start  # of the records that rotate
    int size  # of each
    int records
    int additional  # where that section begins, which is left out rather than anything else; 0: there is none


cdef struct Entry


cdef struct Place:
    uint64_t hash  # 0: free
    Entry* entry


cdef class Owner:
    cdef Entry* first
    cdef Shared shared
    cdef int word


cdef class Answers:
    cdef Place* places
    cdef size_t mask
    cdef readonly size_t entries
    cdef readonly size_t size  # bytes of all entries
    cdef readonly size_t most_entries
    cdef readonly size_t most_bytes
    cdef dict owners
    cdef uint64_t seed[4]
    cdef uint64_t state
    cdef int udp_limit
    cdef public bint forwarding
    cdef public object on_bug
    cdef Question question  # the one answered last
    cpdef lookup(self, bytes name, int qtype)
    cpdef put(self, bytes name, int qtype, answer)
    cpdef int forget(self, str owner)
    cpdef clear(self)
    cpdef watch(self, str owner, Shared shared, int word=*)
    cpdef bytes answer(self, bytes query, Slot row, bint stream=*)
    cpdef bytes finish(self, bytes query, bytes message, Slot row, bint stream=*)
    cdef void prepare(self, const uint8_t* query, int size, Plan* plan) noexcept
    cdef void expect(self, const Plan* plan) noexcept
    cdef int respond(self, const uint8_t* query, const Plan* plan, uint8_t* out, int most, uint64_t* cells) except -2
    cdef int udp_room(self) noexcept
    cdef int reject(self, const uint8_t* query, int verdict, uint8_t* out, uint64_t* cells) noexcept
    cdef int error(self, const uint8_t* query, int rcode, uint8_t* out) noexcept
    cdef int shorten(self, const uint8_t* query, uint8_t* out, int extended=*) noexcept
    cdef int add_edns(self, uint8_t* out, int size, int extended) noexcept
    cdef int compose_entry(self, const uint8_t* query, Entry* entry, uint8_t* out, int most) noexcept
    cdef int compose(self, const uint8_t* query, const uint8_t* wire, int size, const Layout* parts, uint8_t* out,
                     int most) noexcept
    cdef int miss(self, const uint8_t* query, const Plan* plan, uint8_t* out, int most) except -2
    cdef Entry* keep(self, const uint8_t* key, int key_size, uint64_t hash, answer) except? NULL
    cdef Place* find(self, const uint8_t* key, int key_size, uint64_t hash) noexcept
    cdef void drop(self, size_t at) noexcept
    cdef void make_room(self) noexcept
    cdef int grow(self) except -1
