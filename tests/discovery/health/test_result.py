"""Reasons: one sentence, one line, bounded."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.health.result import MAX_QUOTED, MAX_REASON, Outcome, failure, no_answer, of_os_error, quoted


@given(st.one_of(st.text(), st.binary()))
def test_what_a_peer_says_is_short_and_on_one_line(said: str | bytes) -> None:
    line = quoted(said)
    assert len(line) <= MAX_QUOTED
    assert line.isprintable()


def test_what_can_be_read_stays_as_it_is() -> None:
    assert quoted(b"disk full:\n\t93 %  \x1b[31m") == "disk full: 93 % .[31m"
    assert quoted("x" * 500).endswith("x...")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS])
def test_what_we_lack_is_not_the_endpoints_fault(number: int) -> None:
    result = of_os_error(number, os.strerror(number))
    assert result.outcome is Outcome.ERROR
    assert os.strerror(number).lower() in result.reason


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ECONNREFUSED, "connection refused"),
        (errno.EHOSTUNREACH, "no route to host"),
        (errno.EACCES, "permission denied"),
    ],
)
def test_an_error_of_the_network_is_a_failure_in_plain_words(number: int, reason: str) -> None:
    assert of_os_error(number, os.strerror(number)) == (Outcome.FAILURE, reason)


def test_a_reason_says_how_long_was_waited() -> None:
    assert no_answer("answer", 5.0).reason == "no answer within 5 s"
    assert no_answer("connection", 0.25).reason == "no connection within 0.25 s"


def test_a_reason_is_bounded() -> None:
    assert len(failure("x" * 10_000).reason) == MAX_REASON
