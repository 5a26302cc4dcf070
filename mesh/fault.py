"""Trouble on purpose: which requests are delayed, and which are answered with an error instead of being sent on.

Each of the two draws for itself, as Envoy's fault filter does: with 50 % delays and 10 % aborts, 5 % of all requests
are first delayed and then aborted. An experiment with an end stops by itself, so that nobody has to remember it.
"""

from __future__ import annotations

from discovery.policies import Fault
from mesh.draws import Draws, hit


def is_over(fault: Fault, now: float) -> bool:
    """`now`: seconds of the epoch."""
    return 0.0 < fault.until <= now


def delay_of(fault: Fault, draws: Draws, now: float) -> float:
    """Seconds for which this request is delayed; 0 for not at all."""
    delay = fault.delay
    if delay is None or is_over(fault, now) or not hit(draws, delay.percent):
        return 0.0
    return delay.duration


def abort_of(fault: Fault, draws: Draws, now: float) -> int:
    """The status that this request is answered with; 0 when it goes on."""
    abort = fault.abort
    if abort is None or is_over(fault, now) or not hit(draws, abort.percent):
        return 0
    return abort.status
