"""Random bytes for request ids, trace ids and weighted draws, bought from the kernel a page at a time.

One getrandom call serves about a hundred requests; the standard library's uuid4 alone would cost more than the whole
budget of a request. Bytes are used once and overwritten when the page is refilled. Not fork-safe, and nothing forks.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from proxy.kernel.octets cimport octets

cdef extern from "sys/random.h":
    ssize_t getrandom(void*, size_t, unsigned int) nogil

cdef enum:
    PAGE = 4096

cdef char page[PAGE]
cdef int used = PAGE
cdef const char* HEX = b"0123456789abcdef"


cdef int random_bytes(char* out, int count) except -1:
    """Write `count` (at most 64) random bytes to `out`."""
    global used
    if used + count > PAGE:
        if getrandom(page, PAGE, 0) != PAGE:
            raise OSError("getrandom gave no bytes")
        used = 0
    memcpy(out, page + used, count)
    used += count
    return 0


cdef int put_hex_bytes(char* out, const unsigned char* source, int count) noexcept:
    cdef int index
    for index in range(count):
        out[2 * index] = HEX[source[index] >> 4]
        out[2 * index + 1] = HEX[source[index] & 15]
    return 0


cpdef bytes new_request_id():
    """A version 4 UUID (RFC 9562 section 5.4) as 36 characters of text."""
    cdef char raw[16]
    cdef char text[32]
    cdef char* out
    random_bytes(raw, 16)
    raw[6] = (raw[6] & 0x0F) | 0x40
    raw[8] = <char>((raw[8] & 0x3F) | 0x80)
    put_hex_bytes(text, <unsigned char*>raw, 16)
    result = PyBytes_FromStringAndSize(NULL, 36)
    out = octets(result)
    memcpy(out, text, 8)
    memcpy(out + 9, text + 8, 4)
    memcpy(out + 14, text + 12, 4)
    memcpy(out + 19, text + 16, 4)
    memcpy(out + 24, text + 20, 12)
    out[8] = out[13] = out[18] = out[23] = b"-"
    return result


cpdef bytes random_hex(int count):
    """`count` (at most 64) random bytes as 2 x `count` lower-case hexadecimal digits."""
    cdef char raw[64]
    if not 0 < count <= 64:
        raise ValueError(f"1 to 64 random bytes at a time, not {count}")
    random_bytes(raw, count)
    result = PyBytes_FromStringAndSize(NULL, 2 * count)
    put_hex_bytes(octets(result), <unsigned char*>raw, count)
    return result


cpdef double random_unit() except -1.0:
    """A uniform number in [0, 1)."""
    cdef uint64_t raw
    random_bytes(<char*>&raw, 8)
    return (raw >> 11) * (1.0 / 9007199254740992.0)
