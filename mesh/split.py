"""Weighted choice between the shares of a traffic split.

A draw is a number from [0, 1) that the caller makes; the shares lie side by side on that line, each as wide as its
weight. A share of weight 0 has no width and is never drawn. When the drawn share has no usable endpoint its requests
are spread over the usable shares, again by weight, and the choice says so. Where in its share a number fell (`within`)
is as evenly spread as the number itself, so one number does for all choices that follow from it.
Never makes random numbers itself, so that a given number always gives the same share.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from discovery.model import TrafficSplit

# The largest float below 1: what rounding must not exceed.
LARGEST_DRAW = 1.0 - 2.0**-53


class SplitError(ValueError):
    """Shares that nothing can be drawn from."""


class Choice(NamedTuple):
    """A share and how it was come by. `failed_over`: the draw fell on another one, which has no usable endpoint. `rest`
    is what is left of the number: another one from [0, 1), independent of the choice."""

    share: TrafficSplit
    failed_over: bool
    rest: float


class Split:
    """Shares with their weights summed up; a draw is one search among the sums."""

    def __init__(self, shares: Sequence[TrafficSplit]) -> None:
        """SplitError when a weight is negative or none is positive."""
        for share in shares:
            if share.weight < 0:
                raise SplitError(f"weight {share.weight} of {name_of(share)} is negative")
        self.shares = tuple(share for share in shares if share.weight > 0)
        if not self.shares:
            raise SplitError("no share has a weight above 0")
        self._sums = list(accumulate(share.weight for share in self.shares))
        self.total = self._sums[-1]
        self._width = self.total

    def draw(self, random: float) -> TrafficSplit:
        """The share that `random`, from [0, 1), falls on."""
        return self.shares[self._index(random)]

    def within(self, random: float) -> float:
        """Where in its share `random` falls, from [0, 1)."""
        index = self._index(random)
        weight = self.shares[index].weight
        found = (random * self._width - (self._sums[index] - weight)) / weight
        return min(max(found, 0.0), LARGEST_DRAW)

    def draw_usable(self, random: float, usable: Callable[[TrafficSplit], bool]) -> Choice | None:
        """The drawn share if it is usable, otherwise one of the usable ones by weight; None when none is."""
        drawn = self.draw(random)
        rest = self.within(random)
        return Choice(drawn, False, rest) if usable(drawn) else self.instead_of(drawn, rest, usable)

    def instead_of(self, drawn: TrafficSplit, random: float, usable: Callable[[TrafficSplit], bool]) -> Choice | None:
        """One of the usable shares but `drawn`, by weight; None when there is none."""
        others = [share for share in self.shares if share is not drawn and usable(share)]
        if not others:
            return None
        split = Split(others)
        return Choice(split.draw(random), True, split.within(random))

    def shares_pct(self) -> list[tuple[TrafficSplit, float]]:
        """Each share that can be drawn and how much of the traffic it gets, in percent."""
        return [(share, 100.0 * share.weight / self.total) for share in self.shares]

    def _index(self, random: float) -> int:
        if not 0.0 <= random < 1.0:
            raise ValueError(f"a draw is a number from 0 up to but not including 1, not {random}")
        # The product may round up to the total itself; the last share ends there.
        return min(bisect_right(self._sums, random * self._width), len(self.shares) - 1)


def name_of(share: TrafficSplit) -> str:
    """A share in a sentence: service and version, as far as it names them."""
    return " ".join(part for part in (share.service, share.version) if part) or "the share without a version"
