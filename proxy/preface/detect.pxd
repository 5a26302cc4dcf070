cpdef object detect(bytes data)
cdef object _as_far(bytes data, tuple beginnings, object kind)
