"""What plan and simulate say, and what a change then does (benchmarks/proofs/plan.py)."""


def test_what_is_predicted_is_what_happens(holds):
    holds("plan")
