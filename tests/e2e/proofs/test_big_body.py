"""Large and slow bodies (benchmarks/proofs/big_body.py)."""


def test_bodies_pass_unchanged_in_flat_memory(holds):
    holds("big_body")
