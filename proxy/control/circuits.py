"""Circuit breakers as the agent moves them: a health check that succeeds, and an operator who knows better.

The words are shared with the workers (proxy/upstream/breakers.py), who move them by what requests meet; the machine is
mesh/breaker.py. Whoever swaps in another state moves the epochs of the service and of the instance on, here as there,
so that workers and DNS find out at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from discovery.model import Endpoint, Service
from mesh.breaker import CHECK_SUCCESS, CLOSED, OPEN, STATE_MASK, next_word
from proxy.kernel.cells import Table
from proxy.stats.slots import WORKER_SLOT, endpoint_key, service_key
from proxy.stats.words import BREAKER_WORD, BREAKERS_WORD, EPOCH_WORD, RECOVERED_WORD


def check_succeeded(
    table: Table, numbers: Mapping[str, int], service: Service, endpoint: Endpoint, now_ms: int
) -> bool:
    """A health check of the endpoint has succeeded: if it was ejected it is half-open now, whatever is left of the
    ejection, and requests decide. Whether that was so."""

    def succeeded(word: int) -> int:
        if word & STATE_MASK != OPEN:
            return word
        return next_word(word, CHECK_SUCCESS, now_ms, service.circuit_breaker, 0.0)

    return _move(table, numbers, service.name, endpoint, succeeded)


def close(table: Table, numbers: Mapping[str, int], service: Service, endpoint: Endpoint, now_ms: int) -> bool:
    """Somebody says that the endpoint is well: its breaker is closed, without a past. Whether it was not."""
    number = numbers.get(endpoint_key(service.name, endpoint.id, endpoint.address))
    if number is not None:
        shared = table.shared(number)
        if shared.load(BREAKER_WORD) & STATE_MASK != CLOSED:
            recovered = shared.load(RECOVERED_WORD)
            while not shared.swap(RECOVERED_WORD, recovered, now_ms):
                recovered = shared.load(RECOVERED_WORD)
    return _move(table, numbers, service.name, endpoint, lambda word: 0)


def _move(
    table: Table, numbers: Mapping[str, int], service: str, endpoint: Endpoint, after: Callable[[int], int]
) -> bool:
    """Whether the breaker has another state now."""
    number = numbers.get(endpoint_key(service, endpoint.id, endpoint.address))
    if number is None:
        return False
    shared = table.shared(number)
    word = shared.load(BREAKER_WORD)
    while not shared.swap(BREAKER_WORD, word, after(word)):
        word = shared.load(BREAKER_WORD)
    if not (word ^ after(word)) & STATE_MASK:
        return False
    own = numbers.get(service_key(service))
    if own is not None:
        table.shared(own).add(EPOCH_WORD, 1)
    table.shared(WORKER_SLOT).add(BREAKERS_WORD, 1)
    return True
