"""The configuration changes under load (benchmarks/proofs/reload.py)."""


def test_no_request_and_no_connection_is_lost_in_a_reload(holds):
    holds("reload")
