"""The page of results shows what the result files hold, failures included."""

import json

from benchmarks.proofs.evidence import Evidence
from benchmarks.proofs.report import load_results, main, render


def silent(line):
    """Say nothing."""


def test_the_page_shows_the_results_that_are_there():
    assert main(["--check"]) == 0


def test_a_claim_that_does_not_hold_is_shown_as_such(tmp_path):
    evidence = Evidence("reload", "nothing is lost", short=False, say=silent)
    evidence.claim("no request fails", True, "0 of 10")
    evidence.claim("no connection is lost", False, "3 of 10 | lost")
    evidence.write(tmp_path)

    shown = render(load_results(tmp_path, ["big_body", "reload"]))

    assert "**no**" in shown
    assert "1 of 2" in shown
    assert "**fails:** no connection is lost" in shown
    assert "3 of 10 \\| lost" in shown


def test_a_proof_without_claims_shows_nothing(tmp_path):
    evidence = Evidence("churn", "nothing is left behind", short=False, say=silent)

    assert not evidence.holds
    assert json.loads(evidence.write(tmp_path).read_text())["holds"] is False
