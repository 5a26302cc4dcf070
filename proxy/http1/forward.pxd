cimport cython

from mesh.bonds cimport Bond
from proxy.http1.attempts cimport Attempts
from proxy.http1.intake cimport read_request
from proxy.http1.parties cimport Exchange, RouteRuntime
from proxy.http1.phases cimport Phase, Verdict
from proxy.upstream.endpoint cimport ServiceRuntime


cdef int IDEMPOTENT_METHODS, ACTIVE, PAUSE_PHASE


cdef class Forwarder(Attempts):
    cpdef begin(self, Exchange exchange)
    @cython.locals(route=RouteRuntime)
    cpdef lead(self, Exchange exchange)
    cpdef Verdict hear(self, Phase phase, Exchange exchange)
    @cython.locals(service=ServiceRuntime)
    cpdef bint admit(self, Exchange exchange) except -1
    @cython.locals(phases=tuple, phase=Phase, verdict=Verdict)
    cpdef proceed(self, Exchange exchange)
    @cython.locals(route=RouteRuntime, service=ServiceRuntime, left=double)
    cdef enter(self, Exchange exchange)
    @cython.locals(route=RouteRuntime, service=ServiceRuntime, bond=Bond)
    cpdef object choose(self, Exchange exchange)
