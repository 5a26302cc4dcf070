"""The programs that people use (benchmarks/proofs/clients.py)."""


def test_common_clients_and_origins_work(holds):
    holds("clients")
