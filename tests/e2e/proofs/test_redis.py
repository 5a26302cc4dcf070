"""Redis through a TCP listener (benchmarks/proofs/redis.py)."""


def test_every_command_is_carried_out_once(holds):
    holds("redis")
