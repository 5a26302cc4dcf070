"""Endpoints that are killed and restarted in turn (benchmarks/proofs/rolling_failure.py)."""


def test_a_rolling_failure_costs_no_idempotent_request(holds):
    holds("rolling_failure")
