"""The generic cell rate algorithm (ITU-T I.371): a token bucket whose whole state is one number.

The number is the theoretical arrival time: when the next event would come if all came evenly. It fits into one shared
word, and 0 is a full bucket, so whoever swaps words atomically shares one bucket exactly: no lock, no refill, no clock
of its own. Times are whole numbers of any one unit, the same for all arguments: nanoseconds where many events fall
into one microsecond.

In any time t there are at most t / interval + 1 + burst events.
"""

from __future__ import annotations

NANOS = 1_000_000_000

# The longest time that a bucket is measured with: some nine years, so that no sum of times overflows a word.
LONGEST = 1 << 58


def measures(requests: int, per: float, burst: int) -> tuple[int, int]:
    """Interval and tolerance, the interval times the burst, of `requests` in `per` seconds: nanoseconds, rounded up, so
    that there are never more than the limit says."""
    interval = min(max(1, -int(-per * NANOS // requests)), LONGEST)
    return interval, min(interval * burst, LONGEST)


def take(word: int, now: int, interval: int, burst: int) -> int | None:
    """One event at `now`: the word that the bucket has afterwards, to be swapped in; None: there is none left, and the
    word stays as it is.

    word: what the bucket holds. interval: between two events. burst: how many more may come at once.
    """
    due = max(word, now)
    if due - now > interval * burst:
        return None
    return due + interval


def known(word: int, now: int, interval: int, burst: int, slack: int) -> int:
    """The word, or a full bucket (0) where it is none that this rate can have left: it is another rate's, from before a
    change, and whoever waited for it could wait for as long as that one's interval. `slack`: by how much the clocks of
    those who share the bucket may differ."""
    return 0 if word > now + interval * (burst + 1) + slack else word


def wait(word: int, now: int, interval: int, burst: int) -> int:
    """How long from `now` until `take` would say yes; 0: at once."""
    return max(0, word - now - interval * burst)


def left(word: int, now: int, interval: int, burst: int) -> int:
    """How many events could be taken at `now`."""
    due = max(word, now)
    slack = interval * burst - (due - now)
    return 0 if slack < 0 else slack // interval + 1
