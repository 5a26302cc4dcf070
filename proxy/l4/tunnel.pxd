cimport cython

from proxy.http1.parties cimport LimitedAcceptor, ListenerRuntime
from proxy.kernel.cells cimport Slot
from proxy.kernel.netio cimport Reactor
from proxy.l4.ends cimport ClientEnd, ServerEnd
from proxy.l4.forward cimport TcpForwarder
from proxy.streamlog cimport StreamRecord
from proxy.upstream.endpoint cimport EndpointRuntime


cdef int DRAIN_NOTHING, DRAIN_STREAM
cdef int BYTES_IN, BYTES_OUT, CONNECTIONS_TOTAL, WORKER_CONNECTIONS


cdef class TcpClient(ClientEnd):
    cdef public TcpForwarder forwarder
    cpdef int drain_kind(self) except -1
    cpdef on_readable(self)
    cpdef on_drained(self)
    @cython.locals(server=ServerEnd)
    cpdef count_relayed(self, Py_ssize_t count)
    cpdef relay_moves(self)
    cpdef relay_over(self, bint broken)
    cpdef on_closed(self)


cdef class TcpServer(ServerEnd):
    cdef public TcpForwarder forwarder
    cpdef int drain_kind(self) except -1
    @cython.locals(client=ClientEnd)
    cpdef on_connected(self, int error)
    cpdef on_readable(self)
    cpdef on_drained(self)
    @cython.locals(client=ClientEnd, endpoint=EndpointRuntime)
    cpdef count_relayed(self, Py_ssize_t count)
    @cython.locals(client=ClientEnd)
    cpdef relay_moves(self)
    @cython.locals(client=ClientEnd)
    cpdef relay_over(self, bint broken)
    @cython.locals(client=ClientEnd, endpoint=EndpointRuntime)
    cpdef on_closed(self)


cdef class TcpAcceptor(LimitedAcceptor):
    cdef public TcpForwarder forwarder
    cdef public object gate
    @cython.locals(client=TcpClient, forwarder=TcpForwarder)
    cpdef accepted(self, int fd, bytes host, int port)
