"""Lines of numbers and text in one piece of memory, which are written again and again: what is kept of requests that
are over.

A line has room for NUMBERS numbers and TEXTS texts in LINE bytes, headers of it included. Whoever writes begins a line
and puts each value at its place; what is not put is 0 or empty, and a text is cut where it is longer than it may be, or
than the line. So nothing is made for a request, nothing has to be freed, and what is kept has a bound in bytes. Memory
that no line has been written to is not taken.
"""

from libc.stdint cimport int64_t, uint16_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from cpython.bytes cimport PyBytes_FromStringAndSize

from proxy.kernel.octets cimport octets, octets_size
from proxy.kernel.scan cimport Head

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef extern from *:
    """
    static inline void hm_prefetch(void* at) { __builtin_prefetch(at, 1, 2); }
    """
    void hm_prefetch(void* at) noexcept nogil

cdef enum:
    C_LINE = 1024
    C_NUMBERS = 16
    C_TEXTS = 20
    C_NEAR = 64  # bytes that a processor gets at once
    C_USUAL = 9  # times that is what an ordinary request has to say
    C_HEADER = 8 * C_NUMBERS + 4 * C_TEXTS + 2
    C_ROOM = C_LINE - C_HEADER

LINE = C_LINE
NUMBERS = C_NUMBERS
TEXTS = C_TEXTS


cdef struct Line:
    int64_t numbers[C_NUMBERS]
    uint16_t starts[C_TEXTS]
    uint16_t sizes[C_TEXTS]
    uint16_t used
    char text[C_ROOM]


if sizeof(Line) != C_LINE:
    raise ImportError("a line of proxy.kernel.ledger has gaps")


cdef class Ledger:
    def __cinit__(self, Py_ssize_t lines):
        if lines < 0:
            raise ValueError(f"{lines} lines, expected 0 or more")
        self.lines = lines
        self.memory = <Line*>calloc(max(lines, 1), sizeof(Line))
        if self.memory == NULL:
            raise MemoryError()
        self.line = NULL

    def __dealloc__(self):
        free(self.memory)

    cdef Line* at(self, Py_ssize_t line) except NULL:
        if not 0 <= line < self.lines:
            raise IndexError(f"line {line} of {self.lines}")
        return &self.memory[line]

    cpdef int begin(self, Py_ssize_t line) except -1:
        """What is put from now on is in this line, and nothing else is."""
        cdef Line* begun = self.at(line)
        cdef char* next = <char*>&self.memory[line + 1 if line + 1 < self.lines else 0]
        cdef int at
        self.line = begun
        memset(begun, 0, C_HEADER)
        # The line that most likely follows was written long ago, so it is far from the processor. Asked for now, its
        # first part, which is all of most lines, is near when it is needed: that saves a quarter of the cost.
        for at in range(C_USUAL):
            hm_prefetch(next + at * C_NEAR)
        return 0

    cdef int put(self, int place, const char* text, Py_ssize_t size, Py_ssize_t most) except -1:
        cdef Line* line = self.line
        if line == NULL or not 0 <= place < C_TEXTS:
            raise IndexError(f"text {place} of {C_TEXTS}, or no line was begun")
        if size > most:
            size = most
        if size > C_ROOM - line.used:
            size = C_ROOM - line.used
        line.starts[place] = line.used
        line.sizes[place] = <uint16_t>size
        memcpy(line.text + line.used, text, size)
        line.used += <uint16_t>size
        return 0

    cpdef int numbers(self, int place, int64_t one, int64_t two, int64_t three, int64_t four) except -1:
        """Four of them, from this place on."""
        cdef int64_t* numbers
        if self.line == NULL or not 0 <= place <= C_NUMBERS - 4:
            raise IndexError(f"numbers from {place} of {C_NUMBERS}, or no line was begun")
        numbers = &self.line.numbers[place]
        numbers[0] = one
        numbers[1] = two
        numbers[2] = three
        numbers[3] = four
        return 0

    cpdef int text(self, int place, bytes value, Py_ssize_t most) except -1:
        """At most `most` bytes of it."""
        return self.put(place, octets(value), octets_size(value), most)

    cpdef int word(self, int place, str value, Py_ssize_t most) except -1:
        """The same as UTF-8; a character that is cut is lost."""
        cdef Py_ssize_t size
        cdef const char* text
        try:
            text = PyUnicode_AsUTF8AndSize(value, &size)
        except UnicodeEncodeError:  # half a pair, out of a file name
            return self.text(place, value.encode("utf-8", "replace"), most)
        return self.put(place, text, size, most)

    cpdef int target(self, int place, Head head, Py_ssize_t most) except -1:
        return self.put(place, head.data + head.target_at, head.target_size, most)

    cpdef bint field(self, int place, Head head, int field_id, Py_ssize_t most) except -1:
        """The first field with this id; False when there is none."""
        cdef int index = head.find_id(field_id)
        if index < 0:
            return False
        self.put(place, head.data + head.fields[index].value, head.fields[index].value_size, most)
        return True

    # --- reading --------------------------------------------------------------------------------------------------

    cpdef int64_t number_at(self, Py_ssize_t line, int place) except? -1:
        if not 0 <= place < C_NUMBERS:
            raise IndexError(f"number {place} of {C_NUMBERS}")
        return self.at(line).numbers[place]

    cpdef bytes text_at(self, Py_ssize_t line, int place):
        cdef Line* found = self.at(line)
        if not 0 <= place < C_TEXTS:
            raise IndexError(f"text {place} of {C_TEXTS}")
        return PyBytes_FromStringAndSize(found.text + found.starts[place], found.sizes[place])

    cpdef bint is_text(self, Py_ssize_t line, int place, bytes value) except -1:
        """Whether the text is this one, cut or not."""
        cdef Line* found = self.at(line)
        cdef Py_ssize_t size = octets_size(value)
        if not 0 <= place < C_TEXTS:
            raise IndexError(f"text {place} of {C_TEXTS}")
        if found.sizes[place] != size:
            return False
        return memcmp(found.text + found.starts[place], octets(value), size) == 0

    cpdef copy(self, Py_ssize_t line, Ledger other, Py_ssize_t from_line):
        """Take over a line of another ledger."""
        memcpy(self.at(line), other.at(from_line), sizeof(Line))
