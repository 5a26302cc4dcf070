cimport cython
from libc.stdint cimport int64_t, uint64_t


# Constants that others import are Python's.
cdef int64_t MOST_TIMES, MOST_COUNT
cdef int TIMES_SHIFT, COUNT_SHIFT, TIME_SHIFT


cpdef uint64_t pack(uint64_t state, uint64_t outlier, int64_t times, int64_t count, uint64_t time_ms) except? 0
cpdef int64_t times_of(uint64_t word) except? -1
cpdef int64_t count_of(uint64_t word) except? -1
cpdef int state_of(uint64_t word, int64_t now_ms) except -1
cpdef int64_t until_of(uint64_t word) except? -1
cpdef int64_t probes_left(uint64_t word, object policy) except? -1
cpdef int64_t half_open_limit(object policy) except? -1
@cython.locals(state=int)
cpdef int standing(uint64_t word, int64_t under_way, object policy) except -1
@cython.locals(state=int, times=int64_t, count=int64_t, time_ms=int64_t, made_up=int64_t, worked=int64_t)
cpdef uint64_t next_word(uint64_t word, int event, int64_t now_ms, object policy, double draw) except? 0
@cython.locals(times=int64_t, threshold=int64_t, count=int64_t)
cdef uint64_t _error(uint64_t word, int64_t now_ms, object policy, double draw) except? 0
@cython.locals(longest=double, seconds=double)
cdef uint64_t _open(uint64_t word, uint64_t outlier, int64_t times, int64_t now_ms, object policy, double draw) except? 0
@cython.locals(times=int64_t, since=int64_t, clean=int64_t)
cdef int64_t _decayed(uint64_t word, int64_t now_ms, object policy) except? -1
cdef int64_t _interval(object policy) except? -1
