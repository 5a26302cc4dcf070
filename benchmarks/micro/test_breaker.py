"""What the circuit breaker costs a request to a healthy endpoint, and picks around an ejected one.

    pytest benchmarks/micro/test_breaker.py --benchmark-columns=min,median --benchmark-sort=name

Each round does it 64 times, with the loop of the test: `nothing` is that loop with a call that does little.
"""

from __future__ import annotations

from breakers import REQUEST, Instance

from mesh.breaker import SUCCESS, WORKED, next_word

TIMES = 64


def test_nothing(benchmark) -> None:
    endpoint = Instance().endpoint()

    def whole() -> None:
        for _ in range(TIMES):
            endpoint.load()

    benchmark(whole)


def test_is_ejected(benchmark) -> None:
    endpoint = Instance().endpoint()

    def whole() -> None:
        for now in range(TIMES):
            endpoint.is_ejected(now)

    benchmark(whole)


def test_admit(benchmark) -> None:
    endpoint = Instance().endpoint()

    def whole() -> None:
        for now in range(TIMES):
            endpoint.admit(now)

    benchmark(whole)


def test_a_success(benchmark) -> None:
    """With the count of attempts, which is not the breaker's alone."""
    endpoint = Instance().endpoint()

    def whole() -> None:
        for now in range(TIMES):
            endpoint.attempt_over(WORKED, False, now)

    benchmark(whole)


def test_pick_beside_an_ejected_one(benchmark) -> None:
    instance = Instance(endpoints=3)
    instance.fail()
    balancer = instance.services[0].balancer
    assert balancer is not None
    now = instance.now * 1000

    def whole() -> None:
        for _ in range(TIMES):
            balancer.pick(REQUEST, None, now)

    benchmark(whole)


def test_the_machine(benchmark) -> None:
    policy = Instance().services[0].breaker

    def whole() -> None:
        for now in range(TIMES):
            next_word(0, SUCCESS, now, policy, 0.0)

    benchmark(whole)
