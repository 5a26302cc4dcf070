"""Many endpoints checked by one agent, some of which hang (benchmarks/proofs/health.py)."""


def test_checks_are_made_on_time(holds):
    holds("health")
