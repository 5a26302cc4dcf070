"""The check of the reload proof finds what it is there to find."""

import pytest

from benchmarks.proofs.generations import BREAKAGES, REQUESTS, Asked, Generation, Ports
from benchmarks.proofs.reload import InForce, was_in_force
from proxy.config.load import load_text

PORTS = Ports(24001, 24002, 24003, 24004, (24005, 24006, 24007, 24008))
PAGE = Asked("GET", "/page")


@pytest.mark.parametrize("number", range(0, 100, 7))
def test_every_generation_is_a_good_configuration(number):
    import json

    loaded = load_text(json.dumps(Generation(number).config(PORTS)), "hivemesh.yaml")
    assert not loaded.problems
    assert loaded.config is not None


@pytest.mark.parametrize("asked", REQUESTS)
def test_an_answer_of_another_route_is_found(asked):
    assert "expected" in Generation(3).problem(asked, "chat", "o1|/|3\n")


def test_an_answer_of_another_generation_is_found():
    assert Generation(3).problem(PAGE, "page", "page 3\n") == ""
    assert Generation(3).problem(PAGE, "page", "page 2\n") != ""


def test_an_answer_is_late_when_the_next_generation_was_in_force_before_it_was_asked_for():
    history = [InForce(0, 0.0, 1.0), InForce(1, 5.0, 6.0)]

    assert was_in_force((5.9, 6.1, 0), history)
    assert was_in_force((5.9, 6.1, 1), history)
    assert not was_in_force((6.1, 6.2, 0), history)
    assert not was_in_force((4.0, 4.5, 1), history)
    assert not was_in_force((4.0, 4.5, 7), history)


def test_there_are_as_many_ways_to_break_a_file_as_broken_files():
    assert len(BREAKAGES) == 10
