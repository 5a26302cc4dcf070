"""The difference of two sequences as splices: at a position, so many elements out and these in.

A sequence that holds thousands of things and changes in one place differs by one splice, whatever the order of its
elements is: nothing needs to be derived, and nothing of what stayed has to be named. Elements are paired by a key; of
those that changed places as few as possible are taken out and put in again.
Finding out costs one comparison of references per element, and more only where there is a difference.
Pure.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import compress, count, islice
from operator import is_not
from typing import Generic, NamedTuple, TypeVar

from discovery.model import Struct

T = TypeVar("T")


class Splice(Struct, Generic[T]):
    """`at` is a position of the sequence as it was, whatever other splices do to it."""

    at: int
    removed: int = 0
    inserted: tuple[T, ...] = ()


class Comparison(NamedTuple, Generic[T]):
    """`pairs` are the positions, in the old and the new sequence, of elements that are paired and not the same object;
    `splices` are in ascending order and do not touch each other."""

    splices: tuple[Splice[T], ...]
    pairs: list[tuple[int, int]]


def compare(old: Sequence[T], new: Sequence[T], key: Callable[[T], Hashable]) -> Comparison[T]:
    """What turns `old` into `new`, except for the elements of `pairs`, which have the same key before and after."""
    shorter = min(len(old), len(new))
    pairs: list[tuple[int, int]] = []
    start = shorter
    for index in compress(count(), map(is_not, old, new)):
        if key(old[index]) != key(new[index]):
            start = index
            break
        pairs.append((index, index))
    if start == len(old) == len(new):
        return Comparison((), pairs)
    tail = shorter - start  # how many elements at the end are paired
    end_pairs: list[tuple[int, int]] = []
    for back in compress(count(), map(is_not, islice(reversed(old), tail), islice(reversed(new), tail))):
        was, now = len(old) - 1 - back, len(new) - 1 - back
        if key(old[was]) != key(new[now]):
            tail = back
            break
        end_pairs.append((was, now))
    was_end, now_end = len(old) - tail, len(new) - tail
    where = {key(old[index]): index for index in range(start, was_end)}
    common = [(where[key(new[index])], index) for index in range(start, now_end) if key(new[index]) in where]
    splices = []
    was, now = start, start
    for was_next, now_next in (*_longest_ascent(common), (was_end, now_end)):
        if was_next > was or now_next > now:
            splices.append(Splice(at=was, removed=was_next - was, inserted=tuple(new[now:now_next])))
        if was_next < was_end and old[was_next] is not new[now_next]:
            pairs.append((was_next, now_next))
        was, now = was_next + 1, now_next + 1
    pairs.extend(reversed(end_pairs))
    return Comparison(tuple(splices), pairs)


def splice(old: Sequence[T], splices: Iterable[Splice[T]]) -> list[T]:
    """`old` with `splices`, which are in ascending order, carried out."""
    new = list(old)
    for each in reversed(tuple(splices)):
        new[each.at : each.at + each.removed] = each.inserted
    return new


def _longest_ascent(common: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """As many of `common`, which ascend in their second part, as also ascend in the first: by patience sorting."""
    lows: list[int] = []  # lows[n]: the lowest first part that an ascent of n + 1 can end with
    ends: list[int] = []  # and which of `common` that is
    before: list[int] = []
    for index, (position, _) in enumerate(common):
        size = bisect_left(lows, position)
        before.append(ends[size - 1] if size else -1)
        if size == len(lows):
            lows.append(position)
            ends.append(index)
        else:
            lows[size] = position
            ends[size] = index
    ascent = []
    index = ends[-1] if ends else -1
    while index >= 0:
        ascent.append(common[index])
        index = before[index]
    ascent.reverse()
    return ascent
