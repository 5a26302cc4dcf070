"""Each strategy against theory, over two workers (benchmarks/proofs/balancing.py)."""


def test_every_strategy_shares_as_it_says(holds):
    holds("balancing")
