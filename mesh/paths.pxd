cimport cython


cdef bytes ROOT, ASTERISK, HEX
cdef int SLASH, DOT, PERCENT, BACKSLASH, QUESTION, HASH, FIRST_VISIBLE, LAST_VISIBLE

@cython.locals(size=Py_ssize_t, byte=int, previous=int)
cpdef bint is_plain(bytes path) except -1

cpdef bytes normalise(bytes path, object escapes, bint merge_slashes)

@cython.locals(prefix=bytes, rest=bytes)
cpdef bytes replace_prefix(bytes path, bytes matched_prefix, bytes replacement)

@cython.locals(size=Py_ssize_t, at=Py_ssize_t, byte=int, high=int, low=int)
cdef bytes _decode(bytes path, object escapes)

cdef int _escape(bytearray decoded, int byte) except -1

cdef int _hex_value(int digit) except -2
