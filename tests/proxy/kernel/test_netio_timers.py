"""Deadlines: in order, never early, moved both ways, and gone with their stream."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from turning import Turning

from proxy.kernel.netio import TICK, Reactor, Stream


class Timed(Stream):
    """Notes when it was told."""

    def __init__(self, told: list[Timed], then: Callable[[Timed], None] = lambda stream: None) -> None:
        self.told = told
        self.at = 0.0
        self.then = then

    def on_timeout(self) -> None:
        self.told.append(self)
        self.at = time.monotonic()
        self.then(self)


class Clock:
    """Streams that are only there for their deadlines."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.turning = Turning(self.reactor)
        self.told: list[Timed] = []
        self.peers: list[socket.socket] = []

    def stream(self, then: Callable[[Timed], None] = lambda stream: None) -> Timed:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        stream = Timed(self.told, then)
        stream.attach(self.reactor, ours.detach())
        self.peers.append(theirs)
        return stream

    def pass_time(self, seconds: float) -> None:
        """Serve for this long: for what must not happen."""
        end = time.monotonic() + seconds
        self.turning.until(lambda: time.monotonic() >= end, "time")

    def until_told(self, *streams: Timed) -> None:
        self.turning.until(lambda: all(stream in self.told for stream in streams), "deadlines")


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    yield clock
    clock.reactor.close()
    for peer in clock.peers:
        peer.close()
    assert clock.reactor.open_streams == 0


def test_a_deadline_is_told_once_and_not_early(clock: Clock) -> None:
    stream = clock.stream()
    start = time.monotonic()
    stream.set_timeout(0.12)
    clock.until_told(stream)
    # The reactor's clock has milliseconds.
    assert stream.at - start >= 0.119
    clock.pass_time(0.15)
    assert clock.told == [stream]


def test_deadlines_come_in_order_however_they_were_set(clock: Clock) -> None:
    delays = [0.3, 0.05, 0.2, 0.4, 0.1]
    streams = [clock.stream() for _ in delays]
    for stream, delay in zip(streams, delays, strict=True):
        stream.set_timeout(delay)
    clock.until_told(*streams)
    assert clock.told == [stream for _, stream in sorted(zip(delays, streams, strict=True), key=lambda pair: pair[0])]


def test_a_deadline_can_be_put_off(clock: Clock) -> None:
    stream, marker = clock.stream(), clock.stream()
    stream.set_timeout(0.05)
    stream.set_timeout(0.3)
    marker.set_timeout(0.15)
    clock.until_told(marker)
    assert stream not in clock.told
    clock.until_told(stream)


def test_a_deadline_can_be_brought_forward(clock: Clock) -> None:
    stream, marker = clock.stream(), clock.stream()
    stream.set_timeout(60)
    stream.set_timeout(0.05)
    marker.set_timeout(0.4)
    clock.until_told(stream)
    assert marker not in clock.told


def test_putting_off_again_and_again_never_fires(clock: Clock) -> None:
    """As a busy connection does with its idle time."""
    stream = clock.stream()
    end = time.monotonic() + 0.4
    while time.monotonic() < end:
        stream.set_timeout(0.15)
        clock.turning.once(0.01)
    assert not clock.told
    clock.until_told(stream)


@pytest.mark.parametrize("how", [lambda s: s.clear_timeout(), lambda s: s.set_timeout(0), lambda s: s.set_timeout(-1)])
def test_a_deadline_can_be_taken_back(clock: Clock, how: Callable[[Timed], None]) -> None:
    stream, marker = clock.stream(), clock.stream()
    stream.set_timeout(0.05)
    how(stream)
    marker.set_timeout(0.2)
    clock.until_told(marker)
    assert clock.told == [marker]


def test_a_deadline_that_was_taken_back_can_be_set_again(clock: Clock) -> None:
    stream = clock.stream()
    stream.set_timeout(5)
    stream.clear_timeout()
    stream.set_timeout(0.05)
    clock.until_told(stream)


def test_a_deadline_beyond_one_round_of_the_wheel(clock: Clock) -> None:
    """Longer than the wheel is large (51.2 s) it is looked at in between, and stays."""
    stream, marker = clock.stream(), clock.stream()
    stream.set_timeout(3600)
    marker.set_timeout(0.1)
    clock.until_told(marker)
    assert clock.told == [marker]
    stream.set_timeout(0.05)
    clock.until_told(stream)


def test_a_closed_stream_is_told_nothing(clock: Clock) -> None:
    stream, marker = clock.stream(), clock.stream()
    stream.set_timeout(0.05)
    stream.close()
    stream.set_timeout(0.05)
    marker.set_timeout(0.15)
    clock.until_told(marker)
    assert clock.told == [marker]


def test_closing_others_of_the_same_moment_inside_a_callback(clock: Clock) -> None:
    streams: list[Timed] = []

    def close_all(_: Timed) -> None:
        for stream in streams:
            stream.close()

    streams += [clock.stream(close_all) for _ in range(10)]
    for stream in streams:
        stream.set_timeout(0.05)
    clock.turning.until(lambda: clock.told, "the first")
    clock.pass_time(0.15)
    assert len(clock.told) == 1


def test_setting_a_deadline_inside_a_callback(clock: Clock) -> None:
    def again(stream: Timed) -> None:
        if len(clock.told) < 4:
            stream.set_timeout(0.02)

    stream = clock.stream(again)
    stream.set_timeout(0.02)
    clock.turning.until(lambda: len(clock.told) == 4, "four times")
    clock.pass_time(0.15)
    assert len(clock.told) == 4


def test_a_wheel_that_was_not_turned_for_long_catches_up(clock: Clock) -> None:
    """A loop that was held up: everything due comes, what is not due stays."""
    due, later = [clock.stream() for _ in range(20)], clock.stream()
    for index, stream in enumerate(due):
        stream.set_timeout(0.01 * (index + 1))
    later.set_timeout(30)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass
    clock.reactor.turn()
    assert set(clock.told) == set(due)


def test_thousands_of_streams(clock: Clock) -> None:
    streams = [clock.stream() for _ in range(400)]
    # Every stream changes its mind several times, in both directions.
    for index, stream in enumerate(streams):
        for delay in (30, 0.5, 70, 5, (index % 10) * 0.02 + 0.05):
            stream.set_timeout(delay)
    for stream in streams[::7]:
        stream.clear_timeout()
    for stream in streams[::11]:
        stream.close()
    expected = [stream for index, stream in enumerate(streams) if index % 7 and index % 11]
    clock.until_told(*expected)
    assert len(clock.told) == len(expected)
    delays = [(streams.index(stream) % 10) * 0.02 + 0.05 for stream in clock.told]
    # In order, up to the width of a slot.
    assert all(later > earlier - 2 * TICK for earlier, later in pairwise(delays))
