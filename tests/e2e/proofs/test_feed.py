"""Registrations reach every worker, and survive the agent (benchmarks/proofs/feed.py)."""


def test_a_registration_reaches_every_worker_and_none_is_lost(holds):
    holds("feed")
