"""Listeners, routes and endpoints come and go under load (benchmarks/proofs/streams.py)."""


def test_connections_of_other_listeners_survive_every_change(holds):
    holds("streams")
