"""What one change costs among ten thousand: in the agent, which finds it out, and in each worker, which carries it out.

    pytest benchmarks/micro/test_feed.py --benchmark-columns=min,median --benchmark-sort=name

A round is one change, from a snapshot to the next: an endpoint fails, leaves or comes, in a service with 10,000
endpoints or among 10,000 services with one endpoint each. The worker's part is all that happens between a decoded
message and its `Applied`, DNS aside; while it lasts, traffic waits. The goal is "well under 1 ms".
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count

import msgspec
import pytest

from discovery.delta import change_between, delta, merge_telling
from discovery.model import Endpoint, EndpointState, Listener, Service, Snapshot
from proxy.control.fleet import State, difference
from proxy.kernel.cells import Table
from proxy.stats import slots
from proxy.stats.allocator import SlotAllocator, key_change, keys_of
from proxy.stats.rows import Rows
from proxy.table import Tables

MANY = 10_000
ROWS = slots.SLOTS_PER_WORKER
WEB = Listener(name="web", address="127.0.0.1:80", by_domain=True)

ENDPOINTS = tuple(
    Endpoint(id=f"e{n}", address=f"10.1.{n // 250}.{n % 250}:80", version=f"v{n % 2}") for n in range(MANY)
)
ONE_SERVICE = (Service(name="app", domain="app.test", endpoints=ENDPOINTS),)
MANY_SERVICES = tuple(
    Service(name=f"s{n}", domain=f"s{n}.test", endpoints=(endpoint,)) for n, endpoint in enumerate(ENDPOINTS)
)
SHAPES = {"one service": ONE_SERVICE, "many services": MANY_SERVICES}


def one_fails(services: tuple[Service, ...]) -> tuple[Service, ...]:
    return _with_endpoints(services, lambda was: (msgspec.structs.replace(was, state=EndpointState.UNHEALTHY),))


def one_leaves(services: tuple[Service, ...]) -> tuple[Service, ...]:
    return _with_endpoints(services, lambda was: ())


def one_comes(services: tuple[Service, ...]) -> tuple[Service, ...]:
    return _with_endpoints(services, lambda was: (was, Endpoint(id="new", address="10.2.0.1:80", version="v1")))


def a_service_leaves(services: tuple[Service, ...]) -> tuple[Service, ...]:
    return services[: MANY // 2] + services[MANY // 2 + 1 :]


def _with_endpoints(
    services: tuple[Service, ...], instead: Callable[[Endpoint], tuple[Endpoint, ...]]
) -> tuple[Service, ...]:
    where = len(services) // 2
    endpoints = services[where].endpoints
    at = len(endpoints) // 2
    changed = (*endpoints[:at], *instead(endpoints[at]), *endpoints[at + 1 :])
    return (*services[:where], msgspec.structs.replace(services[where], endpoints=changed), *services[where + 1 :])


CASES = [
    pytest.param(SHAPES[shape], change, id=f"{shape}, {change.__name__.replace('_', ' ')}")
    for shape in SHAPES
    for change in (one_fails, one_leaves, one_comes, a_service_leaves)
    if shape == "many services" or change is not a_service_leaves
]


@pytest.mark.parametrize(("services", "change"), CASES)
def test_in_the_agent(benchmark, services: tuple[Service, ...], change: Callable[..., tuple[Service, ...]]) -> None:
    """From the registry's snapshot to the bytes of the message, there and back in turn."""
    there = Snapshot(version=1, listeners=(WEB,), services=services)
    back = Snapshot(version=2, listeners=(WEB,), services=change(services))
    allocator = SlotAllocator(ROWS, lambda _: None)
    allocator.assign(keys_of(there), 1)
    states = [State(there, allocator.numbers, {}), State(back, allocator.numbers, {})]
    turns = count()

    def publish() -> None:
        was, now = states if next(turns) % 2 == 0 else states[::-1]
        allocator.change(key_change(was.snapshot, change_between(was.snapshot, now.snapshot)), now.snapshot.version)
        msgspec.msgpack.encode(difference(was, now))

    benchmark(publish)


@pytest.mark.parametrize(("services", "change"), CASES)
def test_in_a_worker(benchmark, services: tuple[Service, ...], change: Callable[..., tuple[Service, ...]]) -> None:
    """From the bytes of the difference to the last step, there and back in turn."""
    there = Snapshot(version=1, listeners=(WEB,), services=services)
    back = Snapshot(version=2, listeners=(WEB,), services=change(services))
    numbers = {key: row for row, key in enumerate(dict.fromkeys((*keys_of(there), *keys_of(back))), 1)}
    descriptor = os.memfd_create("statistics")
    os.ftruncate(descriptor, slots.table_size(1, ROWS))
    rows = Rows(Table(descriptor, 1, ROWS), 0, lambda _: None)
    os.close(descriptor)
    tables = Tables(rows)
    tables.apply(there, numbers)
    messages = [msgspec.msgpack.encode(delta(there, back)), msgspec.msgpack.encode(delta(back, there))]
    decoder = msgspec.msgpack.Decoder(type(delta(there, back)))
    turns = count()

    def apply() -> None:
        before = tables.snapshot
        merged = merge_telling(before, decoder.decode(messages[next(turns) % 2]))
        removed = key_change(before, merged).removed
        for _ in tables.steps(merged):
            pass
        rows.forget([(key, numbers[key]) for key in removed])

    benchmark(apply)
