from proxy.accesslog cimport AccessLog
from proxy.kernel.cells cimport Slot
from proxy.kernel.datagrams cimport Batch
from proxy.kernel.netio cimport Reactor


cdef int ACTIVE, CONNECT_FAILURES, CONNECTIONS_TOTAL, DATAGRAMS_UNROUTED, OVERFLOWS, WORKER_UDP_SESSIONS
cdef int MOST_ATTEMPTS, REFUSAL_PAUSE_MS


cdef class UdpForwarder:
    cdef public Reactor reactor
    cdef public Batch batch
    cdef public Slot worker_slot
    cdef public AccessLog log
    cdef public double idle
    cdef public long limit
    cdef public list servers
    cdef public dict sessions
    cdef public set stranded
    cdef public object make_session
