"""The statistics table: rows of 8-byte cells in shared memory, one block of rows per worker.

The memory is a memfd that the supervisor made and every process maps. A worker writes only to its own block, so an
increment is a plain add; readers see each cell whole because it is aligned. The layout is proxy/stats/slots.py.
Counting allocates nothing and never waits. Reading is for the agent: it builds Python lists, and a row that is being
written meanwhile may be seen between two increments of one request.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap

import os

from proxy.stats import slots as layout

cdef extern from "<stdatomic.h>":
    int memory_order_seq_cst
    void atomic_thread_fence(int) noexcept nogil

# The words are plain memory to C; the builtins make each access whole and ordered.
cdef extern from *:
    """
    static inline uint64_t hm_word_load(uint64_t* word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
    static inline uint64_t hm_word_add(uint64_t* word, uint64_t by) {
        return __atomic_add_fetch(word, by, __ATOMIC_SEQ_CST);
    }
    static inline int hm_word_swap(uint64_t* word, uint64_t expected, uint64_t wanted) {
        return __atomic_compare_exchange_n(word, &expected, wanted, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    """
    uint64_t hm_word_load(uint64_t*) noexcept nogil
    uint64_t hm_word_add(uint64_t*, uint64_t) noexcept nogil
    int hm_word_swap(uint64_t*, uint64_t, uint64_t) noexcept nogil

cdef enum:
    C_CELLS = 64
    C_PLAIN = 32  # cells before the code pairs: these may be summed over workers as they are
    C_BYTES_IN = 3
    C_BYTES_OUT = 4
    C_REQUESTS = 13
    C_DURATION = 14
    C_BUCKETS = 16
    C_CODES = 32
    C_CODE_PAIRS = 16
    C_BOUNDS = 15
    C_BLOCKS = 53  # of row 0 of block 0

cdef int64_t BOUNDS[C_BOUNDS]
if len(layout.BUCKET_BOUNDS) != C_BOUNDS:
    raise ImportError("proxy.kernel.cells was compiled for another layout of the statistics table: run make build")
for _index, _bound in enumerate(layout.BUCKET_BOUNDS):
    BOUNDS[_index] = round(_bound * 1_000_000)


def constants():
    """The numbers compiled in here, by their names in proxy/stats/slots.py."""
    return {
        "CELLS": C_CELLS,
        "BYTES_IN": C_BYTES_IN,
        "BYTES_OUT": C_BYTES_OUT,
        "REQUESTS": C_REQUESTS,
        "DURATION_MICROSECONDS": C_DURATION,
        "BUCKETS": C_BUCKETS,
        "BUCKET_BOUNDS": tuple([BOUNDS[index] / 1_000_000.0 for index in range(C_BOUNDS)]),
        "CODES": C_CODES,
        "CODE_PAIRS": C_CODE_PAIRS,
        "TABLE_BLOCKS": C_BLOCKS,
    }


cdef class Slot:
    """One row of one worker. Holds its table so that the mapping outlives it."""

    cpdef void add(self, int cell, int64_t by) noexcept:
        if 0 <= cell < C_CELLS:
            self.cells[cell] += <uint64_t>by

    cpdef int64_t get(self, int cell) noexcept:
        return <int64_t>self.cells[cell] if 0 <= cell < C_CELLS else 0

    cpdef int64_t total(self, int cell):
        """This cell summed over all workers."""
        return (<Table>self.owner).total(self.number, cell)

    cpdef void count_request(self, int code, int64_t microseconds, int64_t bytes_in, int64_t bytes_out) noexcept:
        """Count a finished request: its code, how long it took, and what went over the wire."""
        cdef uint64_t* cells = self.cells
        cdef int pair, bucket = 0
        cells[C_REQUESTS] += 1
        cells[C_BYTES_IN] += <uint64_t>bytes_in
        cells[C_BYTES_OUT] += <uint64_t>bytes_out
        cells[C_DURATION] += <uint64_t>microseconds
        while bucket < C_BOUNDS and microseconds > BOUNDS[bucket]:
            bucket += 1
        cells[C_BUCKETS + bucket] += 1
        for pair in range(C_CODE_PAIRS - 1):
            if cells[C_CODES + 2 * pair] == <uint64_t>code:
                cells[C_CODES + 2 * pair + 1] += 1
                return
            if cells[C_CODES + 2 * pair] == 0:
                cells[C_CODES + 2 * pair] = <uint64_t>code
                cells[C_CODES + 2 * pair + 1] = 1
                return
        cells[C_CODES + 2 * (C_CODE_PAIRS - 1) + 1] += 1


    cpdef void observe(self, int64_t microseconds, int count) noexcept:
        """Count `count` things that took this long."""
        cdef int bucket = 0
        self.cells[C_DURATION] += <uint64_t>(microseconds * count)
        while bucket < C_BOUNDS and microseconds > BOUNDS[bucket]:
            bucket += 1
        self.cells[C_BUCKETS + bucket] += <uint64_t>count


cdef class Shared:
    """The shared words of one row: 64 unsigned words of 64 bits that every process may write to. Holds its table so
    that the mapping outlives it. A word number outside the row raises IndexError where it is passed in from Python."""

    cdef uint64_t* at(self, int word) except NULL:
        if not 0 <= word < C_CELLS:
            raise IndexError(f"a row has no word {word}")
        return self.words + word

    cpdef uint64_t load(self, int word) except? 0:
        return hm_word_load(self.at(word))

    cpdef bint swap(self, int word, uint64_t expected, uint64_t wanted) except -1:
        """Compare and swap: whether the word was `expected`, and so is `wanted` now."""
        return hm_word_swap(self.at(word), expected, wanted) != 0

    cpdef uint64_t add(self, int word, int64_t by) except? 0:
        """Add, and say what it is now."""
        return hm_word_add(self.at(word), <uint64_t>by)


cdef class Table:
    """The whole table, mapped from the file descriptor `fd` (which stays the caller's).

    All blocks that the file has room for are mapped; the first `workers` of them are in use. How many stands in the
    table itself, so it is the same in every process at once, and it only grows: the block of a worker that has ended
    keeps what it counted. `workers` is how many the caller needs.
    """

    def __cinit__(self, int fd, int workers, int slots=layout.SLOTS_PER_WORKER):
        if workers < 1 or slots < 1:
            raise ValueError(f"a table needs at least one worker and one slot, not {workers} and {slots}")
        cdef size_t block = <size_t>slots * <size_t>(C_CELLS * 8)
        # Touching a page beyond the end of the file would kill the process with SIGBUS.
        cdef size_t held = <size_t>os.fstat(fd).st_size
        needed = layout.table_size(workers, slots)
        if held < <size_t>needed:
            raise ValueError(f"the file holds {held} bytes, the statistics table needs {needed}")
        self.slots = slots
        self.blocks = <int>(held // block) - layout.SHARED_BLOCKS
        self.size = <size_t>(self.blocks + layout.SHARED_BLOCKS) * block
        self.base = mmap(NULL, self.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if self.base == MAP_FAILED:
            self.base = NULL
            raise MemoryError(f"cannot map the statistics table of {self.size} bytes")
        self.grow(workers)

    def __dealloc__(self):
        if self.base != NULL:
            munmap(self.base, self.size)

    @property
    def workers(self):
        return self.used()

    def grow(self, int workers):
        """Blocks up to this number are in use from now on."""
        if workers > self.blocks:
            raise ValueError(f"the statistics table has room for {self.blocks} workers, not for {workers}")
        if workers > self.used():
            (<uint64_t*>self.base)[C_BLOCKS] = <uint64_t>workers

    cdef int used(self) noexcept:
        """What the table says, held to what is mapped."""
        cdef uint64_t used = (<uint64_t*>self.base)[C_BLOCKS]
        return <int>used if used <= <uint64_t>self.blocks else self.blocks

    cpdef Slot slot(self, int worker, int number):
        """The row `number` of `worker`, for writing."""
        if not (0 <= worker < self.blocks and 0 <= number < self.slots):
            raise IndexError(f"slot {number} of worker {worker} is outside the table")
        cdef Slot slot = Slot.__new__(Slot)
        slot.cells = <uint64_t*>self.base + (<size_t>worker * <size_t>self.slots + <size_t>number) * C_CELLS
        slot.number = number
        slot.owner = self
        return slot

    cpdef Shared shared(self, int number):
        """The shared words of row `number`."""
        if not 0 <= number < self.slots:
            raise IndexError(f"row {number} is outside the table")
        cdef Shared shared = Shared.__new__(Shared)
        shared.words = <uint64_t*>self.base + (<size_t>self.blocks * <size_t>self.slots + <size_t>number) * C_CELLS
        shared.number = number
        shared.owner = self
        return shared

    cdef uint64_t* keyed(self) noexcept:
        """The block of rate limits by key: `slots` times 64 words."""
        return <uint64_t*>self.base + <size_t>(self.blocks + 1) * <size_t>self.slots * C_CELLS

    cpdef int64_t total(self, int number, int cell) noexcept:
        """One cell of row `number` summed over the workers; 0 outside the table."""
        cdef int64_t total = 0
        cdef int worker
        if not (0 <= number < self.slots and 0 <= cell < C_CELLS):
            return 0
        # Who counted itself before it adds up must be seen by whoever does the same at this moment; without a fence
        # each could read the other's cell before its own count has left the store buffer.
        atomic_thread_fence(memory_order_seq_cst)
        for worker in range(self.used()):
            total += <int64_t>(
                <uint64_t*>self.base + (<size_t>worker * <size_t>self.slots + <size_t>number) * C_CELLS
            )[cell]
        return total

    def read(self, int number):
        """Row `number` of every worker: a list of lists of 64 integers."""
        cdef Slot slot
        cdef int worker, cell
        rows = []
        for worker in range(self.used()):
            slot = self.slot(worker, number)
            rows.append([<int64_t>slot.cells[cell] for cell in range(C_CELLS)])
        return rows

    def totals(self, int number):
        """Row `number` summed over the workers: the 32 plain cells as a list, and the requests by status code.

        The code pairs cannot be summed cell by cell, because each worker met the codes in an order of its own."""
        cdef int64_t sums[C_PLAIN]
        cdef uint64_t* cells
        cdef int worker, cell, pair
        if not 0 <= number < self.slots:
            raise IndexError(f"slot {number} is outside the table")
        memset(sums, 0, sizeof(sums))
        codes = {}
        for worker in range(self.used()):
            cells = <uint64_t*>self.base + (<size_t>worker * <size_t>self.slots + <size_t>number) * C_CELLS
            for cell in range(C_PLAIN):
                sums[cell] += <int64_t>cells[cell]
            for pair in range(C_CODE_PAIRS):
                if cells[C_CODES + 2 * pair + 1] != 0:
                    code = <int64_t>cells[C_CODES + 2 * pair]
                    codes[code] = codes.get(code, 0) + <int64_t>cells[C_CODES + 2 * pair + 1]
        return [sums[cell] for cell in range(C_PLAIN)], codes

    def zero(self, int worker, int number, cells=None):
        """Set a row of `worker` (or only `cells` of it) to 0.

        Only for rows without a writer: the gauges of a worker that died, and a row that every worker let go of
        before it gets a new name."""
        cdef Slot slot = self.slot(worker, number)
        cdef int cell
        for cell in range(C_CELLS) if cells is None else cells:
            if not 0 <= cell < C_CELLS:
                raise IndexError(f"a row has no cell {cell}")
            slot.cells[cell] = 0

    def clear(self, number):
        """Set row `number` to 0 in every block, its shared words too. Only for a row that every worker let go of."""
        cdef Shared shared = self.shared(number)
        cdef int worker
        for worker in range(self.used()):
            self.zero(worker, number)
        memset(shared.words, 0, C_CELLS * sizeof(uint64_t))
