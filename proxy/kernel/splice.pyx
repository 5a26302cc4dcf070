"""Bytes from one socket to another without a copy: splice(2) through a pipe.

A pipe is taken while bytes are in transit and given back empty, so thousands of connections share a few. Pulling goes
into an empty pipe only: then "nothing came" can mean nothing but an empty socket. The kernel lets a user have so many
pages in pipes (fs.pipe-user-pages-soft) and makes later ones too small to be worth it; such a one is not used, and
neither are more than MOST_PIPES: whoever gets none copies.
"""

from libc.errno cimport EAGAIN, EINTR, ENOBUFS, errno

from proxy.kernel.netio cimport Stream

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <fcntl.h>
    #include <unistd.h>
    #include <sys/types.h>
    """
    enum: O_NONBLOCK, O_CLOEXEC, F_SETPIPE_SZ, F_GETPIPE_SZ, SPLICE_F_MOVE, SPLICE_F_NONBLOCK
    int pipe2(int*, int) nogil
    int fcntl(int, int, ...) nogil
    int c_close "close"(int) nogil
    ssize_t c_splice "splice"(int, void*, int, void*, size_t, unsigned int) nogil

cdef enum:
    PIPE_SIZE = 512 * 1024  # asked for
    SMALLEST = 64 * 1024  # below this a copy through the receive buffer moves as much per call
    MOST_PIPES = 512  # of a process
    MOST_IDLE = 32
    PATIENCE = 1000  # who was refused a pipe copies that often before one is asked for again

cdef list idle = []
cdef int open_pipes = 0
cdef int refused = 0


def pipes_open():
    """How many pipes this process has, in use or not."""
    return open_pipes


def pipes_used():
    """How many of them are with a connection."""
    return open_pipes - len(idle)


cdef class Pipe:
    """Use `take_pipe`."""

    def __cinit__(self):
        self.reader = -1
        self.writer = -1

    def __dealloc__(self):
        global open_pipes
        if self.reader >= 0:
            c_close(self.reader)
            c_close(self.writer)
            open_pipes -= 1

    cdef bint open(self) except -1:
        """False when the system gives none that is worth using."""
        global open_pipes
        cdef int ends[2]
        if pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0:
            return False
        self.reader = ends[0]
        self.writer = ends[1]
        open_pipes += 1
        fcntl(self.writer, F_SETPIPE_SZ, PIPE_SIZE)
        self.size = fcntl(self.writer, F_GETPIPE_SZ)
        return self.size >= SMALLEST

    cpdef Py_ssize_t pull(self, Stream source) except -3:
        """Move what `source` has received into this empty pipe: bytes, or netio's END, AGAIN or BROKEN."""
        cdef ssize_t got
        assert self.held == 0
        if source.fd < 0:
            return -2
        if not source.readable:
            return -1
        while True:
            got = c_splice(source.fd, NULL, self.writer, NULL, self.size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
            if got > 0:
                self.held = got
                return got
            if got == 0:
                source.readable = False
                source.peer_closed = True
                return 0
            if errno == EAGAIN:
                source.readable = False
                return -1
            if errno != EINTR:
                source.error = errno
                source.readable = False
                return -2

    cpdef Py_ssize_t push(self, Stream target) except -3:
        """Move what is held on to `target`: bytes, AGAIN when it takes nothing now, BROKEN when never again."""
        cdef ssize_t sent
        cdef Py_ssize_t total = 0
        if target.fd < 0 or target.write_dead:
            return -2
        if target.out is not None:
            return -1
        while self.held:
            sent = c_splice(self.reader, NULL, target.fd, NULL, self.held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
            if sent > 0:
                self.held -= sent
                total += sent
                continue
            if sent < 0 and errno == EINTR:
                continue
            if sent < 0 and errno != EAGAIN and errno != ENOBUFS:
                target.error = errno
                target.write_dead = True
                return -2
            return total if total else -1
        return total


cpdef Pipe take_pipe():
    """An empty pipe, or None when there is none to be had: then copy."""
    global refused
    cdef Pipe pipe
    if idle:
        return idle.pop()
    if refused > 0:
        refused -= 1
        return None
    if open_pipes < MOST_PIPES:
        pipe = Pipe.__new__(Pipe)
        if pipe.open():
            return pipe
    # Asking costs four system calls, more than the copy that it would save.
    refused = PATIENCE
    return None


cpdef give_pipe(Pipe pipe):
    """Done with it. One that still holds bytes of a broken connection is closed, or another would get them."""
    if pipe.held == 0 and len(idle) < MOST_IDLE:
        idle.append(pipe)
