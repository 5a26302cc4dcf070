"""What the words of `retry_on` ask for."""

from __future__ import annotations

import pytest

from discovery.policies import RetryPolicy
from discovery.retry_on import WORDS, RetryOn, parse_retry_on


def test_the_words_of_the_source_document() -> None:
    asked = parse_retry_on(RetryPolicy().retry_on)
    assert asked == parse_retry_on(["5xx", "connect-failure"])
    assert asked.no_connection
    assert asked.no_answer
    assert asked.statuses == frozenset(range(500, 600))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], RetryOn()),
        (["connect-failure"], RetryOn(no_connection=True)),
        (["reset-before-request"], RetryOn(no_connection=True)),
        (["reset"], RetryOn(no_connection=True, no_answer=True)),
        (["refused-stream"], RetryOn()),
        (["gateway-error"], RetryOn(no_connection=True, no_answer=True, statuses=frozenset((502, 503, 504)))),
        (["retriable-4xx"], RetryOn(statuses=frozenset((409,)))),
        (["envoy-ratelimited"], RetryOn(rate_limited=True)),
        (["503", "429"], RetryOn(statuses=frozenset((429, 503)))),
        (["retriable-status-codes", "418"], RetryOn(statuses=frozenset((418,)))),
        (["connect-failure", "connect-failure", "503"], RetryOn(no_connection=True, statuses=frozenset((503,)))),
    ],
)
def test_each_word(words: list[str], expected: RetryOn) -> None:
    assert parse_retry_on(words) == expected


def test_headers_are_meant_when_the_word_says_so_and_there_are_some() -> None:
    assert parse_retry_on(["retriable-headers"], ["x-again"]) == RetryOn(headers=True)
    assert parse_retry_on(["503"], ["x-again"]) == RetryOn(statuses=frozenset((503,)))


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["5XX"], "'5XX' is not known"),
        (["connection-failure"], "did you mean connect-failure?"),
        (["unavailable"], "'unavailable' is not known"),
        (["²"], "'²' is not known"),
        (["-503"], "'-503' is not known"),
        ([""], "'' is not known"),
        (["200"], "'200' is out of range, expected a status code from 400 to 599"),
        (["600"], "'600' is out of range"),
        (["9" * 5000], "is out of range"),
        (["retriable-status-codes"], "expected at least one, such as 503"),
        (["retriable-headers"], "expected at least one there"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(words: list[str], part: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        parse_retry_on(words)
    assert part in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_unknown_word_is_told_all_known_ones() -> None:
    with pytest.raises(ValueError) as caught:
        parse_retry_on(["5yy"])
    assert all(word in str(caught.value) for word in WORDS)
