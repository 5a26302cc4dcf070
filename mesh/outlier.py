"""Endpoints that fail more often than the rest of their group.

Consecutive errors do not see an endpoint that fails every third request. Others compare it with the mean of all hosts
and a multiple of their standard deviation (Envoy), which says nothing in small groups: among N values none is more than
(N - 1) / sqrt(N) deviations off, and the bad one moves the mean. Here each endpoint stands against all others together,
and Fisher's exact test says how likely so many failures are if it is no worse than they: that is right for two
endpoints with twenty requests as for fifty with thousands.

Decides; reads no counter and ejects nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, lgamma
from typing import NamedTuple

from discovery.policies import CircuitBreaker

# What is less likely than this is no accident. Each endpoint of a group is tested at every sweep, so it is divided by
# their number: with sweeps every 10 s a healthy group is wronged about once in twelve days, and hardly ever in fact,
# because numbers of failures are whole and what is significant must also matter.
CHANCE = 1e-5

# With very many requests every small difference is significant. It must matter too: twice as many failures as the rest,
# and 5 of 100 requests more.
FACTOR = 2.0
MORE = 0.05

# Terms of a sum that can change nothing any more.
NEGLIGIBLE = 1e-9


class Tally(NamedTuple):
    """An endpoint in the time since the last sweep. `closed`: it takes requests, and no probes. `by_comparison`: it is
    out because of an earlier sweep."""

    attempts: int
    failures: int
    closed: bool = True
    by_comparison: bool = False


class Outlier(NamedTuple):
    place: int  # in the group
    share: float  # of its attempts that failed
    rest: float  # of those of all others


def outliers(group: Sequence[Tally], policy: CircuitBreaker) -> list[Outlier]:
    """Who is to be ejected, the worst first. At most max(1, floor(N * max_ejection_pct)) of the N endpoints are out by
    comparison at any time, and one that is closed always stays."""
    staying = {place for place, each in enumerate(group) if each.closed}
    cap = max(1, int(len(group) * policy.max_ejection_pct / 100.0))
    free = cap - sum(each.by_comparison for each in group)
    suspects = sorted(
        (place for place in staying if group[place].attempts >= max(policy.success_rate_min_requests, 1)),
        key=lambda place: group[place].failures / group[place].attempts,
        reverse=True,
    )
    found: list[Outlier] = []
    for place in suspects:
        if len(found) >= free or len(staying) < 2:
            break
        attempts = sum(group[other].attempts for other in staying if other != place)
        failures = sum(group[other].failures for other in staying if other != place)
        one = group[place]
        if attempts == 0 or not is_worse(one.attempts, one.failures, attempts, failures, CHANCE / len(group)):
            continue
        found.append(Outlier(place, one.failures / one.attempts, failures / attempts))
        staying.discard(place)
    return found


def is_worse(attempts: int, failures: int, rest_attempts: int, rest_failures: int, chance: float) -> bool:
    """Whether one that failed so often is worse than the rest, both in a way that matters and beyond chance."""
    share, rest = failures / attempts, rest_failures / rest_attempts
    if share < rest * FACTOR or share < rest + MORE:
        return False
    return tail(attempts, failures, rest_attempts, rest_failures) <= chance


def tail(attempts: int, failures: int, rest_attempts: int, rest_failures: int) -> float:
    """How likely it is that at least `failures` of all failures are among these `attempts`, if all attempts are equally
    likely to fail: Fisher's exact test, one-sided (the upper tail of a hypergeometric distribution)."""
    everything = attempts + rest_attempts
    failed = failures + rest_failures
    worked = everything - failed
    most = min(attempts, failed)
    term = exp(
        _log_choose(failed, failures) + _log_choose(worked, attempts - failures) - _log_choose(everything, attempts)
    )
    total = 0.0
    for count in range(failures, most + 1):
        total += term
        # From one term to the next; above the mean they fall faster and faster.
        term *= (failed - count) * (attempts - count) / ((count + 1.0) * (worked - attempts + count + 1.0))
        if term < total * NEGLIGIBLE and count > attempts * failed / everything:
            break
    return min(total, 1.0)


def _log_choose(of: int, chosen: int) -> float:
    return lgamma(of + 1.0) - lgamma(chosen + 1.0) - lgamma(of - chosen + 1.0)
