"""Nobody waits for the garbage collector of a worker (benchmarks/proofs/pauses.py)."""


def test_no_pass_of_the_collector_is_long(holds):
    holds("pauses")
