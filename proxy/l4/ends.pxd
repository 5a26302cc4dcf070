from libc.stdint cimport int64_t

from proxy.http1.parties cimport ListenerRuntime
from proxy.l4.routes cimport StreamRouteRuntime
from proxy.relay cimport RelayStream
from proxy.streamlog cimport StreamRecord
from proxy.upstream.endpoint cimport EndpointRuntime, ServiceRuntime


cdef class ServerEnd


cdef class ClientEnd(RelayStream):
    cdef public ListenerRuntime listener
    cdef public StreamRecord record
    cdef public tuple destination
    cdef public StreamRouteRuntime route
    cdef public ServiceRuntime service
    cdef public ServerEnd server
    cdef public list tried
    cdef public object waiting
    cdef public int64_t waits_since
    cdef public bint done
    cdef public bint probing
    cdef public bint reported


cdef class ServerEnd(RelayStream):
    cdef public EndpointRuntime endpoint
    cdef public ClientEnd client
