cimport cython

from proxy.http1.parties cimport Exchange
from proxy.http1.settings cimport HttpSettings
from proxy.kernel.emit cimport continue_trace
from proxy.kernel.entropy cimport new_request_id
from proxy.kernel.scan cimport Head, is_authority

cdef int HOST, M_CONNECT, M_HEAD, TRACEPARENT, TRACESTATE, UPGRADE, VIA, X_FORWARDED_FOR, X_REQUEST_ID, MOST_REQUEST_ID
cdef int OLD_BODYLESS

cpdef object refused_body(Head head, HttpSettings settings)

@cython.locals(head=Head)
cpdef object read_request(Exchange exchange, HttpSettings settings)
@cython.locals(head=Head)
cdef object read_target(Exchange exchange, HttpSettings settings)
@cython.locals(head=Head, peer=bytes)
cdef identify(Exchange exchange, HttpSettings settings)
cdef bint is_loop(Head head, bytes pseudonym) except -1
cdef bint may_upgrade(Head head) except -1
