"""programs/paced.c: a client that sends when a request is due, and the origin that it asks through a proxy.

Building and running have I/O; parsing is pure.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.compare import load, native
from benchmarks.compare.load import LoadFailed
from benchmarks.compare.processes import Started, wait_until
from benchmarks.compare.traffic import Scenario

PROGRAM: Final = "paced"
ASK_TIMEOUT: Final = 2.0


@dataclass(frozen=True, slots=True)
class Answers:
    """Of one kind; seconds from when the request was due, 0 without any."""

    count: int
    p50: float
    p99: float
    p999: float


@dataclass(frozen=True, slots=True)
class Target:
    good: Answers  # 200
    refused: Answers  # 503 and 429
    other: Answers


@dataclass(frozen=True, slots=True)
class PacedReport:
    """`failed`: connections that could not be made, or ended without an answer. `gave_up`: the client's patience ended,
    `unsent`: before there was a connection. `late_p99`: seconds that the client itself was late."""

    offered: int
    failed: int
    gave_up: int
    unsent: int
    late_p99: float
    seconds: float
    targets: tuple[Target, ...]

    @property
    def answered(self) -> int:
        return sum(target.good.count + target.refused.count + target.other.count for target in self.targets)

    @property
    def accounted(self) -> int:
        """Every request became one of these; equal to `offered`, or the client is wrong."""
        return self.answered + self.failed + self.gave_up + self.unsent


@dataclass(frozen=True, slots=True)
class Pace:
    """`rate` requests a second, of which the first `skip` seconds are not counted, on `connections` at most, or each on
    one of its own. `patience` in seconds."""

    rate: float
    seconds: float
    skip: float = 0.3
    connections: int = 1000
    patience: float = 1.0
    keep: bool = True

    def command(self, port: int, targets: Sequence[str]) -> tuple[str, ...]:
        numbers = (self.rate, self.skip, self.seconds, self.connections, self.patience * 1000, int(self.keep))
        return (str(native.build(PROGRAM)), "load", str(port), *(f"{number:g}" for number in numbers), *targets)


def run(port: int, pace: Pace, targets: Sequence[str]) -> PacedReport:
    return parse(load.run(pace.command(port, targets), pace.skip + pace.seconds + pace.patience))


def parse(output: str) -> PacedReport:
    try:
        told = json.loads(output)
    except ValueError:
        raise LoadFailed(f"no report but {output.strip()[-300:]!r}") from None
    targets = tuple(
        Target(*(_answers(each[kind]) for kind in ("good", "refused", "other"))) for each in told["targets"]
    )
    failed = told["failed"] + told["not_connected"]
    late = told["late_p99_us"] / 1e6
    return PacedReport(told["offered"], failed, told["gave_up"], told["unsent"], late, told["seconds"], targets)


def _answers(of_kind: dict[str, int]) -> Answers:
    return Answers(of_kind["count"], *(of_kind.get(name, 0) / 1e6 for name in ("p50_us", "p99_us", "p999_us")))


def ask(port: int, path: str, timeout: float = ASK_TIMEOUT) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class PacedOrigin:
    """The origin: `places` requests at once (0: any number) that take `service` seconds each. A `stormy` one has a
    second port, whose health the first is told."""

    def __init__(self, name: str, places: int = 0, service: float = 0.0, stormy: bool = False) -> None:
        self.name = name
        self.places = places
        self.service = service
        self.ports = 2 if stormy else 1

    def command(self, ports: Sequence[int], folder: Path) -> tuple[str, ...]:
        program = str(native.build(PROGRAM))
        return (program, "serve", str(self.places), f"{self.service * 1e6:.0f}", *map(str, ports))

    def probe(self, port: int, scenario: Scenario | None = None) -> str:
        try:
            for target in {request.target for request in scenario.requests} if scenario else {"/"}:
                status, _ = ask(port, target)
                if status != 200:
                    return f"{target}: {status}"
        except (OSError, http.client.HTTPException) as problem:
            return str(problem) or type(problem).__name__
        return ""


def counts(port: int) -> dict[str, int]:
    """What an origin has had since it was asked last: `most` at once, and in `total`."""
    told: dict[str, int] = json.loads(ask(port, "/counts")[1])
    return told


class Hog:
    """Takes a share of a core from everybody else there, in pieces of less than a millisecond, so that it is a slower
    core. Use as a context manager. Needs the right to run in real time; LoadFailed without it."""

    def __init__(self, core: int, share: float, folder: Path) -> None:
        argv = (str(native.build(PROGRAM)), "hog", f"{share * 1000:.0f}")
        self._started = Started(argv, core, folder, folder / "hog.output")

    def __enter__(self) -> Hog:
        if not wait_until(lambda: bool(self._started.last_words()) or self._started.has_ended, ASK_TIMEOUT):
            self._started.end()
            raise LoadFailed("the program that slows the core down did not start")
        if self._started.has_ended:
            raise LoadFailed(f"the core cannot be slowed down: {self._started.last_words()}")
        return self

    def __exit__(self, *_: object) -> None:
        self._started.end()
