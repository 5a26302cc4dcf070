"""Rate limits by key, exact over all workers: buckets of mesh/gcra.py in the shared memory of the statistics table.

The block is a set-associative table, as a processor's cache is one. An entry is two words: the tag, which is a keyed
hash of whose bucket it is, and the theoretical arrival time. A set is 8 entries, two cache lines; the tag says which
set a bucket may be in. A bucket that has no entry takes a free one of its set, or else that of the bucket which has
been idle for longest, the one with the earliest arrival time. If that time is over, the bucket was full again and
forgetting it changes nothing; otherwise whoever it belonged to gets a full bucket early. So too many keys err in favour
of the clients, and nothing grows.

Words are changed by compare-and-swap only, so a bucket is never taken from twice for one token. Entries change hands
without a lock. What that can cost, each time for one bucket and in a window of some nanoseconds:

 - Two workers that meet a new key at the same moment may each make an entry. Both look again afterwards, and the entry
   that comes first in the set stays, with the later arrival time of the two.
 - A worker that has found an entry just before it changes hands may take its token from the new owner's bucket.
 - Until an entry that changes hands is set back, its new owner can be measured by the time of the old one.

Hashes are SipHash-2-4 (Aumasson, Bernstein 2012) with a secret that whoever came first drew: nobody can choose keys
that fall into one set. Times are nanoseconds of the monotonic clock, which all processes of a machine share.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

import os

from proxy.kernel.cells cimport Shared, Table
from proxy.kernel.octets cimport octets, octets_size
from proxy.stats.slots import WORKER_SLOT
from proxy.stats.words import LIMIT_SECRET

cdef extern from *:
    """
    static inline uint64_t hm_limit_load(uint64_t* word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
    static inline int hm_limit_swap(uint64_t* word, uint64_t expected, uint64_t wanted) {
        return __atomic_compare_exchange_n(word, &expected, wanted, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    """
    uint64_t hm_limit_load(uint64_t*) noexcept nogil
    int hm_limit_swap(uint64_t*, uint64_t, uint64_t) noexcept nogil

cdef enum:
    C_WAYS = 8
    C_ENTRY = 2  # words
    C_SET = 16  # words
    C_ROW = 64  # words of a row of the table
    C_TRIES = 16  # a set whose entries others take again and again; then the request goes free

WAYS = C_WAYS


cdef inline uint64_t rotated(uint64_t word, int by) noexcept nogil:
    return (word << by) | (word >> (64 - by))


cdef struct State:
    uint64_t a
    uint64_t b
    uint64_t c
    uint64_t d


cdef inline void rounds(State* s, int count) noexcept nogil:
    cdef int _
    for _ in range(count):
        s.a += s.b
        s.c += s.d
        s.b = rotated(s.b, 13) ^ s.a
        s.d = rotated(s.d, 16) ^ s.c
        s.a = rotated(s.a, 32)
        s.c += s.b
        s.a += s.d
        s.b = rotated(s.b, 17) ^ s.c
        s.d = rotated(s.d, 21) ^ s.a
        s.c = rotated(s.c, 32)


cdef inline void absorb(State* s, uint64_t word) noexcept nogil:
    s.d ^= word
    rounds(s, 2)
    s.a ^= word


cdef uint64_t siphash(
    uint64_t first, uint64_t second, uint64_t scope, const char* data, Py_ssize_t size
) noexcept nogil:
    """SipHash-2-4 of the eight bytes of `scope` (little endian) and `data`."""
    cdef State s
    cdef uint64_t word
    cdef Py_ssize_t at = 0
    s.a = first ^ <uint64_t>0x736f6d6570736575
    s.b = second ^ <uint64_t>0x646f72616e646f6d
    s.c = first ^ <uint64_t>0x6c7967656e657261
    s.d = second ^ <uint64_t>0x7465646279746573
    absorb(&s, scope)
    while at + 8 <= size:
        memcpy(&word, data + at, 8)
        absorb(&s, word)
        at += 8
    word = <uint64_t>((size + 8) & 0xFF) << 56
    memcpy(&word, data + at, size - at)
    absorb(&s, word)
    s.c ^= 0xFF
    rounds(&s, 4)
    return s.a ^ s.b ^ s.c ^ s.d


cdef uint64_t secret(Shared shared, int word) except? 0:
    """The number that everybody finds in this word; whoever comes first draws it."""
    cdef uint64_t drawn
    if shared.load(word) == 0:
        drawn = int.from_bytes(os.urandom(8), "little") | 1
        shared.swap(word, 0, drawn)
    return shared.load(word)


cdef class KeyedLimits:
    """The buckets of a table; any number of these may stand for the same ones, in any process."""

    def __init__(self, Table table):
        cdef Shared shared = table.shared(WORKER_SLOT)
        self.table = table  # the mapping lives as long
        self.words = table.keyed()
        self.sets = <uint64_t>table.slots * C_ROW // C_SET
        self.first_secret = secret(shared, LIMIT_SECRET)
        self.second_secret = secret(shared, LIMIT_SECRET + 1)

    cpdef uint64_t digest(self, uint64_t scope, bytes key):
        """Whose bucket it is: `key` within `scope`, the number of a row."""
        return siphash(self.first_secret, self.second_secret, scope, octets(key), octets_size(key))

    cpdef int64_t take(self, uint64_t digest, int64_t interval, int64_t tolerance, int64_t now) except? -1:
        """One event at `now`: 0 when there is one, else how long until there will be. `interval`: between two events;
        `tolerance`: the interval times how many more may come at once. The sum of all is below 2**63."""
        cdef uint64_t tag = digest if digest != 0 else 1
        cdef uint64_t* entry
        cdef uint64_t seen, due
        cdef int tries
        for tries in range(C_TRIES):
            entry = self.entry(tag)
            while entry != NULL:
                seen = hm_limit_load(entry + 1)
                if hm_limit_load(entry) != tag:
                    break
                due = seen if seen > <uint64_t>now else <uint64_t>now
                if due - <uint64_t>now > <uint64_t>tolerance:
                    return <int64_t>(due - <uint64_t>now - <uint64_t>tolerance)
                if hm_limit_swap(entry + 1, seen, due + <uint64_t>interval):
                    return 0
        return 0

    cpdef uint64_t look(self, uint64_t digest):
        """The theoretical arrival time of this bucket, 0 when it is full: nothing is taken and no entry made."""
        cdef uint64_t tag = digest if digest != 0 else 1
        cdef uint64_t* first = self.words + (tag % self.sets) * C_SET
        cdef uint64_t due
        cdef int way
        for way in range(C_WAYS):
            if hm_limit_load(first + way * C_ENTRY) == tag:
                due = hm_limit_load(first + way * C_ENTRY + 1)
                return due if hm_limit_load(first + way * C_ENTRY) == tag else 0
        return 0

    cdef uint64_t* entry(self, uint64_t tag) noexcept:
        """The entry with this tag, made if there is none. NULL: somebody was faster; look again."""
        cdef uint64_t* first = self.words + (tag % self.sets) * C_SET
        cdef uint64_t* at
        cdef uint64_t* victim = NULL
        cdef uint64_t seen, due, victim_tag = 0, victim_due = 0
        cdef int way
        for way in range(C_WAYS):
            at = first + way * C_ENTRY
            seen = hm_limit_load(at)
            if seen == tag:
                return at
            due = hm_limit_load(at + 1) if seen != 0 else 0
            if victim == NULL or due < victim_due or (victim_tag != 0 and seen == 0):
                victim, victim_tag, victim_due = at, seen, due
        if not hm_limit_swap(victim, victim_tag, tag):
            return NULL
        due = hm_limit_load(victim + 1)
        if due != 0:
            hm_limit_swap(victim + 1, due, 0)
        for way in range(C_WAYS):
            at = first + way * C_ENTRY
            if at == victim or hm_limit_load(at) != tag:
                continue
            if at < victim:
                hm_limit_swap(victim, tag, 0)
                return at
            due = hm_limit_load(at + 1)
            seen = hm_limit_load(victim + 1)
            if due > seen:
                hm_limit_swap(victim + 1, seen, due)
            hm_limit_swap(at, tag, 0)
        return victim
