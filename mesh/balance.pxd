cimport cython
from libc.stdint cimport int64_t, uint64_t

from mesh.draws cimport Draws
from mesh.hashing cimport hash_bytes
from mesh.request cimport RequestView




cdef class Changes:
    cdef public list notes
    cdef public int64_t count
    cpdef note(self, Candidate candidate)


cdef class Candidate:
    cdef public object endpoint
    cdef public bint usable
    cdef public bint full
    cdef public long weight
    cdef public bint backup
    cdef public Changes changes
    cdef public uint64_t identity
    cdef public int64_t recovered
    cdef public bint measured
    cdef public double rtt
    cdef public int64_t rtt_at
    cdef public double decay_us
    cpdef bint is_ejected(self, int64_t now_ms) except -1
    cpdef bint is_draining(self) except -1
    cpdef int64_t load(self) except -1
    cpdef int64_t recovered_ms(self) except -1
    @cython.locals(seen=double, kept=double)
    cpdef observe(self, int64_t elapsed_us, int64_t penalty_us, int64_t now_us)
    cpdef int level(self) except -1


cdef class Terms:
    cdef public Draws draws
    cdef public Py_ssize_t start
    cdef public bint panic
    cdef public int64_t slow_start_ms
    cdef public double rise
    cdef public double least
    @cython.locals(since=int64_t, elapsed=int64_t)
    cpdef double warmth(self, Candidate candidate, int64_t now_ms) except -1


cdef class Group:
    cdef public list members
    cdef public Terms terms
    cpdef Candidate pick(self, RequestView request, list tried, int64_t now)
    cdef bint fits(self, Candidate candidate, list tried, int64_t now_ms) except -1
    @cython.locals(each=Candidate, fitting=list)
    cpdef list best(self, list tried, int64_t now_ms)
    cpdef object remember(self)
    cpdef put_back(self, object memory)
    @cython.locals(candidate=Candidate)
    cpdef exchange(self, object gone, object new)
    @cython.locals(members=list, index=Py_ssize_t)
    cpdef take_out(self, Candidate candidate)
    cpdef left(self, Py_ssize_t index)
    cpdef replace(self, list members)
    cpdef changed(self)


cdef class Level:
    cdef public int number
    cdef public Group all
    cdef public Group near
    cdef public double usable_near
    cdef public double usable


cdef class Balancer:
    cdef public object balancing
    cdef public Terms terms
    cdef public object make_group
    cdef public bint measures
    cdef public str zone
    cdef public double panic_below
    cdef public bint panicked
    cdef public list candidates
    cdef public list levels
    cdef public dict places
    cdef public Group plain
    cdef public Group used
    cdef public Changes changes
    cdef public int64_t seen
    cdef public int64_t shares_at
    @cython.locals(plain=Group, found=Candidate)
    cpdef Candidate pick(self, RequestView request, list tried, int64_t now)
    @cython.locals(terms=Terms, level=Level, group=Group, found=Candidate)
    cdef Candidate pick_level(self, RequestView request, list tried, int64_t now)
    cdef Group group_of(self, Level level)
    @cython.locals(level=Level)
    cdef bint is_panic(self) except -1
    @cython.locals(level=Level)
    cdef take_shares(self, int64_t now)
    @cython.locals(candidate=Candidate)
    cpdef bint has_usable(self, list tried, int64_t now_ms) except -1
    @cython.locals(level=Level, group=Group, each=Candidate, found=list)
    cpdef list awaited(self, list tried, int64_t now_ms)
    cpdef exchange(self, object gone, object new)


@cython.locals(wanting=Py_ssize_t, usable=Py_ssize_t, candidate=Candidate)
cdef double usable_share(list candidates, int64_t now_ms) except -1
