"""Which endpoint gets the next request: who counts. How one of them is picked is a strategy's (mesh/strategies.py).

A `Balancer` holds the candidates of one service version. It divides them into levels (priorities and backups) and,
where that is wanted, into those of the own zone and all; each such `Group` picks by the strategy. What counts is the
same for all strategies and stands here once:

- usable, weight above 0 and not ejected; in panic everything that is not draining
- not tried by this request while there is another, even a backup
- the lowest level that has one; then one that is not full before one that is: a request rather waits for a primary
  than takes a backup

A balancer never waits, reads no clock, and draws its random numbers from the `Draws` it is given. What it would pick is
found out by a pick: `remember` before it, and `put_back` afterwards leaves everything as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from discovery.model import Endpoint, EndpointState
from discovery.policies import Balancing
from mesh.draws import Draws
from mesh.hashing import hash_bytes
from mesh.request import RequestView

# Looking for so many one by one is faster than looking at all once.
FEW = 16

# Notes of changes kept for balancers that have not read them; who is further behind looks at all candidates.
NOTES = 1024

# With more candidates than this, shares and sums over all of them are taken at most this often (microseconds).
MANY = 64
OFTEN = 10_000


class Changes:
    """What has changed about candidates since balancers divided them: one for all balancers of a service."""

    def __init__(self) -> None:
        self.notes: list[Candidate] = []
        self.count = 0  # notes ever made

    def note(self, candidate: Candidate) -> None:
        """Its weight, level or zone may be other than it was."""
        if len(self.notes) >= NOTES:
            self.notes = []
        self.notes.append(candidate)
        self.count += 1

    def forget(self, candidate: Candidate) -> None:
        """It is gone, and notes must not keep it: who has not read them looks at everybody."""
        if candidate in self.notes:
            self.notes = []
            self.count += 1


# Of candidates that belong to no service.
UNNOTED = Changes()


class Candidate:
    """An endpoint as a balancer sees it. The proxy's runtime endpoint is one; `usable` follows health and draining,
    `full` says that a request would have to wait for a connection."""

    def __init__(self, endpoint: Endpoint, changes: Changes = UNNOTED) -> None:
        self.endpoint = endpoint
        self.usable = True
        self.full = False
        self.weight = endpoint.weight
        self.backup = endpoint.backup
        self.changes = changes
        self.identity = hash_bytes(f"{endpoint.id}\0{endpoint.address}".encode())
        self.recovered = 0
        self.measured = False
        self.rtt = 0.0  # microseconds, as of `rtt_at`
        self.rtt_at = 0
        self.decay_us = 10_000_000.0

    def is_ejected(self, now_ms: int) -> bool:
        """Whether its circuit breaker keeps requests away at this moment (milliseconds of the monotonic clock). Such a
        candidate is as little use as one that is not `usable`, but that changes with time and from request to request,
        so it is asked at every pick."""
        return False

    def is_draining(self) -> bool:
        """Whether it wants no new requests even when nobody else is there."""
        return self.endpoint.state is EndpointState.DRAINING

    def load(self) -> int:
        """Requests (connections, sessions) under way there, of all workers together."""
        return 0

    def recovered_ms(self) -> int:
        """When it last came into use (milliseconds of the monotonic clock); 0 when it has always been."""
        return self.recovered

    def observe(self, elapsed_us: int, penalty_us: int, now_us: int) -> None:
        """It took so long to begin its answer; `penalty_us` when the answer, or the lack of one, is to count as at
        least that long. For strategies that measure: wanted only where `measured`. A peak counts at once, what is less
        the more the longer ago the last was (peak EWMA as Finagle has it)."""
        seen = float(max(elapsed_us, penalty_us))
        if self.rtt_at and seen < self.rtt:
            kept = math.exp((self.rtt_at - now_us) / self.decay_us)
            seen = self.rtt * kept + seen * (1.0 - kept)
        self.rtt = seen
        self.rtt_at = now_us

    def level(self) -> int:
        """Its place among the levels: what SRV says, or 1 for a backup."""
        return self.endpoint.priority or int(self.backup)


class Terms:
    """What all groups of one balancer go by."""

    def __init__(self, balancing: Balancing, draws: Draws, start: int) -> None:
        self.draws = draws
        self.start = start
        self.panic = False  # during this pick
        self.slow_start_ms = int(balancing.slow_start * 1000)
        self.rise = 1.0 / balancing.slow_start_aggression if balancing.slow_start_aggression > 0 else 1.0
        self.least = balancing.slow_start_min_pct / 100.0

    def warmth(self, candidate: Candidate, now_ms: int) -> float:
        """Which part of its share a candidate may have, from above 0 to 1 (Envoy: slow start)."""
        since = candidate.recovered_ms()
        if since == 0:
            return 1.0
        elapsed = now_ms - since
        if elapsed >= self.slow_start_ms:
            return 1.0
        # Another worker's clock may be a little ahead.
        return max(self.least, math.pow(max(elapsed, 0) / self.slow_start_ms, self.rise))


class Scores(NamedTuple):
    """What a strategy compares at this moment, of those that it has to choose among. kind: a word for what it is
    (`turns`, `credit`, `deadline`, `share`, `load`, `time`, `score`, `steps`). highest: wins, and not the lowest.
    drawn: so many of them, drawn at random, are compared at a pick; 0 for all."""

    kind: str
    of: dict[Candidate, float]
    highest: bool = False
    drawn: int = 0


class Group:
    """Candidates that are equally near and of one level; base of the strategies. What a candidate is worth is read from
    it at each pick."""

    def __init__(self, members: Sequence[Candidate], terms: Terms) -> None:
        self.members = list(members)
        self.terms = terms

    def pick(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Candidate | None:
        """One that `fits`, not full if possible; None when none fits. `now`: microseconds of the monotonic clock."""
        raise NotImplementedError

    def fits(self, candidate: Candidate, tried: list[Candidate] | None, now_ms: int) -> bool:
        if candidate.weight <= 0:
            return False
        if self.terms.panic:
            if candidate.is_draining():
                return False
        elif not candidate.usable or candidate.is_ejected(now_ms):
            return False
        return tried is None or candidate not in tried

    def best(self, tried: list[Candidate] | None, now_ms: int) -> list[Candidate]:
        """All that fit, without the full ones if there are others. Looks at everybody."""
        fitting = [each for each in self.members if self.fits(each, tried, now_ms)]
        return [each for each in fitting if not each.full] or fitting

    def remember(self) -> object:
        """What a pick moves on here, for `put_back`."""
        return None

    def put_back(self, memory: object) -> None:
        """A pick has been made that was only a question."""

    def scores(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Scores:
        """What the next pick would compare."""
        raise NotImplementedError

    def is_certain(self, request: RequestView, tried: list[Candidate] | None, now_ms: int) -> bool:
        """Whether the same request is given the same one by every worker, whatever it has picked before."""
        return False

    def exchange(self, gone: Sequence[Candidate], new: Sequence[Candidate]) -> None:
        """Candidates have left and others have come; for those that stay everything goes on."""
        if len(gone) <= FEW:
            for candidate in gone:
                self.take_out(candidate)
        else:
            left = set(gone)
            self.replace([candidate for candidate in self.members if candidate not in left])
        self.members.extend(new)
        self.changed()

    def take_out(self, candidate: Candidate) -> None:
        """One candidate has left."""
        members = self.members
        for index in range(len(members)):
            if members[index] is candidate:
                del members[index]
                self.left(index)
                return

    def left(self, index: int) -> None:
        """Whoever stood there has left."""

    def replace(self, members: list[Candidate]) -> None:
        """Many candidates have left; these stay, in the same order."""
        self.members = members

    def changed(self) -> None:
        """Members, or weights of members, are other than they were."""


class Level:
    """Candidates of one priority: all of them, and those of the own zone."""

    def __init__(self, number: int, everybody: Group, near: Group) -> None:
        self.number = number
        self.all = everybody
        self.near = near
        self.usable_near = 1.0  # parts of 1
        self.usable = 1.0


class Balancer:
    """The candidates of one service version. `make_group` is the strategy."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        make_group: Callable[[Sequence[Candidate], Terms], Group] = Group,
        balancing: Balancing | None = None,
        zone: str = "",
        draws: Draws | None = None,
        start: int = 0,
        measures: bool = False,
    ) -> None:
        """`start`: where a rotation begins. `zone`: where this instance runs. `measures`: the strategy wants to be told
        how long answers take."""
        if balancing is None:
            balancing = Balancing()
        self.balancing = balancing
        self.terms = Terms(balancing, draws if draws is not None else Draws(start), start)
        self.make_group = make_group
        self.measures = measures
        self.zone = zone if balancing.prefer_zone else ""
        self.panic_below = balancing.panic_threshold_pct / 100.0
        self.panicked = False  # whether the last pick was one of panic
        self.candidates: list[Candidate] = []
        self.levels: list[Level] = []
        self.places: dict[Candidate, tuple[int, bool]] = {}  # level, and whether it is near
        self.plain: Group | None = None  # that of the only level, when there is nothing else to decide
        self.used: Group | None = None  # that of the last pick that found one, where there was more to decide
        self.changes = candidates[0].changes if candidates else UNNOTED
        self.seen = self.changes.count
        self.shares_at = 0
        self.exchange((), candidates)

    # --- picking --------------------------------------------------------------------------------------------------

    def pick(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Candidate | None:
        """The endpoint for `request`, one that is not in `tried` while there is another; None when none is usable.
        `now`: microseconds of the monotonic clock."""
        if self.seen != self.changes.count:
            self.look_again()
        plain = self.plain
        if plain is not None:
            found = plain.pick(request, tried, now)
            return plain.pick(request, None, now) if found is None and tried else found
        found = self.pick_level(request, tried, now)
        return self.pick_level(request, None, now) if found is None and tried else found

    def pick_level(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Candidate | None:
        terms = self.terms
        if self.zone or self.panic_below > 0.0:
            self.take_shares(now)
        self.panicked = terms.panic = self.is_panic()
        for level in self.levels:
            group = self.group_of(level)
            found = group.pick(request, tried, now)
            if found is None and group is level.near:
                group = level.all
                found = group.pick(request, tried, now)
            if found is not None:
                self.used = group
                terms.panic = False
                return found
        terms.panic = False
        return None

    def group_of(self, level: Level) -> Group:
        """Whom to look among first: the own zone while enough of it is usable. With less, as much of the traffic stays
        there as its usable part can be expected to take, and the rest is spread over all zones."""
        if not self.zone or not level.near.members or self.terms.panic:
            return level.all
        enough = self.balancing.zone_min_pct / 100.0
        if level.usable_near >= enough or self.terms.draws.unit() * enough < level.usable_near:
            return level.near
        return level.all

    def is_panic(self) -> bool:
        """Whether too few are usable to be trusted with all traffic: of every level (Envoy: panic threshold)."""
        if self.panic_below <= 0.0 or not self.levels:
            return False
        return all(level.usable < self.panic_below for level in self.levels)

    def take_shares(self, now: int) -> None:
        """Keep the shares of usable candidates true enough."""
        if len(self.candidates) > MANY and self.shares_at and now - self.shares_at < OFTEN:
            return
        self.shares_at = now
        now_ms = now // 1000
        for level in self.levels:
            level.usable = usable_share(level.all.members, now_ms)
            if self.zone:
                level.usable_near = usable_share(level.near.members, now_ms)

    # --- questions ------------------------------------------------------------------------------------------------

    def has_usable(self, tried: list[Candidate] | None, now_ms: int) -> bool:
        """Whether there is an endpoint that takes requests and is not in `tried`. Asking moves no rotation on. Mostly
        the first is one, so this is cheap however many there are."""
        for candidate in self.candidates:
            if (
                candidate.usable
                and candidate.weight > 0
                and (tried is None or candidate not in tried)
                and not candidate.is_ejected(now_ms)
            ):
                return True
        return self.panic_below > 0.0 and len(self.awaited(tried, now_ms)) > 0

    def awaited(self, tried: list[Candidate] | None, now_ms: int) -> list[Candidate]:
        """Those that a pick would choose among, full or not: of the lowest level that has one not in `tried`."""
        if self.seen != self.changes.count:
            self.look_again()
        if self.panic_below > 0.0:
            self.take_shares(now_ms * 1000)
        self.terms.panic = self.is_panic()
        found: list[Candidate] = []
        for level in self.levels:
            group = level.all
            found = [each for each in group.members if group.fits(each, tried, now_ms)]
            if found:
                break
        self.terms.panic = False
        return found

    # --- what would be --------------------------------------------------------------------------------------------

    def remember(self) -> Memory:
        """Everything that picks move on. Notes of changes are read now, as by the next pick."""
        if self.seen != self.changes.count:
            self.look_again()
        return Memory(
            self.terms.draws.state,
            self.shares_at,
            self.panicked,
            self.used,
            [(level.usable, level.usable_near, level.all.remember(), level.near.remember()) for level in self.levels],
        )

    def put_back(self, memory: Memory) -> None:
        """Picks that were made since were only questions."""
        self.terms.draws.state = memory.draws
        self.shares_at = memory.shares_at
        self.panicked = memory.panicked
        self.used = memory.used
        for level, (usable, usable_near, everybody, near) in zip(self.levels, memory.levels, strict=True):
            level.usable = usable
            level.usable_near = usable_near
            level.all.put_back(everybody)
            level.near.put_back(near)

    def scores(
        self, group: Group, panicked: bool, request: RequestView, tried: list[Candidate] | None, now: int
    ) -> Scores:
        """What the next pick would compare in `group`."""
        terms = self.terms
        terms.panic = panicked
        try:
            return group.scores(request, tried, now)
        finally:
            terms.panic = False

    def is_certain(self, request: RequestView, tried: list[Candidate] | None, now_ms: int) -> bool:
        """Of the pick just made: whether every worker makes the same, whatever it has picked before."""
        if len(self.awaited(tried, now_ms)) == 1:
            return True
        group = self.plain if self.plain is not None else self.used
        if group is None:
            return False
        if self.zone and not self.panicked:
            enough = self.balancing.zone_min_pct / 100.0
            for level in self.levels:
                is_drawn = len(level.near.members) > 0 and 0.0 < level.usable_near < enough
                if is_drawn and (group is level.near or group is level.all):
                    return False  # a draw decides between the two
        terms = self.terms
        terms.panic = self.panicked
        try:
            return group.is_certain(request, tried, now_ms)
        finally:
            terms.panic = False

    # --- who is there ---------------------------------------------------------------------------------------------

    def exchange(self, gone: Sequence[Candidate], new: Sequence[Candidate]) -> None:
        """Candidates have left and others have come; for those that stay everything goes on."""
        if new and not self.candidates:
            self.changes = new[0].changes
            self.seen = self.changes.count
        places = self.places
        if len(gone) <= FEW:
            for candidate in gone:
                if candidate in places:
                    self.candidates.remove(candidate)
        else:
            left = set(gone)
            self.candidates = [candidate for candidate in self.candidates if candidate not in left]
        self.candidates.extend(new)
        leaving = [(candidate, places.pop(candidate)) for candidate in gone if candidate in places]
        for candidate in new:
            candidate.measured = self.measures
        self.move(leaving, [(candidate, self.place_of(candidate)) for candidate in new])

    def move(
        self, gone: list[tuple[Candidate, tuple[int, bool]]], new: list[tuple[Candidate, tuple[int, bool]]]
    ) -> None:
        """Candidates have left their places, or come to them."""
        for number in {place[0] for _, place in gone} | {place[0] for _, place in new}:
            level = self.level_of(number)
            level.all.exchange(
                [candidate for candidate, place in gone if place[0] == number],
                [candidate for candidate, place in new if place[0] == number],
            )
            if self.zone:
                level.near.exchange(
                    [candidate for candidate, place in gone if place == (number, True)],
                    [candidate for candidate, place in new if place == (number, True)],
                )
        self.places.update(new)
        self.levels = [level for level in self.levels if level.all.members]
        self.shares_at = 0
        simple = len(self.levels) == 1 and not self.zone and self.panic_below <= 0.0
        self.plain = self.levels[0].all if simple else None

    def level_of(self, number: int) -> Level:
        for level in self.levels:
            if level.number == number:
                return level
        level = Level(number, self.make_group((), self.terms), self.make_group((), self.terms))
        self.levels.append(level)
        self.levels.sort(key=lambda each: each.number)
        return level

    def place_of(self, candidate: Candidate) -> tuple[int, bool]:
        near = self.zone != "" and candidate.endpoint.metadata.get(self.balancing.zone_key) == self.zone
        return candidate.level(), near

    def look_again(self) -> None:
        """Read the notes of what has changed; of candidates of ours or of another version."""
        notes = self.changes.notes
        behind = self.changes.count - self.seen
        self.seen = self.changes.count
        changed = notes[len(notes) - behind :] if behind <= len(notes) else self.candidates
        places = self.places
        ours = [candidate for candidate in dict.fromkeys(changed) if candidate in places]
        if not ours:
            return
        moved = [candidate for candidate in ours if self.place_of(candidate) != places[candidate]]
        if moved:
            leaving = [(candidate, places[candidate]) for candidate in moved]
            self.move(leaving, [(candidate, self.place_of(candidate)) for candidate in moved])
        for level in self.levels:
            level.all.changed()
            level.near.changed()


class Memory(NamedTuple):
    """A balancer before a pick. levels: parts that are usable, and what their groups remember."""

    draws: int
    shares_at: int
    panicked: bool
    used: Group | None
    levels: list[tuple[float, float, object, object]]


def usable_share(candidates: list[Candidate], now_ms: int) -> float:
    """Of candidates that want requests: which part may have some. 1 when there are none at all."""
    wanting = 0
    usable = 0
    for candidate in candidates:
        if candidate.weight > 0:
            if candidate.usable and not candidate.is_ejected(now_ms):
                usable += 1
                wanting += 1
            elif not candidate.is_draining():
                wanting += 1
    return usable / wanting if wanting else 1.0
