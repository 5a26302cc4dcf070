"""Strategies that go round: each endpoint in turn, or as often as its weight says."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from mesh.balance import Candidate, Group, Scores, Terms
from mesh.request import RequestView

# With more candidates than this a heap of deadlines is faster than looking at all of them.
SMOOTH = 32

# Times that the first of the heap may be of no use before all are looked at.
LOOKS = 64

# Multiples of the golden ratio are spread evenly over [0, 1), modulo 1, however many of them are taken.
GOLDEN = 0.618_033_988_749_895

# Less of a difference comes from rounding.
EQUAL = 1e-9


class RoundRobin(Group):
    """Each endpoint in turn. One that is full is taken only when all its equals are. Weights are not looked at (0 takes
    nothing). The turn goes on behind whatever was picked, so endpoints that are skipped add to everybody's share and
    not to their neighbour's. One in slow start lets most of its turns pass.
    """

    def __init__(self, members: Sequence[Candidate], terms: Terms) -> None:
        super().__init__(members, terms)
        self.next_index = terms.start

    def left(self, index: int) -> None:
        if index < self.next_index:
            self.next_index -= 1

    def replace(self, members: list[Candidate]) -> None:
        staying = set(members)
        self.next_index = len([each for each in self.members[: self.next_index] if each in staying])
        self.members = members

    def pick(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Candidate | None:
        members = self.members
        count = len(members)
        if count == 0:
            return None
        now_ms = now // 1000
        terms = self.terms
        starts_slowly = terms.slow_start_ms > 0
        spare = -1  # the first that is not full, but let its turn pass
        full = -1
        index = self.next_index
        if index >= count:
            index %= count
        for _ in range(count):
            candidate = members[index]
            if self.fits(candidate, tried, now_ms):
                if candidate.full:
                    if full < 0:
                        full = index
                elif starts_slowly and self.waits(candidate, now_ms):
                    if spare < 0:
                        spare = index
                else:
                    self.next_index = index + 1
                    return candidate
            index += 1
            if index == count:
                index = 0
        index = spare if spare >= 0 else full
        if index < 0:
            return None
        self.next_index = index + 1
        return members[index]

    def remember(self) -> object:
        return self.next_index

    def put_back(self, memory: object) -> None:
        assert isinstance(memory, int)
        self.next_index = memory

    def scores(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Scores:
        """Turns until its turn. One in slow start may let it pass."""
        members = self.members
        count = len(members)
        now_ms = now // 1000
        fitting = [
            candidate
            for candidate in (members[(self.next_index + step) % count] for step in range(count))
            if self.fits(candidate, tried, now_ms)
        ]
        free = [candidate for candidate in fitting if not candidate.full] or fitting
        return Scores("turns", {candidate: float(turn) for turn, candidate in enumerate(free)})

    def waits(self, candidate: Candidate, now_ms: int) -> bool:
        """Whether it lets this turn pass."""
        terms = self.terms
        warmth = terms.warmth(candidate, now_ms)
        return warmth < 1.0 and terms.draws.unit() >= warmth


class WeightedRoundRobin(Group):
    """Each as often as its weight says, and as evenly spread over time as that allows.

    Few: everybody earns its part of 1, the richest is taken and pays 1 (nginx's smooth weighted round robin: 5, 1, 1
    gives A A B A C A A). What is earned is a part of the sum, so changed weights do not make old debts large. Many: the
    earliest deadline is taken and put off by 1 / weight (EDF, as Envoy), which is O(log n).
    """

    def __init__(self, members: Sequence[Candidate], terms: Terms) -> None:
        super().__init__(members, terms)
        self.known: list[Candidate] = []  # whom the arrays below are about
        self.parts = array("d")  # few: earnings of this pick. Many: unused
        self.earned = array("d")  # few: what each has; many: its deadline
        self.heap = array("i")
        self.clock = 0.0
        self.changed()

    def changed(self) -> None:
        members = self.members
        if self.knows(members):
            return  # weights are read as they are needed
        few = len(members) <= SMOOTH
        before: dict[Candidate, float] = {}
        if (len(self.heap) > 0) is not few:
            before = dict(zip(self.known, self.earned, strict=True))
        fresh = not before
        self.known = list(members)
        draws = self.terms.draws
        if few:
            self.heap = array("i")
            self.earned = array("d", [before.get(each, 0.0) for each in members])
            self.parts = array("d", [0.0] * len(members))
            if fresh:
                self.turn(self.terms.start)
            return
        # Places spread evenly over the first round, the first at random: neither all that come at once nor all workers
        # begin alike.
        offset = draws.unit()
        self.earned = array("d", [before.get(each, -1.0) for each in members])
        for index, each in enumerate(members):
            if self.earned[index] < 0.0:
                self.earned[index] = self.clock + (1.0 - (offset + index * GOLDEN) % 1.0) / max(each.weight, 1)
        self.order()

    def knows(self, members: list[Candidate]) -> bool:
        """Whether the arrays are about these."""
        known = self.known
        if len(members) != len(known):
            return False
        for index in range(len(members)):  # noqa: SIM110  # all(...) needs a closure
            if members[index] is not known[index]:
                return False
        return True

    def turn(self, start: int) -> None:
        """Go on as if `start` picks had been made; less than a round of them, and no more than there are members."""
        members = self.members
        for _ in range(start % len(members) if members else 0):
            for index in range(len(members)):
                self.parts[index] = float(max(members[index].weight, 0))
            self.richest()

    def pick(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Candidate | None:
        if len(self.heap):
            return self.earliest(tried, now // 1000)
        return self.members[self.richest()] if self.take_parts(tried, now // 1000) else None

    def take_parts(self, tried: list[Candidate] | None, now_ms: int) -> bool:
        """What everybody earns by this pick; False when nobody fits."""
        members = self.members
        terms = self.terms
        starts_slowly = terms.slow_start_ms > 0
        free = False
        some = False
        for index in range(len(members)):
            candidate = members[index]
            part = 0.0
            if self.fits(candidate, tried, now_ms):
                some = True
                part = float(candidate.weight)
                if starts_slowly:
                    part *= terms.warmth(candidate, now_ms)
                if not candidate.full:
                    free = True
            self.parts[index] = part
        if free:
            for index in range(len(members)):
                candidate = members[index]
                if candidate.full:
                    self.parts[index] = 0.0
        return some

    def remember(self) -> object:
        # The bytes are a copy; a slice of the array would be none in compiled form.
        return bytes(self.earned), bytes(self.heap), self.clock

    def put_back(self, memory: object) -> None:
        assert isinstance(memory, tuple)
        earned, heap, self.clock = memory
        self.earned = array("d", earned)
        self.heap = array("i", heap)

    def scores(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Scores:
        """Few: what each has with this pick's earnings; the richest is next. Many: how far its deadline is."""
        members = self.members
        now_ms = now // 1000
        if len(self.heap):
            left = [
                (candidate, self.earned[index] - self.clock)
                for index, candidate in enumerate(members)
                if self.fits(candidate, tried, now_ms)
            ]
            free = [(candidate, deadline) for candidate, deadline in left if not candidate.full]
            return Scores("deadline", dict(free or left))
        if not self.take_parts(tried, now_ms):
            return Scores("credit", {}, True)
        total = sum(self.parts)
        return Scores(
            "credit",
            {
                candidate: self.earned[index] + self.parts[index] / total
                for index, candidate in enumerate(members)
                if self.parts[index] > 0.0
            },
            True,
        )

    def richest(self) -> int:
        """Give everybody its part, and take 1 from who then has most."""
        count = len(self.parts)
        total = 0.0
        for index in range(count):
            total += self.parts[index]
        best = 0
        most = -1e300
        for index in range(count):
            if self.parts[index] > 0.0:
                has = self.earned[index] + self.parts[index] / total
                self.earned[index] = has
                if has > most + EQUAL:
                    most = has
                    best = index
        self.earned[best] -= 1.0
        return best

    # --- many -----------------------------------------------------------------------------------------------------

    def earliest(self, tried: list[Candidate] | None, now_ms: int) -> Candidate | None:
        """Whose deadline comes first. Who is of no use now is put off as well, so nobody saves up turns."""
        members = self.members
        for _ in range(LOOKS):
            index = self.heap[0]
            candidate = members[index]
            fits = self.fits(candidate, tried, now_ms) and not candidate.full
            if fits:
                self.clock = self.earned[index]
            self.put_off(candidate, index, now_ms)
            self.sink(0)
            if fits:
                return candidate
        best = -1
        found = None
        for index in range(len(members)):
            candidate = members[index]
            if self.fits(candidate, tried, now_ms) and (
                found is None
                or (found.full and not candidate.full)
                or (found.full == candidate.full and self.earned[index] < self.earned[best])
            ):
                found = candidate
                best = index
        if found is not None:
            self.put_off(found, best, now_ms)
            self.order()
        return found

    def put_off(self, candidate: Candidate, index: int, now_ms: int) -> None:
        weight = float(max(candidate.weight, 1))
        if self.terms.slow_start_ms > 0:
            weight *= self.terms.warmth(candidate, now_ms)
        self.earned[index] += 1.0 / weight

    def order(self) -> None:
        """Make the heap from the deadlines."""
        count = len(self.members)
        self.heap = array("i", range(count))
        for place in range(count // 2 - 1, -1, -1):
            self.sink(place)

    def sink(self, place: int) -> None:
        """The deadline at `place` of the heap may be too late for it."""
        count = len(self.heap)
        index = self.heap[place]
        deadline = self.earned[index]
        while True:
            below = 2 * place + 1
            if below >= count:
                break
            if below + 1 < count and self.earned[self.heap[below + 1]] < self.earned[self.heap[below]]:
                below += 1
            if self.earned[self.heap[below]] >= deadline:
                break
            self.heap[place] = self.heap[below]
            place = below
        self.heap[place] = index
