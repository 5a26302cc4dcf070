"""Who hangs: silence is only held against a process while the watcher itself was there."""

from __future__ import annotations

import pytest

from proxy.control.watchdog import START_LIMIT, Signs, Watchdog, pause

LIMIT = 10.0
PID = 1


class Watched:
    """One process that started at 0, looked at as often as it should be."""

    def __init__(self, limit: float = LIMIT) -> None:
        self.watchdog = Watchdog()
        self.limit = limit
        self.beat = 0.0
        self.now = 0.0

    def at(self, now: float) -> float | None:
        """The silence that was found until then, if any."""
        found = None
        while self.now < now and found is None:
            self.now = min(now, self.now + pause(self.limit))
            found = self.look()
        return found

    def look(self) -> float | None:
        return self.watchdog.look(self.now, {PID: self.limit}, {PID: Signs(0.5, self.beat)}).get(PID)


def test_who_gives_signs_of_life_does_not_hang() -> None:
    watched = Watched()
    for second in range(1, 100):
        watched.beat = second - 0.5
        assert watched.at(float(second)) is None


@pytest.mark.parametrize("limit", [0.4, 1.0, 10.0])
def test_silence_beyond_the_limit_is_a_hang(limit: float) -> None:
    watched = Watched(limit)
    watched.beat = 1.0
    assert watched.at(1.0 + limit) is None

    silence = watched.at(1.0 + 2 * limit)

    assert silence is not None and limit < silence <= limit + pause(limit)


def test_without_a_limit_nobody_hangs() -> None:
    watchdog = Watchdog()
    for now in range(1000):
        assert watchdog.look(float(now), {PID: 0.0}, {PID: Signs(0.0, 0.1)}) == {}


def test_a_process_without_a_first_sign_has_the_time_that_starting_takes() -> None:
    watched = Watched()
    watched.beat = 0.2  # of the process before, in the same block

    assert watched.at(START_LIMIT) is None
    assert watched.at(START_LIMIT + 3) is not None


def test_a_start_may_take_longer_than_a_limit_that_is_longer_still() -> None:
    watched = Watched(2 * START_LIMIT)
    assert watched.at(START_LIMIT + 10) is None


def test_a_watcher_that_was_stopped_itself_begins_again() -> None:
    watched = Watched()
    watched.beat = 1.0
    assert watched.at(2.0) is None

    watched.now = 1000.0
    assert watched.look() is None
    assert watched.at(1000.0 + LIMIT) is None
    assert watched.at(1000.0 + LIMIT + 2) is not None


def test_being_late_by_less_than_is_noticed_stays_below_the_shortest_limit() -> None:
    late, beat = 2 * pause(1.0), 0.5
    assert late + beat <= 1.0
