"""Peers that come, go, stall and break (benchmarks/proofs/churn.py)."""


def test_nothing_is_left_behind(holds):
    holds("churn")
