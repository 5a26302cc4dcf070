"""Circuit breakers in tests.

`Instance`: workers that share a statistics table, each with its breakers of the same endpoints, and a clock of the
test. The functions are for the playbooks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from candidates import round_robin
from playbook import Playbook
from udp_playbook import UdpBook

from discovery.model import Endpoint, PoolPolicy, Service
from discovery.policies import CircuitBreaker
from mesh.breaker import FAILED, OPEN, STATE_MASK, pack
from mesh.draws import Draws
from mesh.request import SampleRequest
from proxy.kernel.cells import Table
from proxy.stats import slots, words
from proxy.upstream.breakers import Breakers
from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime, pick_admitted

REQUEST = SampleRequest()
START = 1_000_000  # milliseconds
POLICY = CircuitBreaker(ejection_jitter_pct=0.0)
SERVICE_ROW = 1


class Instance:
    """Workers with the same endpoints. `now` is the time of all of them (milliseconds)."""

    def __init__(self, policy: CircuitBreaker = POLICY, workers: int = 2, endpoints: int = 2) -> None:
        fd = os.memfd_create("statistics")
        os.ftruncate(fd, slots.table_size(workers, 8))
        self.table = Table(fd, workers, 8)
        os.close(fd)
        self.now = START
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.services = [self.service(worker, policy, endpoints) for worker in range(workers)]
        self.tick()

    def service(self, worker: int, policy: CircuitBreaker, endpoints: int) -> ServiceRuntime:
        breakers = Breakers(
            self.table.shared(slots.WORKER_SLOT), Draws(worker), lambda name, fields: self.events.append((name, fields))
        )
        service = ServiceRuntime(
            Service(name="app", circuit_breaker=policy),
            self.table.slot(worker, SERVICE_ROW),
            self.table.shared(SERVICE_ROW),
            None,
            breakers,
        )
        for number in range(endpoints):
            row = SERVICE_ROW + 1 + number
            endpoint = Endpoint(id="abcdef"[number], address=f"127.0.0.1:{number + 1}")
            made = EndpointRuntime(
                service, endpoint, PoolPolicy(), self.table.slot(worker, row), self.table.shared(row)
            )
            service.endpoints[endpoint.id, endpoint.address] = made
        service.balancer = round_robin(list(service.endpoints.values()))
        return service

    def endpoint(self, worker: int = 0, number: int = 0) -> EndpointRuntime:
        return list(self.services[worker].endpoints.values())[number]

    def fail(self, times: int = 5, worker: int = 0, number: int = 0) -> None:
        for _ in range(times):
            self.endpoint(worker, number).attempt_over(FAILED, False, self.now)

    def pass_time(self, seconds: float) -> None:
        self.now += int(seconds * 1000)

    def tick(self, worker: int = 0) -> list[ServiceRuntime]:
        service = self.services[worker]
        return service.breakers.look({service.name: service}, self.now)

    def pick(self, worker: int = 0) -> str:
        balancer = self.services[worker].balancer
        assert balancer is not None
        found = pick_admitted(balancer, REQUEST, None, self.now * 1000)
        return "-" if found is None else found.endpoint.id

    def named(self, name: str) -> list[Mapping[str, Any]]:
        return [fields for each, fields in self.events if each == name]

    def counted(self, row: int, reason: int) -> int:
        return self.table.shared(row).load(words.EJECTIONS + reason)

    def probes(self, number: int = 0) -> int:
        return self.endpoint(0, number).slot.total(slots.PROBES)


def endpoint(book: Playbook | UdpBook, id: str = "a") -> EndpointRuntime:
    """Of the first service."""
    endpoints = next(iter(book.plane.tables.services.values())).endpoints
    return next(each for each in endpoints.values() if each.endpoint.id == id)


def state(book: Playbook | UdpBook, id: str = "a") -> int:
    return endpoint(book, id).shared.load(words.BREAKER_WORD) & STATE_MASK


def end_ejection(book: Playbook | UdpBook, id: str = "a") -> None:
    """Its time is over."""
    shared = endpoint(book, id).shared
    word = shared.load(words.BREAKER_WORD)
    assert word & STATE_MASK == OPEN
    assert shared.swap(words.BREAKER_WORD, word, pack(OPEN, 0, 1, 0, 1))


def trip(book: Playbook | UdpBook, id: str = "a") -> None:
    """Errors in a row, from somewhere else."""
    found = endpoint(book, id)
    for _ in range(found.service.breaker.consecutive_errors):
        found.attempt_over(FAILED, False, book.plane.reactor.now_ms)
    assert state(book, id) == OPEN
