"""Resets at every point of an exchange (benchmarks/proofs/resets.py)."""


def test_nothing_is_done_twice_wherever_an_exchange_breaks(holds):
    holds("resets")
