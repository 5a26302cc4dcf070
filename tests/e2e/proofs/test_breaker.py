"""A circuit breaker with two workers, measured at the endpoint (benchmarks/proofs/breaker.py)."""


def test_it_opens_tries_and_closes_in_time(holds):
    holds("breaker")
