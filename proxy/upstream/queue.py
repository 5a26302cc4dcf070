"""Who waits for a connection to a service: HTTP requests and TCP connections alike, in the order they came.

A service has one queue (`ServiceRuntime.pending`) of `Waiter`s. It is looked through whenever a connection has become
free or the endpoints have changed, and whoever can be served goes on.
"""

from __future__ import annotations

from mesh.balance import Balancer
from proxy.stats.slots import OVERFLOWS, PENDING
from proxy.upstream.endpoint import ServiceRuntime


class Waiter:
    """An entry of the queue."""

    def may_go(self) -> bool:
        """Whether there is something to wait for no more."""
        raise NotImplementedError

    def go(self) -> bool:
        """Go on; it has left the queue. False when it had to join again: then those behind need not try."""
        raise NotImplementedError


def join(service: ServiceRuntime, waiter: Waiter) -> bool:
    """False: the queue is full, and that has been counted."""
    if len(service.pending) >= service.max_pending:
        service.slot.add(OVERFLOWS, 1)
        return False
    service.pending.append(waiter)
    service.slot.add(PENDING, 1)
    return True


def leave(service: ServiceRuntime, waiter: Waiter) -> None:
    service.pending.remove(waiter)
    service.slot.add(PENDING, -1)


def serve(service: ServiceRuntime) -> None:
    """A connection became free, or the endpoints have changed: serve whoever can be served, in order.

    One loop does it however it was called: whoever ends in here would call it again, and so on."""
    if service.serving:
        return
    service.serving = True
    try:
        while True:
            waiter = next((waiter for waiter in service.pending if waiter.may_go()), None)
            if waiter is None:
                break
            leave(service, waiter)
            if not waiter.go():
                break
    finally:
        service.serving = False


def is_free(service: ServiceRuntime, balancer: Balancer | None) -> bool:
    """Whether an endpoint has a connection or room for one, or there is none to wait for."""
    if balancer is None:
        return True
    usable = [candidate for candidate in balancer.candidates if candidate.usable and candidate.weight > 0]
    if not usable:
        return True
    return service.has_room() and any(not candidate.full for candidate in usable)
