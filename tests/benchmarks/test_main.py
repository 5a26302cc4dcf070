import pytest

from benchmarks.compare.__main__ import parse
from benchmarks.compare.works import WORKS


def test_all_works_and_peers_by_default():
    options = parse([])

    assert options.works == [work.name for work in WORKS]
    assert options.peers == ["hivemesh", "haproxy", "nginx", "envoy", "knot", "unbound", "dnsmasq"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--works", "http_keepalive,typo"], "unknown 'typo', expected any of: http_keepalive"),
        (["--peers", "apache"], "unknown 'apache', expected any of: hivemesh"),
        (["--rounds", "0"], "--rounds 0, expected at least 1"),
        (["--seconds", "0.2"], "--seconds 0.2, expected at least 1"),
    ],
)
def test_a_wrong_option_is_refused_with_what_was_expected(arguments, expected, capsys):
    with pytest.raises(SystemExit):
        parse(arguments)

    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_every_comparison_of_a_work_is_between_its_own_lanes(work):
    labels = {lane.label for lane in work.lanes}

    assert len(labels) == len(work.lanes)
    assert all({comparison.of, comparison.to} <= labels for comparison in work.comparisons)
