cimport cython

from proxy.http1.parties cimport LimitedAcceptor, ListenerRuntime
from proxy.kernel.cells cimport Slot
from proxy.l4.forward cimport TcpForwarder
from proxy.relay cimport RelayStream
from proxy.streamlog cimport StreamRecord
from proxy.upstream.endpoint cimport EndpointRuntime, ServiceRuntime


cdef int DRAIN_NOTHING, DRAIN_STREAM
cdef int BYTES_IN, BYTES_OUT, CONNECTIONS_TOTAL, WORKER_CONNECTIONS


cdef class TcpServer


cdef class TcpClient(RelayStream):
    cdef public TcpForwarder forwarder
    cdef public ListenerRuntime listener
    cdef public StreamRecord record
    cdef public object route
    cdef public ServiceRuntime service
    cdef public TcpServer server
    cdef public list tried
    cdef public object waiting
    cdef public bint done
    cpdef int drain_kind(self) except -1
    @cython.locals(server=TcpServer, slot=Slot, endpoint=EndpointRuntime)
    cpdef count_relayed(self, Py_ssize_t count)


cdef class TcpServer(RelayStream):
    cdef public EndpointRuntime endpoint
    cdef public TcpClient client
    cpdef int drain_kind(self) except -1
    @cython.locals(client=TcpClient, endpoint=EndpointRuntime, slot=Slot)
    cpdef count_relayed(self, Py_ssize_t count)


cdef class TcpAcceptor(LimitedAcceptor):
    cdef public TcpForwarder forwarder
    cdef public object gate
    @cython.locals(client=TcpClient, forwarder=TcpForwarder)
    cpdef accepted(self, int fd, bytes host, int port)
