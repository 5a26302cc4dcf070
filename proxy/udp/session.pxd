from proxy.http1.parties cimport ListenerRuntime
from proxy.kernel.datagrams cimport DatagramServer, DatagramSession
from proxy.streamlog cimport StreamRecord
from proxy.udp.forward cimport UdpForwarder
from proxy.upstream.endpoint cimport EndpointRuntime, ServiceRuntime


cdef int DRAIN_STREAM, WORKED


cdef class UdpServer(DatagramServer):
    cdef public UdpForwarder forwarder
    cdef public ListenerRuntime listener
    cdef public str address
    cdef public bint leaving
    cdef public long refusal_logged


cdef class UdpSession(DatagramSession):
    cdef public UdpForwarder forwarder
    cdef public StreamRecord record
    cdef public object route
    cdef public ServiceRuntime service
    cdef public EndpointRuntime endpoint
    cdef public bint ended
    cdef public bint goes_on
    cdef public bint probing
    cdef public bint reported
    cpdef drain(self)
    cpdef int drain_kind(self) except -1
