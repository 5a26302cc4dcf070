"""A growable run of bytes: what was received and not yet understood, or written and not yet sent.

`start` and `end` bound the live bytes inside an allocation of `size`. Indexes given to and returned by methods are
absolute in the allocation, so they stay valid until the buffer grows, is consumed to empty, or is compacted by
`reserve`. Bounds are checked here; nothing else of ours touches the pointer but kernels.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

from proxy.kernel.octets cimport octets, octets_size

cdef extern from "buffer.h":
    void* memmem(const void*, size_t, const void*, size_t) nogil
    const char* hm_skip_plain(const char*, const char*) noexcept nogil

cdef extern from "bounds.h":
    void hm_hide(void*, size_t) noexcept nogil
    void hm_show(void*, size_t) noexcept nogil

cdef const char* HEX = b"0123456789abcdef"


cdef class Buffer:
    def __cinit__(self, Py_ssize_t size=4096):
        if size < 16:
            size = 16
        self.data = <char*>malloc(size)
        if self.data == NULL:
            raise MemoryError()
        self.size = size
        self.start = 0
        self.end = 0
        hm_hide(self.data, size)

    def __dealloc__(self):
        free(self.data)

    def __len__(self):
        return self.end - self.start

    cpdef Py_ssize_t length(self) noexcept:
        """How many live bytes there are."""
        return self.end - self.start

    cpdef clear(self):
        self.start = 0
        self.end = 0

    cdef int reserve(self, Py_ssize_t room) except -1:
        """Make `room` bytes writable after `end`: by moving the live bytes to the front, else by doubling."""
        cdef Py_ssize_t live = self.end - self.start
        cdef Py_ssize_t size
        cdef char* grown
        if self.size - self.end >= room:
            hm_show(self.data + self.end, room)
            return 0
        if self.start > 0:
            if live:
                memmove(self.data, self.data + self.start, live)
            self.start = 0
            self.end = live
            if self.size - live >= room:
                hm_show(self.data + live, room)
                return 0
        size = self.size * 2
        while size - live < room:
            size *= 2
        grown = <char*>realloc(self.data, size)
        if grown == NULL:
            raise MemoryError()
        self.data = grown
        self.size = size
        return 0

    cdef int put(self, const char* source, Py_ssize_t count) except -1:
        if self.size - self.end < count:
            self.reserve(count)
        hm_show(self.data + self.end, count)
        memcpy(self.data + self.end, source, count)
        self.end += count
        hm_hide(self.data + self.end, self.size - self.end)
        return 0

    cdef int put_decimal(self, int64_t value) except -1:
        cdef char digits[24]
        cdef int at = 24
        cdef uint64_t rest = <uint64_t>value
        if value < 0:
            self.put(b"-", 1)
            rest = <uint64_t>(-value)
        while True:
            at -= 1
            digits[at] = <char>(48 + rest % 10)
            rest = rest // 10
            if rest == 0:
                break
        return self.put(&digits[at], 24 - at)

    cdef int put_hex(self, int64_t value) except -1:
        cdef char digits[16]
        cdef int at = 16
        cdef uint64_t rest = <uint64_t>value
        while True:
            at -= 1
            digits[at] = HEX[rest & 15]
            rest >>= 4
            if rest == 0:
                break
        return self.put(&digits[at], 16 - at)

    cdef int put_json(self, const char* source, Py_ssize_t count) except -1:
        """The bytes as the inside of a JSON string. Bytes above 0x7F are taken as Latin-1, so any input is valid."""
        cdef const char* at = source
        cdef const char* end = source + count
        cdef const char* plain
        cdef unsigned char byte
        cdef char* out
        self.reserve(count * 6)
        out = self.data + self.end
        while at < end:
            plain = hm_skip_plain(at, end)
            memcpy(out, at, plain - at)
            out += plain - at
            if plain == end:
                break
            byte = <unsigned char>plain[0]
            at = plain + 1
            if byte == 0x22 or byte == 0x5C:
                out[0] = 0x5C
                out[1] = <char>byte
                out += 2
            else:
                memcpy(out, b"\\u00", 4)
                out[4] = HEX[byte >> 4]
                out[5] = HEX[byte & 15]
                out += 6
        self.end = out - self.data
        return 0

    cpdef append(self, bytes data):
        self.put(octets(data), octets_size(data))

    cpdef append_range(self, Buffer source, Py_ssize_t start, Py_ssize_t count):
        """Append `count` bytes of `source` from its absolute index `start`."""
        if start < 0 or count < 0 or count > source.end - start:
            raise IndexError(f"range {start}+{count} is outside the buffer")
        self.put(source.data + start, count)

    cpdef append_decimal(self, int64_t value):
        self.put_decimal(value)

    cpdef append_hex(self, int64_t value):
        """Lower-case hexadecimal without leading zeros; the value is taken as unsigned."""
        self.put_hex(value)

    cpdef append_json(self, bytes text):
        self.put_json(octets(text), octets_size(text))

    cpdef append_millis(self, int64_t micros):
        """Microseconds as milliseconds with three decimals: 1234 is 1.234. Less than 0 is 0."""
        if micros < 0:
            micros = 0
        self.put_decimal(micros // 1000)
        self.put(b".", 1)
        self.append_padded(micros % 1000, 3)

    cpdef append_padded(self, int64_t value, int digits):
        """The last `digits` (at most 18) decimal digits of a value that is not negative, with leading zeros."""
        cdef char text[18]
        cdef int at
        if not 0 < digits <= 18 or value < 0:
            raise ValueError(f"cannot write {value} with {digits} digits")
        for at in range(digits - 1, -1, -1):
            text[at] = <char>(48 + value % 10)
            value = value // 10
        self.put(text, digits)

    cpdef consume(self, Py_ssize_t count):
        """Forget the first `count` live bytes. They stay where they are until something is written to the buffer."""
        if count < 0 or count > self.end - self.start:
            raise IndexError(f"cannot consume {count} of {self.end - self.start} bytes")
        self.start += count

    cpdef bytes peek(self, Py_ssize_t start, Py_ssize_t count):
        if start < 0 or count < 0 or count > self.end - start:
            raise IndexError(f"range {start}+{count} is outside the buffer")
        return PyBytes_FromStringAndSize(self.data + start, count)

    cpdef bytes take(self):
        """All live bytes; the buffer is empty afterwards."""
        data = PyBytes_FromStringAndSize(self.data + self.start, self.end - self.start)
        self.start = 0
        self.end = 0
        return data

    cpdef Py_ssize_t find(self, bytes needle, Py_ssize_t start) except -2:
        """Absolute index of the first `needle` at or after `start`, -1 when there is none."""
        cdef char* found
        if start < self.start:
            start = self.start
        if start >= self.end:
            return -1
        found = <char*>memmem(self.data + start, self.end - start, octets(needle), octets_size(needle))
        return -1 if found == NULL else found - self.data
