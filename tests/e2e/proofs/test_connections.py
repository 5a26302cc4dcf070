"""Short TCP connections leave nothing behind (benchmarks/proofs/connections.py)."""


def test_short_connections_leave_no_descriptor_and_no_memory_behind(holds):
    holds("connections")
