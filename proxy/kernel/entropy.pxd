cdef int random_bytes(char* out, int count) except -1
cdef int put_hex_bytes(char* out, const unsigned char* source, int count) noexcept
cpdef bytes new_request_id()
cpdef bytes random_hex(int count)
cpdef double random_unit() except -1.0
