"""What the circuit breakers of a service's endpoints say, read from the words that all workers share.

The epoch is read first and the words behind it; whoever changes a word raises the epoch afterwards. So an answer that
was made from older words than the present ones never has the present epoch.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from discovery.delta import Identity
from discovery.dns.selection import ALL_CLOSED, Circuits
from discovery.model import Service
from mesh.breaker import CLOSED, OPEN, state_of, until_of
from proxy.stats.words import BREAKER_WORD, EPOCH_WORD
from proxy.upstream.endpoint import ServiceRuntime


class WordReader:
    """Answers for the services of the tables."""

    def __init__(self, services: Mapping[str, ServiceRuntime]) -> None:
        self.services = services
        # Where all were closed: in which epoch, and of which version of the service. None of them is anything else
        # before one of the two is.
        self.closed: dict[str, tuple[int, Service]] = {}

    def __call__(self, name: str) -> Circuits:
        runtime = self.services.get(name)
        if runtime is None:
            self.closed.pop(name, None)
            return ALL_CLOSED
        epoch = runtime.shared.load(EPOCH_WORD)
        known = self.closed.get(name)
        if known is not None and known[0] == epoch and known[1] is runtime.service:
            return Circuits(epoch)
        now_ms = int(time.monotonic() * 1000)
        open_until: dict[Identity, int] = {}
        half_open: set[Identity] = set()
        for identity, endpoint in runtime.endpoints.items():
            word = endpoint.shared.load(BREAKER_WORD)
            if word == 0:
                continue
            state = state_of(word, now_ms)
            if state == OPEN:
                open_until[identity] = until_of(word)
            elif state != CLOSED:
                half_open.add(identity)
        if not open_until and not half_open:
            self.closed[name] = (epoch, runtime.service)
        return Circuits(epoch, open_until, half_open)
