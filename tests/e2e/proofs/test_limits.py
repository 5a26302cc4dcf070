"""Limits over two workers, under four times what they allow (benchmarks/proofs/limits.py)."""


def test_limits_hold_over_all_workers_together(holds):
    holds("limits")
