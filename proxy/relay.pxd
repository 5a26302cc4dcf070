cimport cython

from proxy.kernel.buffer cimport Buffer
from proxy.kernel.netio cimport Reactor
from proxy.kernel.splice cimport Pipe, give_pipe, take_pipe
from proxy.upstream.endpoint cimport PooledStream


cdef int AGAIN, RELAY_TURNS, BULK, SMALL


cdef class RelayStream(PooledStream):
    cdef public RelayStream other
    cdef public bint relaying
    cdef public bint held
    cdef public bint ended
    cdef public bint bulk
    cdef public Pipe pipe
    cpdef start_relay(self, RelayStream other)
    @cython.locals(other=RelayStream, turns=int)
    cpdef relay(self)
    @cython.locals(buffer=Buffer, got=Py_ssize_t, count=Py_ssize_t, result=int)
    cdef bint relay_copy(self, RelayStream other) except -1
    @cython.locals(pipe=Pipe, got=Py_ssize_t, sent=Py_ssize_t)
    cdef bint relay_pipe(self, RelayStream other) except -1
    @cython.locals(other=RelayStream, pipe=Pipe, sent=Py_ssize_t)
    cpdef on_room(self)
    @cython.locals(buffer=Buffer, turns=int, result=int)
    cpdef relay_refused(self, RelayStream other)
    @cython.locals(other=RelayStream)
    cpdef relay_end(self)
    @cython.locals(other=RelayStream)
    cpdef relay_drained(self)
    @cython.locals(other=RelayStream)
    cpdef bint in_transit(self) except -1
    cpdef relay_over(self, bint broken)
    cpdef end_relay(self, bint broken)
    cpdef count_relayed(self, Py_ssize_t count)
    cpdef relay_moves(self)
