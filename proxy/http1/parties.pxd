cimport cython
from libc.stdint cimport int64_t

from mesh.bonds cimport Bond
from mesh.request cimport RequestView
from mesh.retry cimport RetryPlan
from mesh.router cimport Router
from mesh.streams cimport StreamRouter
from proxy.kernel.buffer cimport Buffer
from proxy.kernel.cells cimport Slot
from proxy.kernel.emit cimport FieldEdits
from proxy.kernel.netio cimport Acceptor, Stream
from proxy.kernel.scan cimport Head
from proxy.relay cimport RelayStream
from proxy.upstream.endpoint cimport EndpointRuntime, ServiceRuntime


cdef int CONNECTIONS_ACTIVE



@cython.final
cdef class RouteRuntime:
    cdef public object route
    cdef public str listener
    cdef public Slot slot
    cdef public ServiceRuntime service
    cdef public str version
    cdef public object split
    cdef public object subset
    cdef public tuple phases
    cdef public FieldEdits request_edits
    cdef public FieldEdits response_edits
    cdef public object rewrite
    cdef public bytes matched_prefix
    cdef public bytes log_part
    cdef public double timeout
    cdef public RetryPlan retry


@cython.final
cdef class ListenerRuntime:
    cdef public str name
    cdef public object protocol
    cdef public Router router
    cdef public StreamRouter streams
    cdef public Slot slot
    cdef public bytes port
    cdef public bint accept_proxy
    cdef public long max_connections
    cdef public list paused
    cdef public object clients
    @cython.locals(slot=Slot)
    cpdef bint claim(self)
    cpdef unclaim(self)
    cpdef left(self, bytes peer)
    cpdef resume(self)


cdef class LimitedAcceptor(Acceptor):
    cdef public ListenerRuntime listener
    @cython.locals(listener=ListenerRuntime)
    cpdef bint may_accept(self)
    cpdef not_accepted(self)
    @cython.locals(listener=ListenerRuntime, stream=Stream)
    cpdef bint admits(self, int fd, bytes host, int port) except -1


@cython.final
cdef class BodyTap:
    cdef public int64_t most
    cdef public int64_t total
    cdef public Buffer kept
    cpdef take(self, Buffer source, Py_ssize_t start, Py_ssize_t count)


cdef class Exchange(RequestView):
    cdef public ClientSide downstream
    cdef public ServerSide upstream
    cdef public Head head
    cdef public RouteRuntime route
    cdef public ListenerRuntime listener
    cdef public ServiceRuntime service
    cdef public EndpointRuntime endpoint
    cdef public list tried
    cdef public Bond bond
    cdef public str version
    cdef public str wanted
    cdef public bytes cookies
    cdef public bytes target
    cdef public bytes authority
    cdef public bytes host_sent
    cdef public bytes request_id
    cdef public bytes traceparent
    cdef public bint trusted
    cdef public bint keep_tracestate
    cdef public bint upgrade
    cdef public bint idempotent
    cdef public bint request_done
    cdef public bint answered
    cdef public object waiting
    cdef public bint fresh_only
    cdef public bint to_head
    cdef public bint done
    cdef public Buffer kept
    cdef public bint kept_all
    cdef public int attempts
    cdef public int status
    cdef public int upstream_status
    cdef public int discarded
    cdef public str flags
    cdef public str detail
    cdef public str denied
    cdef public int64_t started
    cdef public int64_t received
    cdef public int64_t assigned
    cdef public int64_t connected
    cdef public int64_t first_byte
    cdef public int64_t finished
    cdef public double timeout
    cdef public tuple phases
    cdef public int at
    cdef public list holds
    cdef public bint entered
    cdef public int pause
    cdef public int64_t paused_until
    cdef public bint reported
    cdef public bint probing
    cdef public RetryPlan plan
    cdef public int retries
    cdef public bint retrying
    cdef public int64_t waits_since
    cdef public int64_t most_body
    cdef public object body_guard
    cdef public bint is_copy
    cdef public BodyTap tap
    cdef public int64_t body_bytes
    cdef public int64_t bytes_in
    cdef public int64_t bytes_out
    cpdef start(self, ClientSide downstream, ListenerRuntime listener, Head head, int64_t started, int64_t received)
    cpdef bytes header(self, bytes name)


cdef class ClientSide(RelayStream):
    cdef public Exchange exchange
    cdef public bytes peer
    cdef public int port
    cdef public tuple destination
    cdef public bint receiving
    cdef public bint keep_alive
    cdef public bint closing
    cpdef interim(self, Exchange exchange, Head head)
    cpdef response_head(self, Exchange exchange, Head head, int framing)
    cpdef response_data(self, Exchange exchange, Buffer source, Py_ssize_t start, Py_ssize_t count)
    cpdef response_end(self, Exchange exchange, Head trailers)
    cpdef int flush_response(self, Exchange exchange) except -2
    cpdef respond(self, bytes data, bint close)
    cpdef finished(self)
    cpdef resume_request(self)
    cpdef leave(self)


cdef class ServerSide(RelayStream):
    cdef public Exchange exchange
    cdef public EndpointRuntime endpoint
    cdef public bint personal
    cdef public int interim_count
    cpdef send_request(self, Exchange exchange)
    cpdef int request_data(self, Buffer source, Py_ssize_t start, Py_ssize_t count) except -2
    cpdef request_end(self, Exchange exchange, Head trailers)
    cpdef resume_response(self)
    cpdef drop(self)
