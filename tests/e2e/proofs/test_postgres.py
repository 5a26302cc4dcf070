"""PostgreSQL through a TCP listener (benchmarks/proofs/postgres.py)."""


def test_no_transaction_is_lost_or_doubled(holds):
    holds("postgres")
