cimport cython
from libc.stdint cimport int64_t, uint64_t

from proxy.kernel.buffer cimport Buffer
from proxy.kernel.scan cimport Head


@cython.final
cdef class FieldEdits:
    cdef readonly tuple drop
    cdef readonly bytes append
    cdef uint64_t drops_ours
    cdef bint drops(self, const char* name, Py_ssize_t size) except -1


@cython.final
cdef class ForwardAs:
    cdef public bytes peer
    cdef public bytes scheme
    cdef public bytes host
    cdef public bytes port
    cdef public bint trusted
    cdef public bytes request_id
    cdef public bytes traceparent
    cdef public bint keep_tracestate
    cdef public bytes via
    cdef public int64_t deadline


cpdef write_request_head(
    Buffer out, Head head, bytes target, bytes host, ForwardAs forward, FieldEdits edits, bint upgrade)
cpdef write_response_head(
    Buffer out, Head head, FieldEdits edits, int framing, bytes connection, bint upgrade, bytes lines=*)
cpdef bytes continue_trace(bytes traceparent)
cpdef write_chunk(Buffer out, Buffer source, Py_ssize_t start, Py_ssize_t count)
cpdef write_fields(Buffer out, list pairs)
cpdef write_trailers(Buffer out, Head head, FieldEdits edits)
