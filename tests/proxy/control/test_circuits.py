"""What the agent does to circuit breakers: never more than it may, and everybody hears of it."""

from __future__ import annotations

import pytest
from fake_agent import FakeAgent

from discovery.model import Endpoint, Service
from mesh.breaker import CLOSED, HALF_OPEN, OPEN, STATE_MASK, times_of
from proxy.control import circuits
from proxy.stats.slots import WORKER_SLOT, endpoint_key
from proxy.stats.words import BREAKER_WORD, BREAKERS_WORD, EPOCH_WORD, RECOVERED_WORD

KEY = endpoint_key("api", "api-1", "127.0.0.1:9001")
NOW_MS = 1_000_000


class Bench:
    def __init__(self) -> None:
        self.agent = FakeAgent()
        service = self.agent.catalog.registry.service("api")
        assert service is not None
        self.service: Service = service
        self.endpoint: Endpoint = service.endpoints[0]

    @property
    def word(self) -> int:
        return self.agent.words(KEY).load(BREAKER_WORD)

    @property
    def epochs(self) -> tuple[int, int]:
        return (
            self.agent.words("service/api").load(EPOCH_WORD),
            self.agent.table.shared(WORKER_SLOT).load(BREAKERS_WORD),
        )

    def check_succeeded(self) -> bool:
        agent = self.agent
        return circuits.check_succeeded(agent.table, agent.slot_numbers, self.service, self.endpoint, NOW_MS)

    def close(self) -> bool:
        agent = self.agent
        return circuits.close(agent.table, agent.slot_numbers, self.service, self.endpoint, NOW_MS)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_check_that_succeeds_makes_an_open_breaker_half_open_and_never_closed(bench: Bench) -> None:
    bench.agent.put_breaker(KEY, OPEN, until=100.0, times=3)
    assert bench.check_succeeded()
    assert (bench.word & STATE_MASK, times_of(bench.word)) == (HALF_OPEN, 3)
    assert bench.epochs == (1, 1)
    assert not bench.check_succeeded()
    assert bench.word & STATE_MASK == HALF_OPEN
    assert bench.epochs == (1, 1)


@pytest.mark.parametrize(("state", "count"), [(CLOSED, 4), (HALF_OPEN, 2)])
def test_a_check_says_nothing_about_requests(bench: Bench, state: int, count: int) -> None:
    bench.agent.put_breaker(KEY, state, count=count)
    before = bench.word
    assert not bench.check_succeeded()
    assert bench.word == before
    assert bench.epochs == (0, 0)


@pytest.mark.parametrize("state", [OPEN, HALF_OPEN])
def test_a_breaker_that_is_closed_by_hand_has_no_past(bench: Bench, state: int) -> None:
    bench.agent.put_breaker(KEY, state, until=100.0, times=5)
    assert bench.close()
    assert bench.word == 0
    assert bench.epochs == (1, 1)
    assert bench.agent.words(KEY).load(RECOVERED_WORD) == NOW_MS


def test_errors_of_a_closed_breaker_are_forgotten_by_hand_without_a_change_of_state(bench: Bench) -> None:
    bench.agent.put_breaker(KEY, CLOSED, count=4)
    assert not bench.close()
    assert bench.word == 0
    assert bench.epochs == (0, 0)
    assert bench.agent.words(KEY).load(RECOVERED_WORD) == 0


def test_an_endpoint_without_a_row_has_no_breaker(bench: Bench) -> None:
    bench.endpoint = Endpoint(id="api-1", address="127.0.0.1:1")
    assert not bench.check_succeeded()
    assert not bench.close()
    assert bench.epochs == (0, 0)
