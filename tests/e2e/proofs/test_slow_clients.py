"""Clients that hold connections (benchmarks/proofs/slow_loris.py and idle.py): heads a byte at a time, and silence."""


def test_heads_that_come_a_byte_at_a_time_are_held_and_ended(holds):
    holds("slow_loris")


def test_idle_clients_are_held_served_and_ended(holds):
    holds("idle")
