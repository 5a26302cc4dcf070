"""What an answer of DNS costs that the kernel does not keep, and what a change of a large service costs.

    pytest benchmarks/micro/test_dns_zone.py --benchmark-columns=min,median --benchmark-sort=name

Budget: 3 microseconds for a name that is not there, because anybody can ask for those without end; 10 for the first
answer of a small service after a change; a change of a service must not depend on how many endpoints it has.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest

from discovery.dns.names import wire_name
from discovery.dns.selection import ALL_CLOSED, Circuits
from discovery.dns.zone import Zone
from discovery.model import DnsSettings, Endpoint, EndpointState, Service

SERVICES = 1000
ENDPOINTS = 10_000

Benchmark = Callable[..., object]


def endpoints(count: int) -> tuple[Endpoint, ...]:
    return tuple(
        Endpoint(id=str(number), address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}:80", version="v1")
        for number in range(count)
    )


@pytest.fixture(scope="module")
def zone() -> Zone:
    made = Zone(DnsSettings(addresses=("127.0.0.1:8600",)), random.Random(1))
    for number in range(SERVICES):
        made.put(Service(name=f"s{number}", domain=f"s{number}.test", endpoints=endpoints(3)))
    made.put(Service(name="large", domain="large.test", endpoints=endpoints(ENDPOINTS)))
    return made


@pytest.mark.parametrize(
    ("name", "qtype"),
    [
        ("nothing.s500.test", 1),
        ("nothing.service.hivemesh", 1),
        ("not.ours.example", 1),
        ("s500.test", 1),
        ("s500.test", 33),
        ("large.test", 1),
    ],
    ids=lambda value: str(value),
)
def test_answer(benchmark: Benchmark, zone: Zone, name: str, qtype: int) -> None:
    wire = wire_name(name)
    benchmark(lambda: zone.answer(wire, qtype))


@pytest.mark.parametrize("count", [3, ENDPOINTS])
def test_change(benchmark: Benchmark, zone: Zone, count: int) -> None:
    service = Service(name="large", domain="large.test", endpoints=endpoints(count))
    benchmark(lambda: zone.put(service))


@pytest.mark.parametrize("records", [0, 8])
@pytest.mark.parametrize("case", ["after a change", "one breaker open"])
def test_answer_of_a_large_service_in_a_storm(benchmark: Benchmark, case: str, records: int) -> None:
    """What one question holds the worker's traffic up for when the last answer is void. `records` of an answer: 0 is
    as many as fit, four thousand."""
    is_change = case == "after a change"
    circuits = ALL_CLOSED if is_change else Circuits(1, {("5", "10.0.0.5:80"): 9})
    zone = Zone(DnsSettings(max_answers=records), random.Random(1), lambda name: circuits)
    many = endpoints(ENDPOINTS)
    sick = (*many[:5000], msgspec.structs.replace(many[5000], state=EndpointState.UNHEALTHY), *many[5001:])
    versions = [Service(name="large", domain="large.test", endpoints=each) for each in (many, sick)]
    zone.put(versions[0])
    wire = wire_name("large.test")

    def ask() -> None:
        if is_change:
            versions.reverse()
            zone.put(versions[0])
        zone.answer(wire, 1)

    benchmark(ask)
