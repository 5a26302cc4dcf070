"""What an answer of DNS costs that the kernel does not keep, and what a change of a large service costs.

    pytest benchmarks/micro/test_dns_zone.py --benchmark-columns=min,median --benchmark-sort=name

Budget: 3 microseconds for a name that is not there, because anybody can ask for those without end; 10 for the first
answer of a small service after a change; a change of a service must not depend on how many endpoints it has.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from discovery.dns.names import wire_name
from discovery.dns.zone import Zone
from discovery.model import DnsSettings, Endpoint, Service

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
