"""What a crowd of clients brings home: counts, failures, and what only the whole can be judged by.

A failure is a fact, not a verdict: rules.py says which of them an event explains. Times are those of the monotonic
clock, which all processes share.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from benchmarks.proofs.part import Cue

# Failures that are kept in words; there should be a handful.
KEPT: Final = 5_000


class Failure(NamedTuple):
    """traffic: who failed ("get", "upload", ...). kind: how, one of the words of rules.KINDS. began, ended: of the
    exchange, or of the silence of a stream."""

    traffic: str
    kind: str
    began: float
    ended: float
    detail: str


class Sighting(NamedTuple):
    """An answer of DNS: when it was asked for, of which service, and the endpoints that it had."""

    asked: float
    service: str
    endpoints: frozenset[str]


@dataclass(slots=True)
class Seen:
    """Of the answers that a generation decided: when the first was complete, when the last was asked for, how many."""

    first_answered: float
    last_asked: float
    count: int


class Oops(Exception):
    """An exchange went wrong. kind: as of a Failure."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


@dataclass(slots=True)
class Tally:
    """done: exchanges that went well, by traffic. dropped: failures beyond those that are kept. uploads: the names of
    those that were answered."""

    done: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    dropped: int = 0
    generations: dict[int, Seen] = field(default_factory=dict)
    sightings: list[Sighting] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)
    body_bytes: int = 0

    def fail(self, failure: Failure) -> None:
        if len(self.failures) < KEPT:
            self.failures.append(failure)
        else:
            self.dropped += 1

    def decided(self, generation: int, asked: float, answered: float) -> None:
        seen = self.generations.get(generation)
        if seen is None:
            self.generations[generation] = Seen(answered, asked, 1)
            return
        seen.first_answered = min(seen.first_answered, answered)
        seen.last_asked = max(seen.last_asked, asked)
        seen.count += 1

    def add(self, other: Tally) -> None:
        self.done += other.done
        self.failures += other.failures
        self.dropped += other.dropped
        for generation, seen in other.generations.items():
            mine = self.generations.setdefault(generation, Seen(seen.first_answered, seen.last_asked, 0))
            mine.first_answered = min(mine.first_answered, seen.first_answered)
            mine.last_asked = max(mine.last_asked, seen.last_asked)
            mine.count += seen.count
        self.sightings += other.sightings
        self.uploads += other.uploads
        self.body_bytes += other.body_bytes


@dataclass(slots=True)
class Walk:
    """What a client goes by: its own random numbers, when to end, and where to say what it saw. name: unique in the
    run, a prefix of everything that it asks for."""

    cue: Cue
    name: str
    tally: Tally
    random: random.Random
    number: int = 0

    def next(self) -> str:
        self.number += 1
        return f"{self.name}-{self.number}"

    @property
    def over(self) -> bool:
        return self.cue.stop.is_set()

    async def pause(self, seconds: float) -> None:
        """Half to one and a half times as long, or until it is over."""
        try:
            await asyncio.wait_for(self.cue.stop.wait(), seconds * self.random.uniform(0.5, 1.5))
        except TimeoutError:
            return

    async def attempt(self, traffic: str, exchange: Awaitable[None], limit: float) -> bool:
        """One exchange: counted if it is done, kept in words if not. After a failure there is a moment's rest."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(limit):
                await exchange
        except Oops as problem:
            kind, detail = problem.kind, problem.detail
        except TimeoutError:
            kind, detail = "late", f"not within {limit:g} s"
        except (OSError, EOFError) as problem:
            kind, detail = "broken", repr(problem)
        except (ValueError, LookupError, asyncio.LimitOverrunError) as problem:
            kind, detail = "wrong", repr(problem)
        else:
            self.tally.done[traffic] += 1
            return True
        self.tally.fail(Failure(traffic, kind, began, time.monotonic(), detail))
        await self.pause(0.05)
        return False
