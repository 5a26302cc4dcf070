"""When a process has been silent for so long that it hangs.

Workers and the agent write the time into the statistics table twice a second, from their event loops. A silence counts
from the last of: that sign of life, the start of the process (a block of the table is inherited with the time that the
process before wrote), and the last time that this process itself was late. Who was stopped, starved of processor time
or suspended with the whole machine cannot tell whether others were too, so that is held against nobody.

Pure: times are seconds of the monotonic clock, and nothing here kills.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

# A process that has given no sign yet may take this long: it loads its modules, on a machine that may be busy.
START_LIMIT = 30.0

# Longest time between two looks. With a short limit they are so frequent that being late by one look and a sign of
# life (half a second) together stay below it.
_LONGEST_PAUSE = 1.0


class Signs(NamedTuple):
    started: float
    beat: float  # 0.0 when there was never one


def pause(limit: float) -> float:
    """Seconds between two looks."""
    return min(_LONGEST_PAUSE, limit / 4)


class Watchdog:
    def __init__(self) -> None:
        self._looked: float | None = None
        self._since = 0.0  # silences before this time are not known to be any

    def look(self, now: float, limits: Mapping[int, float], signs: Mapping[int, Signs]) -> dict[int, float]:
        """Who hangs, by process id, with the seconds of silence. `limits`: of each, 0 = it never does. Called every
        `pause` of the shortest limit."""
        shortest = min((limit for limit in limits.values() if limit), default=0.0)
        if self._looked is None or now - self._looked > 2 * pause(shortest):
            self._since = now
        self._looked = now
        hung = {}
        for who, (started, beat) in signs.items():
            limit = limits.get(who, 0.0)
            if not limit:
                continue
            if beat < started:
                beat, limit = started, max(limit, START_LIMIT)
            silence = now - max(beat, self._since)
            if silence > limit:
                hung[who] = silence
        return hung
