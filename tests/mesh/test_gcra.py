"""One word is a bucket: never more than its rate and its burst, and never less than is due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.gcra import known, left, take, wait

INTERVAL = 100


def events(times: list[int], interval: int, burst: int) -> list[int]:
    """Those of `times` at which there was one to take."""
    word = 0
    granted = []
    for now in times:
        after = take(word, now, interval, burst)
        if after is not None:
            word = after
            granted.append(now)
    return granted


def test_an_unused_bucket_gives_one_and_its_burst_at_once() -> None:
    assert events([1000] * 10, INTERVAL, burst=3) == [1000] * 4


def test_without_burst_events_are_one_interval_apart() -> None:
    assert events(list(range(1000, 1500, 10)), INTERVAL, burst=0) == [1000, 1100, 1200, 1300, 1400]


def test_what_was_not_used_comes_back_up_to_the_burst_and_no_further() -> None:
    assert events([1000] * 5 + [1250] * 5 + [90_000] * 5, INTERVAL, burst=2) == [1000] * 3 + [1250] * 2 + [90_000] * 3


def test_a_refusal_changes_nothing() -> None:
    word = take(0, 1000, INTERVAL, 0)
    assert word == 1100
    assert take(word, 1099, INTERVAL, 0) is None
    assert take(word, 1100, INTERVAL, 0) == 1200


arrivals = st.lists(st.integers(0, 5_000), min_size=1, max_size=200).map(sorted)


@given(arrivals, st.integers(1, 400), st.integers(0, 10))
def test_no_time_has_more_than_its_rate_and_one_burst(times: list[int], interval: int, burst: int) -> None:
    granted = events(times, interval, burst)
    for first, begin in enumerate(granted):
        for last in range(first, len(granted)):
            assert last - first + 1 <= (granted[last] - begin) / interval + 1 + burst


@given(arrivals, st.integers(1, 400), st.integers(0, 10))
def test_wait_and_left_say_what_take_does(times: list[int], interval: int, burst: int) -> None:
    word = 0
    for now in times:
        pause = wait(word, now, interval, burst)
        assert (take(word, now, interval, burst) is not None) == (pause == 0) == (left(word, now, interval, burst) > 0)
        assert take(word, now + pause, interval, burst) is not None
        many = 0
        probe: int | None = word
        while probe is not None and (probe := take(probe, now, interval, burst)) is not None:
            many += 1
        assert left(word, now, interval, burst) == many
        word = take(word, now, interval, burst) or word


@given(arrivals, st.integers(1, 400), st.integers(0, 10))
def test_a_word_of_this_rate_is_known(times: list[int], interval: int, burst: int) -> None:
    word = 0
    for now in times:
        assert known(word, now, interval, burst, 0) == word
        word = take(word, now, interval, burst) or word


def test_a_word_of_another_rate_is_a_full_bucket() -> None:
    hourly = take(0, 1000, 3_600_000, 0)
    assert hourly is not None
    assert take(hourly, 2000, INTERVAL, 0) is None
    assert known(hourly, 2000, INTERVAL, 0, 50) == 0
    # Clocks that differ are no other rate.
    ahead = take(0, 2040, INTERVAL, 0)
    assert ahead is not None
    assert known(ahead, 2000, INTERVAL, 0, 50) == ahead
