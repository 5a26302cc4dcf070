"""Who waits for a connection to a service: HTTP requests and TCP connections alike, in the order they came.

A service has one queue (`ServiceRuntime.pending`) of `Waiter`s. It is looked through whenever a connection has become
free or the endpoints have changed, and whoever can be served goes on.
"""

from __future__ import annotations

from mesh.balance import Balancer, Candidate
from proxy.stats.slots import ACTIVE, CONNECTIONS_ACTIVE, OVERFLOWS, PENDING
from proxy.upstream.endpoint import ServiceRuntime


class Waiter:
    """An entry of the queue."""

    def kind(self) -> object:
        """Equal for all that wait for the same: as long as one of them may not go, none may. Asked when it joins.
        Itself: nobody else waits for the same."""
        return self

    def may_go(self) -> bool:
        """Whether there is something to wait for no more."""
        raise NotImplementedError

    def go(self) -> bool:
        """Go on; it has left the queue. False when it had to join again: then those behind need not try."""
        raise NotImplementedError


def join(service: ServiceRuntime, waiter: Waiter) -> bool:
    """False: as many wait as may, here or in all workers together, and that has been counted."""
    slot = service.slot
    # Ours is published before all are added up, so that more than may never wait.
    slot.add(PENDING, 1)
    if len(service.pending) >= service.max_pending or (
        service.max_waiting and slot.total(PENDING) > service.max_waiting
    ):
        slot.add(PENDING, -1)
        slot.add(OVERFLOWS, 1)
        return False
    kind = waiter.kind()
    service.pending[waiter] = kind
    service.waiting[kind] = service.waiting.get(kind, 0) + 1
    if service.max_total:
        service.crowded.add(service)
        if others_are_idle(service):
            service.ring()
    return True


def is_crowded(service: ServiceRuntime) -> bool:
    """Whether `join` would say no."""
    waiting = service.slot.total(PENDING)
    return len(service.pending) >= service.max_pending or 0 < service.max_waiting <= waiting


def others_are_idle(service: ServiceRuntime) -> bool:
    """Whether other workers hold more connections than they have requests on."""
    slot = service.slot
    connections = slot.total(CONNECTIONS_ACTIVE) - slot.get(CONNECTIONS_ACTIVE)
    busy = slot.total(ACTIVE) - slot.get(ACTIVE) - service.others_wait()
    return connections > busy


def leave(service: ServiceRuntime, waiter: Waiter) -> None:
    kind = service.pending.pop(waiter)
    service.slot.add(PENDING, -1)
    left = service.waiting.pop(kind) - 1
    if left:
        service.waiting[kind] = left


def first_free(service: ServiceRuntime) -> Waiter | None:
    """Who is the first that may go. Each kind is asked once: under more load than it can take a service has a long
    queue, nearly all of one kind, and looks through it each time when one of its many connections becomes free."""
    held: set[object] = set()
    for waiter, kind in service.pending.items():
        if kind in held:
            continue
        if waiter.may_go():
            return waiter
        held.add(kind)
        if len(held) == len(service.waiting):
            break
    return None


def serve(service: ServiceRuntime) -> None:
    """A connection became free, or the endpoints have changed: serve whoever can be served, in order.

    One loop does it however it was called: whoever ends in here would call it again, and so on."""
    if service.serving:
        return
    service.serving = True
    try:
        while True:
            waiter = first_free(service)
            if waiter is None:
                break
            leave(service, waiter)
            if not waiter.go():
                # Another worker was faster. It joined at the end and keeps its place.
                service.pending.move_to_end(next(reversed(service.pending)), last=False)
                break
    finally:
        service.serving = False


def make_way(service: ServiceRuntime) -> None:
    """Close idle connections for those who wait in other workers within `max_total`, who cannot close them: one for
    each, the one that has waited longest first. Asked when one of them rings, and every moment besides."""
    waiting = service.slot.total(PENDING)
    # Those who wait here are served by whatever ends here.
    if not waiting or service.pending or service.is_below_total():
        return
    idle = [stream for endpoint in service.endpoints.values() for stream in endpoint.idle]
    idle.sort(key=lambda stream: stream.idle_since)
    for stream in idle[:waiting]:
        stream.close()


def is_free(service: ServiceRuntime, balancer: Balancer | None, tried: list[Candidate] | None, now_ms: int) -> bool:
    """Whether an endpoint that the balancer would choose has a connection or room for one, or there is none to wait
    for. One that was `tried` or is ejected is not waited for, and a backup only where there is nothing else: whoever
    went because of those would have to join again, and hold up those behind."""
    awaited = balancer.awaited(tried, now_ms) if balancer is not None else None
    if not awaited:
        return True
    return service.has_room() and any(not candidate.full for candidate in awaited)
