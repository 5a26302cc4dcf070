"""Endpoints that are killed under load (benchmarks/proofs/dead_endpoints.py)."""


def test_nothing_is_delivered_twice_when_endpoints_die(holds):
    holds("dead_endpoints")
