"""The circuit breaker of an endpoint, in one word of 64 bits that all workers share.

    closed -- errors in a row, or worse than the rest of its group --> open -- its time is over --> half-open
    half-open -- all of `half_open_requests` real requests worked --> closed
    half-open -- one of them failed --> open, for longer

`next_word` is the whole machine: it maps a word and an event to the next word, and whoever saw the event swaps that in
(and asks again if somebody else was faster). Nothing here reads a clock or draws a number. The word, from the low end:

    2 bits   state
    1 bit    the last ejection was by comparison with the group (mesh/outlier.py), which has a limit of its own
    8 bits   k: times ejected in a row
    12 bits  closed: errors in a row; half-open: requests that have worked
    41 bits  milliseconds of the monotonic clock (69 years). Closed: the last error, or when it closed, from which on
             clean time is counted; open: the end of the ejection; half-open: its beginning

0 is a healthy endpoint without a past, and its successes change nothing: they cost one load.

What others do: Envoy (outlier detection) has the same times (base x k, a cap, jitter, k falls by 1 per clean interval)
and no half-open state: an ejected host returns with its full share. Linkerd tries with one request.
"""

from __future__ import annotations

from typing import NamedTuple

from discovery.policies import CircuitBreaker

# How an attempt at an endpoint went.
UNKNOWN = 0  # nobody can tell: the client left, or a kept connection turned out to be closed
WORKED = 1
FAILED = 2

# What an endpoint says to a request that has picked it.
REFUSED = 0  # its breaker is open, or all its probes are under way: another one has to be picked
ADMITTED = 1
PROBE = 2  # admitted as one of the requests that a half-open endpoint is tried with

# States.
CLOSED = 0
OPEN = 1
HALF_OPEN = 2
STATE_NAMES = ("closed", "open", "half-open")

# Events.
FAILURE = 0  # of a request that was no probe
SUCCESS = 1
PROBE_FAILURE = 2
PROBE_SUCCESS = 3
CHECK_SUCCESS = 4  # of an active health check
OUTLIER = 5  # it fails more often than the rest of its group
MOMENT = 6  # nothing but that time has passed

# Places in the word. What is larger than its place stays at the largest number that fits.
STATE_MASK = 3
OUTLIER_BIT = 4
TIMES_SHIFT = 3
MOST_TIMES = 255
COUNT_SHIFT = 11
MOST_COUNT = 4095
TIME_SHIFT = 23


def pack(state: int, outlier: int, times: int, count: int, time_ms: int) -> int:
    """`outlier` is OUTLIER_BIT or 0."""
    return (
        state
        | outlier
        | min(times, MOST_TIMES) << TIMES_SHIFT
        | min(count, MOST_COUNT) << COUNT_SHIFT
        | time_ms << TIME_SHIFT
    )


def times_of(word: int) -> int:
    """Ejections in a row, those included that clean time has made up for since the last event."""
    return word >> TIMES_SHIFT & MOST_TIMES


def count_of(word: int) -> int:
    return word >> COUNT_SHIFT & MOST_COUNT


def state_of(word: int, now_ms: int) -> int:
    """An ejection whose time is over is half-open, whether anybody has noted it or not."""
    state = word & STATE_MASK
    if state == OPEN and now_ms >= until_of(word):
        return HALF_OPEN
    return state


def until_of(word: int) -> int:
    """When the ejection ends (milliseconds); 0 when there is none."""
    return word >> TIME_SHIFT if word & STATE_MASK == OPEN else 0


def probes_left(word: int, policy: CircuitBreaker) -> int:
    """How many probes of a half-open endpoint may be under way at the same time, as things are."""
    return max(half_open_limit(policy) - (count_of(word) if word & STATE_MASK == HALF_OPEN else 0), 0)


def half_open_limit(policy: CircuitBreaker) -> int:
    return max(min(policy.half_open_requests, MOST_COUNT), 1)


def standing(word: int, under_way: int, policy: CircuitBreaker) -> int:
    """What an endpoint with this word says to a request, when so many probes are under way with this one. Time has been
    noted (`MOMENT`)."""
    state = word & STATE_MASK
    if state == HALF_OPEN and count_of(word) + under_way <= half_open_limit(policy):
        return PROBE
    return ADMITTED if state == CLOSED else REFUSED


def next_word(word: int, event: int, now_ms: int, policy: CircuitBreaker, draw: float) -> int:
    """What becomes of a breaker with this word by this event. `draw`: a random number from 0 up to but not including
    1, for the jitter of an ejection."""
    state = word & STATE_MASK
    if state == CLOSED:
        if event == OUTLIER:
            return _open(word, OUTLIER_BIT, _decayed(word, now_ms, policy), now_ms, policy, draw)
        if event in (FAILURE, PROBE_FAILURE):
            return _error(word, now_ms, policy, draw)
        # A success, or only time: what clean time does is noted by whoever comes by.
        if word == 0:
            return 0
        times = _decayed(word, now_ms, policy)
        count = 0 if event in (SUCCESS, PROBE_SUCCESS) else count_of(word)
        if times == 0 and count == 0:
            return 0
        time_ms = word >> TIME_SHIFT
        made_up = times_of(word) - times
        return pack(CLOSED, word & OUTLIER_BIT, times, count, time_ms + made_up * _interval(policy))
    if state == OPEN:
        if event == CHECK_SUCCESS or (event == MOMENT and now_ms >= until_of(word)):
            return pack(HALF_OPEN, word & OUTLIER_BIT, times_of(word), 0, now_ms)
        # Requests from before the ejection tell nothing new.
        return word
    if event == PROBE_FAILURE:
        return _open(word, word & OUTLIER_BIT, times_of(word), now_ms, policy, draw)
    worked = count_of(word) + (1 if event == PROBE_SUCCESS else 0)
    if worked >= half_open_limit(policy):
        return pack(CLOSED, 0, times_of(word), 0, now_ms)
    return pack(HALF_OPEN, word & OUTLIER_BIT, times_of(word), worked, word >> TIME_SHIFT)


def _error(word: int, now_ms: int, policy: CircuitBreaker, draw: float) -> int:
    """One more error of a closed endpoint."""
    times = _decayed(word, now_ms, policy)
    threshold = min(policy.consecutive_errors, MOST_COUNT)
    if threshold <= 0:
        return pack(CLOSED, 0, times, 0, now_ms) if times else 0
    count = count_of(word) + 1
    if count >= threshold:
        return _open(word, 0, times, now_ms, policy, draw)
    return pack(CLOSED, 0, times, count, now_ms)


def _open(word: int, outlier: int, times: int, now_ms: int, policy: CircuitBreaker, draw: float) -> int:
    """An ejection, after `times` others in a row. The cap is before the jitter, or all that have reached it would
    return together."""
    times = min(times + 1, MOST_TIMES)
    longest = max(policy.max_ejection_time, policy.base_ejection_time)
    seconds = min(policy.base_ejection_time * times, longest) * (1.0 + policy.ejection_jitter_pct / 100.0 * draw)
    return pack(OPEN, outlier, times, 0, now_ms + max(int(seconds * 1000.0), 1))


def _decayed(word: int, now_ms: int, policy: CircuitBreaker) -> int:
    """Ejections in a row of a closed endpoint: one less for each interval without an error."""
    times = times_of(word)
    if times == 0:
        return 0
    # The clocks of two workers differ by the length of a batch of events.
    since: int = word >> TIME_SHIFT
    clean = max(now_ms - since, 0) // _interval(policy)
    return times - min(clean, times)


def _interval(policy: CircuitBreaker) -> int:
    return max(int(policy.interval * 1000.0), 1)


class BreakerView(NamedTuple):
    """A breaker for people and programs."""

    state: str  # of STATE_NAMES
    left: float  # seconds until the ejection ends; 0.0 when there is none
    ejections: int  # in a row
    errors: int  # in a row, of one that is closed
    worked: int  # requests that a half-open one was tried with


def view(word: int, now_ms: int) -> BreakerView:
    state = state_of(word, now_ms)
    noted = word & STATE_MASK
    count = count_of(word)
    left = max(until_of(word) - now_ms, 0) / 1000.0
    return BreakerView(
        STATE_NAMES[state], left, times_of(word), count if noted == CLOSED else 0, count if noted == HALF_OPEN else 0
    )


def describe(word: int, now_ms: int) -> str:
    """A breaker in one line: `open for another 12.3 s, ejected 2 times in a row`."""
    seen = view(word, now_ms)
    parts = [seen.state]
    if seen.left:
        parts[0] = f"open for another {seen.left:.1f} s"
    if seen.errors:
        parts.append(f"{seen.errors} errors in a row")
    if seen.state == STATE_NAMES[HALF_OPEN]:
        parts.append(f"{seen.worked} requests have worked")
    if seen.ejections:
        parts.append(f"ejected {seen.ejections} times in a row" if seen.ejections > 1 else "ejected once")
    return ", ".join(parts)
