"""Which requests are delayed or aborted on purpose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.policies import Abort, Delay, Fault
from mesh.draws import Draws, hit
from mesh.fault import abort_of, delay_of

FAULT = Fault(delay=Delay(0.5, percent=30.0), abort=Abort(502, percent=10.0))


def test_a_share_of_requests_has_trouble() -> None:
    draws = Draws(1)
    pairs = [(delay_of(FAULT, draws, 0.0), abort_of(FAULT, draws, 0.0)) for _ in range(20_000)]
    delayed = sum(1 for delay, _ in pairs if delay)
    aborted = sum(1 for _, status in pairs if status)
    both = sum(1 for delay, status in pairs if delay and status)
    assert delayed == pytest.approx(6000, rel=0.05)
    assert aborted == pytest.approx(2000, rel=0.1)
    # Each draws for itself.
    assert both == pytest.approx(600, rel=0.2)
    assert {delay for delay, _ in pairs} == {0.0, 0.5}
    assert {status for _, status in pairs} == {0, 502}


def test_no_fault_draws_nothing() -> None:
    draws, untouched = Draws(7), Draws(7)
    assert delay_of(Fault(abort=Abort()), draws, 0.0) == 0.0
    assert abort_of(Fault(delay=Delay(1.0)), draws, 0.0) == 0
    assert draws.bits() == untouched.bits()


@pytest.mark.parametrize(("now", "status"), [(99.9, 503), (100.0, 0), (5e9, 0)])
def test_an_experiment_ends_by_itself(now: float, status: int) -> None:
    fault = Fault(delay=Delay(1.0), abort=Abort(503), until=100.0)
    assert abort_of(fault, Draws(1), now) == status
    assert delay_of(fault, Draws(1), now) == (1.0 if status else 0.0)


def test_an_experiment_without_an_end_goes_on() -> None:
    assert abort_of(Fault(abort=Abort(503)), Draws(1), 5e9) == 503


@given(st.integers(0, 2**64 - 1))
def test_never_at_nought_and_always_at_a_hundred(seed: int) -> None:
    assert not hit(Draws(seed), 0.0)
    assert hit(Draws(seed), 100.0)
