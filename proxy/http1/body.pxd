cimport cython
from libc.stdint cimport int64_t

from proxy.kernel.buffer cimport Buffer
from proxy.kernel.scan cimport ChunkLine, Head, HeadLimits, scan_chunk_line, scan_trailers

cdef int CHUNKED, DATA, DONE, FAILED, LENGTH, NEED, NO_BODY
cdef int IN_SIZE, IN_DATA, IN_DATA_END, IN_TRAILERS, AT_END, BAD_CHUNK


@cython.final
cdef class BodyReader:
    cdef public int framing
    cdef public int64_t left
    cdef int state
    cdef public Py_ssize_t at
    cdef public Py_ssize_t count
    cdef public int64_t total
    cdef public int error
    cdef public Head trailers
    cdef ChunkLine line
    cdef HeadLimits trailer_limits
    cdef Py_ssize_t extension_limit
    cpdef begin(self, int framing, int64_t length)
    @cython.locals(taken=Py_ssize_t)
    cpdef int next(self, Buffer buffer) except -1
    @cython.locals(live=Py_ssize_t)
    cdef int take(self, Buffer buffer) except -1
    @cython.locals(taken=Py_ssize_t)
    cdef int next_chunked(self, Buffer buffer) except -1
    cpdef bint is_done(self)
