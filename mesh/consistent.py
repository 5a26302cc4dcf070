"""Strategies that send the same key to the same endpoint: rendezvous, ring and maglev hashing.

Few: rendezvous (highest random weight, Thaler and Ravishankar 1998), which needs no table. Everybody's score for the
key is computed and the highest wins, so when one leaves, its keys and no others move. Many: a table (mesh/tables.py)
says where the key's walk begins, and the walk goes on until it meets one that fits. A table is made in slices, one with
each pick, while the one before is in use: what has left is passed over, what has come gets its keys when it is ready.

With bounded load (Mirrokni, Thorup and Zadimoghaddam 2016) nobody gets more than `bound` times its part of all requests
under way, this one included; the walk goes on from who has as many. In slow start an endpoint has part of its keys,
the same ones at every pick and more with time. A request without a key goes anywhere, by weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil

from discovery.policies import KeyKind, RequestKey
from mesh.balance import MANY, OFTEN, Candidate, Scores, Terms
from mesh.hashing import hash_bytes, log_of, mix, unit_of
from mesh.keys import key_of
from mesh.request import RequestView
from mesh.sampling import Drawing
from mesh.tables import KeyTable

# The first table of up to so many members is made at once, in some milliseconds, so that keys have their places from
# the first request on. That of more comes in slices, and rendezvous decides until then.
AT_ONCE = 256

# Steps of a walk before all candidates are looked at.
STEPS = 64


class Hashing(Drawing):
    """`make_table` is asked with more than `few` members; up to that rendezvous decides."""

    def __init__(
        self,
        members: Sequence[Candidate],
        terms: Terms,
        key: RequestKey,
        bound: float,
        make_table: Callable[[], KeyTable],
        few: int,
    ) -> None:
        super().__init__(members, terms)
        self.key = key
        self.by_client = key.kind is KeyKind.CLIENT_IP
        self.bound = bound
        self.make_table = make_table
        self.few = few
        self.table: KeyTable | None = None
        self.coming: KeyTable | None = None  # being made
        self.building: Iterator[None] | None = None
        self.outdated = True
        self.is_ahead = False  # the slice of the next pick has been made by a question
        self.slices = 0
        self.summed_at = 0
        self.load_sum = 0.0
        self.weight_sum = 0.0
        self.changed()

    def changed(self) -> None:
        self.stale = True
        self.outdated = True
        self.summed_at = 0
        # Whoever has left is not kept by what was made of it.
        self.building = None
        self.coming = None
        self.is_ahead = False
        if self.table is not None:
            staying = set(self.members)
            members = self.table.members
            self.table.members = [each if each in staying else None for each in members]

    def pick(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Candidate | None:
        key = request.client if self.by_client else key_of(request, self.key)
        now_ms = now // 1000
        if not key:
            return self.draw(tried, now_ms)
        hashed = hash_bytes(key)
        if self.bound > 0.0:
            self.sum_up(now)
        found = None
        if len(self.members) > self.few:
            if self.outdated or self.is_ahead or self.building is not None:
                self.build()
            if self.table is not None:
                found = self.walk(hashed, tried, now_ms)
        if found is None:
            found = self.rendezvous(hashed, tried, now_ms)
        if found is not None:
            self.load_sum += 1.0
        return found

    def rendezvous(self, hashed: int, tried: list[Candidate] | None, now_ms: int) -> Candidate | None:
        """The highest score among those that fit; of the full ones, and of those with too much to do, only when there
        is nobody else."""
        best = None
        best_rank = 4
        best_score = 0.0
        for candidate in self.members:
            if not self.fits(candidate, tried, now_ms):
                continue
            rank = 0
            if candidate.full:
                rank = 1
            if self.bound > 0.0 and self.is_loaded(candidate):
                rank += 2
            if rank > best_rank:
                continue
            score = self.score(hashed, candidate, now_ms)
            if best is None or rank < best_rank or score > best_score:
                best = candidate
                best_rank = rank
                best_score = score
        return best

    def score(self, hashed: int, candidate: Candidate, now_ms: int) -> float:
        # Of n independent draws with these exponents each is the highest with probability weight / sum.
        return log_of(unit_of(mix(hashed, candidate.identity))) / self.share(candidate, now_ms)

    def walk(self, hashed: int, tried: list[Candidate] | None, now_ms: int) -> Candidate | None:
        """Along the table to the first that fits, is not full and not loaded; None when that takes too long."""
        table = self.table
        if table is None or table.size == 0:
            return None
        terms = self.terms
        members = table.members
        place = table.start(hashed)
        spare = None
        before = None
        for step in range(STEPS):
            candidate = members[table.owners[place]]
            place = table.after(place, hashed, step)
            if candidate is None or candidate is before:
                continue
            before = candidate
            if candidate.full or not self.fits(candidate, tried, now_ms):
                continue
            if self.bound > 0.0 and self.is_loaded(candidate):
                continue
            if terms.slow_start_ms > 0:
                warmth = terms.warmth(candidate, now_ms)
                if warmth < 1.0 and unit_of(mix(hashed, candidate.identity)) >= warmth:
                    if spare is None:
                        spare = candidate
                    continue
            return candidate
        return spare

    # --- what would be --------------------------------------------------------------------------------------------

    def remember(self) -> object:
        return self.summed_at, self.load_sum, self.weight_sum, self.slices, self.table

    def put_back(self, memory: object) -> None:
        """The slice that a pick made of a table cannot be unmade, so the next pick makes none."""
        assert isinstance(memory, tuple)
        self.summed_at, self.load_sum, self.weight_sum, slices, table = memory
        if self.slices != slices:
            self.slices = slices
            self.is_ahead = True
            if self.building is None:
                # It was the last one. The table comes into use with the next pick.
                self.coming = self.table
                self.table = table

    def next_table(self) -> KeyTable | None:
        """The table that the next pick goes by; None when there is none yet, or it needs none."""
        if len(self.members) <= self.few:
            return None
        table = self.coming if self.is_ahead and self.building is None else self.table
        return table if table is not None and table.size > 0 else None

    def scores(self, request: RequestView, tried: list[Candidate] | None, now: int) -> Scores:
        """Steps from the key's place to each, as far as a walk goes; without a table the scores of the key."""
        key = key_of(request, self.key)
        if not key:
            return Drawing.scores(self, request, tried, now)
        now_ms = now // 1000
        hashed = hash_bytes(key)
        table = self.next_table()
        if table is None:
            found = {}
            for candidate in self.members:
                if self.fits(candidate, tried, now_ms):
                    found[candidate] = self.score(hashed, candidate, now_ms)
            return Scores("score", found, True)
        return Scores("steps", self.steps(table, hashed))

    def steps(self, table: KeyTable, hashed: int) -> dict[Candidate, float]:
        """Whom the walk of a key meets, and at which step."""
        found: dict[Candidate, float] = {}
        place = table.start(hashed)
        for step in range(STEPS):
            met = table.members[table.owners[place]]
            place = table.after(place, hashed, step)
            if met is not None and met not in found:
                found[met] = step
        return found

    def is_certain(self, request: RequestView, tried: list[Candidate] | None, now_ms: int) -> bool:
        """By a key, with nothing that only this worker knows: loads, full pools, and which table it has."""
        if self.bound > 0.0 or not key_of(request, self.key):
            return False
        count = len(self.members)
        if count > self.few and (count > AT_ONCE or self.outdated or self.building is not None or self.is_ahead):
            return False
        return not any([each.full and self.fits(each, tried, now_ms) for each in self.members])

    # --- bounded load ---------------------------------------------------------------------------------------------

    def is_loaded(self, candidate: Candidate) -> bool:
        """Whether one more would be more than `bound` times its part."""
        part = (self.load_sum + 1.0) * candidate.weight / self.weight_sum if self.weight_sum > 0.0 else 1.0
        return candidate.load() + 1 > ceil(self.bound * part)

    def sum_up(self, now: int) -> None:
        """Add up what is under way at those that are usable; of many not at every pick."""
        if len(self.members) > MANY and self.summed_at and now - self.summed_at < OFTEN:
            return
        self.summed_at = now
        now_ms = now // 1000
        loads = 0.0
        weights = 0.0
        for candidate in self.members:
            if self.fits(candidate, None, now_ms):
                loads += candidate.load()
                weights += candidate.weight
        self.load_sum = loads
        self.weight_sum = weights

    # --- the table ------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """One slice of the work. When something changes meanwhile, it begins anew."""
        self.slices += 1
        if self.is_ahead:
            self.is_ahead = False
            if self.building is not None:
                return
        else:
            if self.building is None:
                self.outdated = False
                self.coming = self.make_table()
                self.building = self.coming.build(list(self.members))
            for _ in self.building:
                if self.table is not None or len(self.members) > AT_ONCE:
                    return
            self.building = None
        self.table = self.coming
        self.coming = None
