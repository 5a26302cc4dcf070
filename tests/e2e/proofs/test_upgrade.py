"""The program is upgraded under load (benchmarks/proofs/upgrade.py)."""


def test_no_request_and_no_connection_is_lost_in_an_upgrade(holds):
    holds("upgrade")
