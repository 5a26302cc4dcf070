cimport cython

from mesh.balance cimport Balancer
from mesh.streams cimport StreamRouter
from proxy.accesslog cimport AccessLog
from proxy.kernel.cells cimport Slot
from proxy.kernel.netio cimport Reactor
from proxy.streamlog cimport StreamRecord
from proxy.upstream.endpoint cimport EndpointRuntime


cdef int ACTIVE, CONNECT_FAILURES, CONNECT_MICROSECONDS, CONNECT_TIMEOUTS, CONNECTS, OVERFLOWS, REPLAYS
cdef int MOST_ATTEMPTS, MICROS


cdef class TcpForwarder:
    cdef public Reactor reactor
    cdef public Slot worker_slot
    cdef public AccessLog log
    cdef public double connect
    cdef public double idle
    cdef public object make_server
