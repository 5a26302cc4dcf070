"""Tables of consistent hashing for many endpoints: a ring and maglev's permutations.

Both end as `owners`: places in a circle, each with the number of a member. A key begins at one place and walks on from
there. What they say depends on nothing but the members' identities and weights, so all workers and instances agree.
They are built in slices of well below a millisecond (about SLICE small steps), because a worker does nothing else
meanwhile.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from mesh.balance import Candidate
from mesh.hashing import finish, mix

# Small steps of some nanoseconds between two pauses.
SLICE = 20_000

# Sorting an endpoint in, or hashing a point, takes about as long as so many small steps.
ENDPOINT_STEPS = 20
POINT_STEPS = 2

# Points of the lightest endpoint on the ring, at least (nginx and ketama: 160), and of all together; beyond that
# everybody has half as many, or a quarter, ... Scaled by powers of two, so rarely: when that happens, many keys move.
RING_POINTS = 160
MOST_POINTS = 1 << 20

# Places of maglev: prime, as in the paper (Eisenbud 2016) and Envoy.
MAGLEV_SIZE = 65_537


class KeyTable:
    """`build` fills it; after that `start` says where a key's walk through `owners` begins."""

    def __init__(self) -> None:
        self.members: list[Candidate | None] = []  # None: it has left since
        self.ordered: list[Candidate] = []  # while the table is being made
        self.owners = array("i")
        self.size = 0

    def start(self, hashed: int) -> int:
        raise NotImplementedError

    def after(self, place: int, hashed: int, step: int) -> int:
        """Where the walk goes on: beside it."""
        place += 1
        return place if place < self.size else 0

    def build(self, members: list[Candidate]) -> Iterator[None]:
        """Pauses between slices."""
        raise NotImplementedError

    def sort(self, members: list[Candidate]) -> Iterator[None]:
        """Members with a weight by identity, which does not depend on who came first."""
        parts: list[list[Candidate]] = [[] for _ in range(256)]
        step = SLICE // ENDPOINT_STEPS
        for begin in range(0, len(members), step):
            for each in members[begin : begin + step]:
                if each.weight > 0:
                    parts[each.identity >> 56].append(each)
            yield
        found: list[Candidate] = []
        done = 0
        for part in parts:
            part.sort(key=_identity)
            found += part
            done += len(part) * ENDPOINT_STEPS
            if done > SLICE:
                done = 0
                yield
        self.ordered = found
        self.members = [*found]


class Ring(KeyTable):
    """Every endpoint has points on a circle of 2**32, in proportion to its weight; a key belongs to the next point."""

    def __init__(self) -> None:
        super().__init__()
        self.points = array("Q")
        self.begins = array("i")  # of the parts into which the circle is divided, by the first bits of a point
        self.shift = 32

    def build(self, members: list[Candidate]) -> Iterator[None]:
        yield from self.sort(members)
        members = self.ordered
        if not members:
            return
        lightest = min(each.weight for each in members)
        total_weight = sum(each.weight for each in members)
        scale = RING_POINTS / (1 << (lightest.bit_length() - 1))
        while total_weight * scale > MOST_POINTS:
            scale /= 2
        yield
        counts = [max(1, int(each.weight * scale)) for each in members]
        total = sum(counts)
        bits = max(total.bit_length() - 2, 0)
        self.shift = 32 - bits
        self.size = total
        self.begins = array("i", bytes(4 * ((1 << bits) + 1)))
        yield
        # How many points each part has, then where it begins, then the points themselves.
        yield from self.each_point(counts, False)
        self.add_up()
        yield
        self.points = array("Q", bytes(8 * total))
        self.owners = array("i", bytes(4 * total))
        yield
        yield from self.each_point(counts, True)
        parts = 1 << bits
        for begin in range(0, parts, SLICE // 10):
            self.sort_parts(begin, min(begin + SLICE // 10, parts))
            yield
        self.ordered = []

    def each_point(self, counts: list[int], placing: bool) -> Iterator[None]:
        step = SLICE // POINT_STEPS
        done = 0
        for number, count in enumerate(counts):
            for begin in range(0, count, step):
                end = min(begin + step, count)
                self.put(number, self.ordered[number].identity, begin, end, placing)
                done += end - begin
                if done >= step:
                    done = 0
                    yield

    def put(self, number: int, identity: int, begin: int, end: int, placing: bool) -> None:
        """Count the points of a member, or put them where they belong; `begins` is then where the next one goes."""
        for count in range(begin, end):
            point = mix(identity, count) >> 32
            part = point >> self.shift
            if placing:
                place = self.begins[part]
                self.points[place] = point
                self.owners[place] = number
                self.begins[part] = place + 1
            else:
                self.begins[part + 1] += 1

    def add_up(self) -> None:
        for part in range(1, len(self.begins)):
            self.begins[part] += self.begins[part - 1]

    def sort_parts(self, begin: int, end: int) -> None:
        """Points of these parts in order; `begins` of a part is where it ends, since all its points are placed."""
        for part in range(begin, end):
            first = self.begins[part - 1] if part > 0 else 0
            for at in range(first + 1, self.begins[part]):
                point = self.points[at]
                owner = self.owners[at]
                place = at
                while place > first and self.points[place - 1] > point:
                    self.points[place] = self.points[place - 1]
                    self.owners[place] = self.owners[place - 1]
                    place -= 1
                self.points[place] = point
                self.owners[place] = owner

    def start(self, hashed: int) -> int:
        point = hashed >> 32
        part = point >> self.shift
        place = self.begins[part - 1] if part > 0 else 0
        while place < self.size and self.points[place] < point:
            place += 1
        return place if place < self.size else 0


class Maglev(KeyTable):
    """Every endpoint has its own order of all places and in turn takes the first free one; one with half the weight of
    the heaviest has half as many turns. Looked up in one step; when members change, some keys of others move too."""

    def __init__(self) -> None:
        super().__init__()
        self.skips = array("i")
        self.places = array("i")
        self.turns = array("d")
        self.shares = array("d")
        self.taken = 0

    def build(self, members: list[Candidate]) -> Iterator[None]:
        yield from self.sort(members)
        members = self.ordered
        if not members:
            return
        heaviest = float(max(each.weight for each in members))
        self.owners = array("i", [-1]) * MAGLEV_SIZE
        self.places = array("i", [_low(each) % MAGLEV_SIZE for each in members])
        yield
        self.skips = array("i", [_high(each) % (MAGLEV_SIZE - 1) + 1 for each in members])
        self.shares = array("d", [each.weight / heaviest for each in members])
        self.turns = array("d", bytes(8 * len(members)))
        yield
        number = 0
        while self.taken < MAGLEV_SIZE:
            number = self.fill(number, len(members))
            yield
        self.size = MAGLEV_SIZE
        self.ordered = []

    def fill(self, number: int, count: int) -> int:
        """Take places for a while, beginning with the turn of this member; whose turn it is then."""
        steps = 0
        while self.taken < MAGLEV_SIZE and steps < SLICE:
            self.turns[number] += self.shares[number]
            steps += 1
            if self.turns[number] >= 1.0 - 1e-9:
                self.turns[number] -= 1.0
                place = self.places[number]
                skip = self.skips[number]
                while self.owners[place] >= 0:
                    place += skip
                    if place >= MAGLEV_SIZE:
                        place -= MAGLEV_SIZE
                    steps += 1
                self.owners[place] = number
                self.places[number] = place
                self.taken += 1
            number += 1
            if number == count:
                number = 0
        return number

    def start(self, hashed: int) -> int:
        return hashed % MAGLEV_SIZE

    def after(self, place: int, hashed: int, step: int) -> int:
        """Anywhere: who has places beside each other follows from the orders, and is not even."""
        return mix(hashed, step) % MAGLEV_SIZE


def _identity(candidate: Candidate) -> int:
    return candidate.identity


def _low(candidate: Candidate) -> int:
    return finish(candidate.identity & 0xFFFF_FFFF)


def _high(candidate: Candidate) -> int:
    return finish(candidate.identity >> 32)
