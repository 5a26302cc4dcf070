"""Workers and agents are killed and stopped under load (benchmarks/proofs/crash.py)."""


def test_a_process_that_dies_takes_nothing_with_it_but_what_it_was_doing(holds):
    holds("crash")
