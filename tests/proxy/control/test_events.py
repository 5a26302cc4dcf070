"""Events look the same from every process."""

from __future__ import annotations

import io
import json

import pytest
import structlog

from proxy.control import logs
from proxy.control.children import Backoff
from proxy.control.events import EventLog, as_text


@pytest.fixture(autouse=True)
def structlog_as_it_was() -> object:
    yield
    structlog.reset_defaults()


def test_supervisor_and_agent_write_the_same_lines() -> None:
    from_supervisor, from_agent = io.StringIO(), io.StringIO()
    logs.configure(from_agent)

    EventLog(from_supervisor).write("worker exited", "error", worker=1, status=-9)
    structlog.get_logger().error("worker exited", worker=1, status=-9)

    one, other = (json.loads(stream.getvalue()) for stream in (from_supervisor, from_agent))
    assert one.pop("ts").endswith("Z")
    assert other.pop("ts").endswith("Z")
    assert one == other == {"level": "error", "event": "worker exited", "worker": 1, "status": -9}
    assert list(one) == list(other)


class Pieces(io.StringIO):
    """Remembers what it was written in."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        self.pieces.append(text)
        return super().write(text)


def test_an_event_is_one_write_or_those_of_two_processes_would_mix() -> None:
    stream = Pieces()
    EventLog(stream).write("one")
    logs.configure(stream)
    structlog.get_logger().info("two")
    assert [piece.count("\n") for piece in stream.pieces] == [1, 1]


def test_a_terminal_gets_text() -> None:
    line = as_text("listening", "info", {"listener": "web", "reason": "two words", "empty": ""})

    assert line.endswith('listening                listener=web reason="two words" empty=""')


def test_a_log_that_nobody_reads_stops_nothing() -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    EventLog(Closed()).write("started")


def test_restarts_wait_longer_and_longer_until_a_child_lives() -> None:
    backoff = Backoff()

    assert [backoff.after(lived=0.1) for _ in range(8)] == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert [backoff.after(lived=60.0), backoff.after(lived=0.1)] == [0.0, 0.1]
