import pytest

from benchmarks.compare.report import BEGIN, END, render, replaced, summary_rows, table, work_section


def result(**changes):
    lane = {
        "median": 12.5,
        "min": 12.0,
        "max": 13.0,
        "spread_pct": 8.0,
        "samples": [{"cpu_us_per_request": 12.5, "user_share": 0.25}],
    }
    ratio = {"of": "hivemesh", "to": "haproxy", "median": 0.8, "min": 0.75, "max": 0.85, "goal": 0.9, "met": True}
    return {
        "work": "http_keepalive",
        "question": "what does a request cost",
        "metric": "cpu_us_per_request",
        "begun": "2026-01-02T03:04:05Z",
        "smoke": False,
        "rounds": 5,
        "seconds": 5.0,
        "commit": "0123456789abcdef",
        "changed": False,
        "machine": {"cpu": "some cpu", "busy_before": {"0": 0.1}},
        "versions": {"haproxy": "2.6"},
        "notes": {},
        "left_out": {},
        "lanes": {"hivemesh": lane, "haproxy": lane},
        "ratios": [ratio],
        **changes,
    }


def test_a_table_has_columns_of_one_width():
    lines = table([["a", "bbb"], ["cc", "d"]])

    assert lines == ["| a  | bbb |", "|----|-----|", "| cc | d   |"]


def test_a_work_shows_medians_ratios_goals_and_where_it_was_made():
    text = "\n".join(work_section(result()))

    assert "What does a request cost." in text
    assert "12.50" in text and "12.00 .. 13.00" in text and "| 25 " in text
    assert "<= 0.90, met" in text
    assert "5 rounds of 5 s, 2026-01-02, commit 0123456789ab." in text


def test_what_makes_a_number_doubtful_is_said():
    text = "\n".join(work_section(result(smoke=True, changed=True, left_out={"envoy": "not\ninstalled"})))

    assert "smoke run" in text and "with changes" in text
    assert "Without envoy: not installed." in text


def test_a_work_in_which_nothing_could_run_is_shown_with_its_reasons():
    text = "\n".join(work_section(result(lanes={}, ratios=[], left_out={"hivemesh": "it ended"})))

    assert "Without hivemesh: it ended." in text


def test_a_long_reason_keeps_its_beginning_and_its_end():
    text = "\n".join(work_section(result(left_out={"envoy": "it ended: " + "trace " * 200 + "no such key"})))

    assert "Without envoy: it ended: trace" in text
    assert "no such key." in text
    assert max(map(len, text.splitlines())) < 300


def test_the_summary_lists_only_ratios_with_a_goal():
    reference = {"of": "a", "to": "b", "median": 1.0, "min": 1.0, "max": 1.0, "goal": None, "met": None}

    assert summary_rows([result(ratios=[reference])]) == []
    assert len(summary_rows([result(), result()])) == 4


def test_the_machine_is_named_once_for_runs_that_share_it():
    text = render([result(), result(machine={"cpu": "some cpu", "busy_before": {"0": 0.3}})])

    assert text.count("Machine:") == 1
    assert "busy" not in text


def test_only_what_is_between_the_markers_changes():
    readme = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    text = replaced(readme, "new")

    assert text == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert replaced(text, "new") == text


def test_a_readme_without_markers_is_refused():
    with pytest.raises(ValueError, match="results: begin"):
        replaced("nothing here", "new")
