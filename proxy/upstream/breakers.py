"""The circuit breakers as one worker sees them: events go into the shared words, and what comes of them is told.

The machine is mesh/breaker.py; the word of an endpoint lies in shared memory and belongs to nobody. Whoever swaps in a
change of state is the one who counts it, logs it, and moves the two epochs on: that of the service, which DNS answers
hold themselves to, and that of the instance, by which all workers find out without looking at each endpoint.

`look` is called at every tick. It turns ejections whose time is over into half-open, so that this happens (and is
logged, and wakes those who wait) whether there are requests or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from mesh.breaker import (
    CLOSED,
    HALF_OPEN,
    MOMENT,
    OPEN,
    OUTLIER,
    PROBE,
    PROBE_FAILURE,
    PROBE_SUCCESS,
    REFUSED,
    STATE_MASK,
    next_word,
    probes_left,
    standing,
    state_of,
    times_of,
    until_of,
)
from mesh.draws import Draws
from proxy.kernel.cells import Shared
from proxy.stats.slots import PROBES
from proxy.stats.words import BREAKER_WORD, BREAKERS_WORD, EJECTION_REASONS, EJECTIONS, EPOCH_WORD, RECOVERED_WORD
from proxy.upstream.sweeps import Sweeps

if TYPE_CHECKING:  # what has these breakers
    from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime

Fields = Mapping[str, str | int | float]
Emit = Callable[[str, Fields], None]
NO_FIELDS: Fields = {}

# Places in EJECTION_REASONS.
BY_ERRORS = 0
BY_COMPARISON = 1
BY_PROBE = 2


class Breakers:
    """One per worker. `instance`: the shared words of the worker's own row, None in what is no data plane."""

    def __init__(self, instance: Shared | None, draws: Draws, emit: Emit = lambda name, fields: None) -> None:
        self.instance = instance
        self.draws = draws
        self.emit = emit
        self.sweeps = Sweeps(self)
        self.seen = 0  # epoch of the instance
        self.open: set[EndpointRuntime] = set()  # those whose ejection has an end that is waited for

    # --- what requests ask ----------------------------------------------------------------------------------------

    def keeps_away(self, endpoint: EndpointRuntime, now_ms: int) -> bool:
        """Whether an endpoint that is not closed takes no request at this moment."""
        word = endpoint.shared.load(BREAKER_WORD)
        state = state_of(word, now_ms)
        if state != HALF_OPEN:
            return state == OPEN
        left = probes_left(word, endpoint.service.breaker)
        return left > 0 and endpoint.slot.total(PROBES) >= left

    def admit(self, endpoint: EndpointRuntime, now_ms: int) -> int:
        """The breaker's word to a request that has picked an endpoint which is not closed.

        A probe is claimed as all places are that workers share: ours is published first, then all are added up. The
        successes are read after that, since a probe that ends moves from the one to the other: whoever is in between
        is counted twice and never not at all. So there are at most `half_open_requests`, and now and then one less."""
        shared, slot, policy = endpoint.shared, endpoint.slot, endpoint.service.breaker
        word = shared.load(BREAKER_WORD)
        if state_of(word, now_ms) == OPEN:
            return REFUSED
        if word & STATE_MASK == OPEN or probes_left(word, policy) == 0:
            self.happened(endpoint, MOMENT, now_ms)
        slot.add(PROBES, 1)
        under_way = slot.total(PROBES)
        said = standing(shared.load(BREAKER_WORD), under_way, policy)
        if said != PROBE:
            slot.add(PROBES, -1)
        return said

    def would_admit(self, endpoint: EndpointRuntime, now_ms: int) -> int:
        """What `admit` would say; nothing is claimed or noted."""
        policy = endpoint.service.breaker
        word = endpoint.shared.load(BREAKER_WORD)
        if state_of(word, now_ms) == OPEN:
            return REFUSED
        if word & STATE_MASK == OPEN or probes_left(word, policy) == 0:
            word = next_word(word, MOMENT, now_ms, policy, 0.0)
        return standing(word, endpoint.slot.total(PROBES) + 1, policy)

    def probe_over(self, endpoint: EndpointRuntime, worked: bool, now_ms: int) -> None:
        """The outcome of a probe is known. Its place is given back by the endpoint."""
        self.happened(endpoint, PROBE_SUCCESS if worked else PROBE_FAILURE, now_ms)

    # --- events ---------------------------------------------------------------------------------------------------

    def happened(self, endpoint: EndpointRuntime, event: int, now_ms: int, told: Fields = NO_FIELDS) -> None:
        """Something that a breaker goes by (mesh/breaker.py has the events). `told`: what the log is to say of it."""
        shared, policy = endpoint.shared, endpoint.service.breaker
        draw = self.draws.unit()
        while True:
            word = shared.load(BREAKER_WORD)
            after = next_word(word, event, now_ms, policy, draw)
            if after == word:
                return
            if shared.swap(BREAKER_WORD, word, after):
                break
        if (word ^ after) & STATE_MASK:
            self.changed(endpoint, word, after, event, now_ms, told)

    def changed(self, endpoint: EndpointRuntime, word: int, after: int, event: int, now_ms: int, told: Fields) -> None:
        """This worker has changed the state of a breaker."""
        shared, service = endpoint.shared, endpoint.service
        fields: dict[str, str | int | float] = {
            "service": service.name,
            "endpoint": endpoint.endpoint.id,
            "address": endpoint.endpoint.address,
        }
        state = after & STATE_MASK
        if state == OPEN:
            reason = BY_PROBE if word & STATE_MASK == HALF_OPEN else BY_COMPARISON if event == OUTLIER else BY_ERRORS
            shared.add(EJECTIONS + reason, 1)
            service.shared.add(EJECTIONS + reason, 1)
            fields["reason"] = EJECTION_REASONS[reason]
            fields["seconds"] = round((until_of(after) - now_ms) / 1000.0, 3)
            fields["ejections"] = times_of(after)
            if reason == BY_ERRORS:
                fields["failures"] = service.breaker.consecutive_errors
            self.open.add(endpoint)
        elif state == CLOSED:
            recovered = shared.load(RECOVERED_WORD)
            while not shared.swap(RECOVERED_WORD, recovered, now_ms):
                recovered = shared.load(RECOVERED_WORD)
            fields["ejections"] = times_of(after)
        else:
            fields["ejections"] = times_of(after)
        service.shared.add(EPOCH_WORD, 1)
        if self.instance is not None:
            self.instance.add(BREAKERS_WORD, 1)
        self.emit(EVENT_NAMES[state], {**fields, **told})

    # --- the passing of time --------------------------------------------------------------------------------------

    def look(self, services: Mapping[str, ServiceRuntime], now_ms: int) -> list[ServiceRuntime]:
        """Find out what has changed, let ejections end, compare endpoints. Result: services with changes, in whose
        queues there may be some who can go now, or have nothing to wait for any more."""
        changed = []
        if self.instance is not None:
            epoch = self.instance.load(BREAKERS_WORD)
            if epoch != self.seen:
                self.seen = epoch
                changed = [service for service in services.values() if self.look_at(service)]
        for endpoint in list(self.open) if self.open else ():
            if endpoint.removed or endpoint.shared.load(BREAKER_WORD) & STATE_MASK != OPEN:
                self.open.discard(endpoint)
            elif until_of(endpoint.shared.load(BREAKER_WORD)) <= now_ms:
                self.open.discard(endpoint)
                self.happened(endpoint, MOMENT, now_ms)
        self.sweeps.look(services, now_ms)
        return changed

    def look_at(self, service: ServiceRuntime) -> bool:
        """Note what is new at the service's endpoints, if anything is."""
        epoch = service.shared.load(EPOCH_WORD)
        if epoch == service.epoch:
            return False
        service.epoch = epoch
        for endpoint in service.endpoints.values():
            if endpoint.shared.load(BREAKER_WORD) & STATE_MASK == OPEN:
                self.open.add(endpoint)
        return True


EVENT_NAMES = {OPEN: "endpoint ejected", HALF_OPEN: "endpoint half-open", CLOSED: "endpoint recovered"}
