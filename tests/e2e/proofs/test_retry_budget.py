"""Retries when an endpoint fails every request (benchmarks/proofs/retry_budget.py)."""


def test_retries_add_no_more_than_the_budget_says(holds):
    holds("retry_budget")
