cimport cython
from libc.stdint cimport int64_t, uint64_t

from mesh.draws cimport draws_of
from proxy.http1.forward cimport Forwarder
from proxy.http1.parties cimport BodyTap, ClientSide, Exchange, RouteRuntime
from proxy.http1.phases cimport Phase, Verdict
from proxy.kernel.buffer cimport Buffer
from proxy.kernel.cells cimport Shared
from proxy.kernel.emit cimport FieldEdits
from proxy.upstream.endpoint cimport ServiceRuntime


cdef class NoClient(ClientSide):
    pass


cdef class MirrorPhase(Phase):
    cdef readonly object mirror
    cdef uint64_t salt
    cdef readonly Shared shared
    cdef Mirrors mirrors
    cdef dict marked
    cpdef Verdict run(self, Exchange exchange)
    cpdef tuple preview(self, Exchange exchange)
    cdef bint wants(self, Exchange exchange) except -1
    @cython.locals(tap=BodyTap)
    cpdef release(self, Exchange exchange)
    @cython.locals(found=RouteRuntime)
    cpdef RouteRuntime route_for(self, RouteRuntime route)
    cdef FieldEdits edits_for(self, FieldEdits edits)


@cython.final
cdef class Mirrors:
    cdef Forwarder forwarder
    cdef object services
    cdef readonly list due
    cdef readonly dict copies
    cdef dict loads
    cdef readonly int64_t bytes
    @cython.locals(tap=BodyTap, kept=Buffer, size=int64_t, service=ServiceRuntime, client=ClientSide, nobody=NoClient, copy=Exchange)
    cpdef bint add(self, Exchange original, MirrorPhase phase) except -1
    @cython.locals(copy=Exchange, phase=MirrorPhase)
    cpdef send(self)
    @cython.locals(service=ServiceRuntime, phase=Phase, forwarder=Forwarder)
    cpdef begin(self, Exchange copy, object mirror)
    cpdef over(self, Exchange copy)
    @cython.locals(oldest=Exchange)
    cpdef turn(self)
