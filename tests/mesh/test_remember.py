"""What a balancer would pick is a pick that is put back: the next one is as if nobody had asked."""

from __future__ import annotations

import pytest
from candidates import Place, keyed, place, places
from hypothesis import given, settings
from hypothesis import strategies as st

from discovery.policies import Balancing, LoadBalancingStrategy
from mesh.balance import Balancer, Candidate, Changes
from mesh.draws import Draws
from mesh.request import SampleRequest
from mesh.strategies import make_balancer

NO_CLIENT = SampleRequest(client=b"")

every_strategy = pytest.mark.parametrize("strategy", list(LoadBalancingStrategy))

# Making a table of maglev takes long for a property; ring_hash goes the same ways.
QUICK = [each for each in LoadBalancingStrategy if each is not LoadBalancingStrategy.MAGLEV]


def asked(balancer: Balancer, request: SampleRequest, tried: list[Candidate] | None, now: int) -> Candidate | None:
    """What a pick would give."""
    memory = balancer.remember()
    try:
        return balancer.pick(request, tried, now)
    finally:
        balancer.put_back(memory)


class World:
    """One balancer with its candidates; two of them that are made alike go through the same."""

    def __init__(self, strategy: LoadBalancingStrategy, balancing: Balancing, zone: str, count: int) -> None:
        self.changes = Changes()
        self.members: list[Place] = []
        self.made = 0
        for _ in range(count):
            self.add()
        self.balancer = make_balancer(strategy, self.members, 1, balancing, zone, Draws(5))
        self.now = 1_000_000

    def add(self) -> Place:
        number = self.made
        self.made += 1
        made = place(
            f"e{number}",
            number % 3,
            backup=number % 5 == 4,
            zone="ab"[number % 2],
            changes=self.changes,
        )
        made.recovered = 900 if number % 4 == 3 else 0
        self.members.append(made)
        return made

    def do(self, what: str, which: int) -> str:
        """Carry out one step; what was picked, if anything was."""
        members = self.members
        one = members[which % len(members)]
        if what == "pick":
            tried: list[Candidate] | None = [one, members[(which + 1) % len(members)]] if which % 3 == 0 else None
            found = self.balancer.pick(keyed(which) if which % 7 else NO_CLIENT, tried, self.now)
            return "-" if found is None else found.endpoint.id
        if what == "load":
            one.loaded = which % 5
        elif what == "full":
            one.full = not one.full
        elif what == "usable":
            one.usable = not one.usable
        elif what == "eject":
            one.ejected_until_ms = self.now // 1000 + which % 20
        elif what == "weight":
            one.become(weight=which % 4)
        elif what == "backup":
            one.become(backup=which % 2 == 0)
        elif what == "measure":
            one.observe(which * 10, 0, self.now)
        elif what == "time":
            self.now += which * 100
        elif what == "come":
            self.balancer.exchange((), [self.add()])
        elif what == "go" and len(members) > 1:
            members.remove(one)
            self.balancer.exchange([one], ())
        return ""


CHANGES = ["load", "full", "usable", "eject", "weight", "backup", "measure", "time", "come", "go"]
STEPS = st.lists(st.tuples(st.sampled_from(["pick"] * 8 + ["ask"] * 3 + CHANGES), st.integers(0, 200)), max_size=40)
BALANCING = st.builds(
    Balancing,
    bounded_load=st.sampled_from([0.0, 0.0, 1.25]),
    slow_start=st.sampled_from([0.0, 0.0, 0.4]),
    panic_threshold_pct=st.sampled_from([0.0, 0.0, 60.0]),
    prefer_zone=st.booleans(),
)


@pytest.mark.parametrize("strategy", QUICK)
@settings(max_examples=40)
@given(BALANCING, st.integers(1, 40), STEPS, st.integers(0, 3))
def test_a_question_tells_the_next_pick_and_changes_none(
    strategy: LoadBalancingStrategy, balancing: Balancing, count: int, steps: list[tuple[str, int]], asks: int
) -> None:
    quiet = World(strategy, balancing, "a", count)
    probed = World(strategy, balancing, "a", count)
    for what, which in steps:
        if what == "ask":
            asked(probed.balancer, keyed(which), None, probed.now)
            quiet.balancer.remember()  # reads the notes of changes at the same moment
            continue
        if what != "pick":
            quiet.do(what, which)
            probed.do(what, which)
            continue
        members = probed.members
        tried: list[Candidate] | None = None
        if which % 3 == 0:
            tried = [members[which % len(members)], members[(which + 1) % len(members)]]
        told = [
            asked(probed.balancer, keyed(which) if which % 7 else NO_CLIENT, tried, probed.now) for _ in range(asks)
        ]
        found = probed.do(what, which)
        assert {"-" if each is None else each.endpoint.id for each in told} <= {found}
        assert quiet.do(what, which) == found
    assert quiet.balancer.terms.draws.state == probed.balancer.terms.draws.state


def test_a_table_in_the_making_is_ready_when_it_would_have_been() -> None:
    """More than are made at once: each pick makes a slice, and questions none of their own."""
    ring = LoadBalancingStrategy.RING_HASH
    quiet, probed = (make_balancer(ring, places(257), 0, Balancing(), draws=Draws(1)) for _ in range(2))
    known = {each.endpoint.id for each in quiet.candidates}
    for number in range(150):
        if number == 100:
            for balancer in (quiet, probed):
                balancer.exchange([balancer.candidates[7]], [place("new")])
        if number == 60:
            for balancer in (quiet, probed):
                balancer.candidates[9].usable = False
        told = {asked(probed, keyed(number), None, 0) for _ in range(number % 3 + 1)}
        found = probed.pick(keyed(number), None, 0)
        other = quiet.pick(keyed(number), None, 0)
        assert found is not None and other is not None
        assert told == {found} and found.endpoint.id == other.endpoint.id
        assert found.endpoint.id in known | {"new"}
    # Whoever changes in between is as good: what was made ahead is thrown away with the rest.
    asked(probed, keyed(1), None, 0)
    for balancer in (quiet, probed):
        balancer.exchange([balancer.candidates[0]], ())
    for number in range(100):
        found, other = probed.pick(keyed(number), None, 0), quiet.pick(keyed(number), None, 0)
        assert found is not None and other is not None and found.endpoint.id == other.endpoint.id


def test_a_table_that_was_made_for_a_question_is_not_used_when_things_have_changed() -> None:
    ring = LoadBalancingStrategy.RING_HASH
    quiet, probed = (make_balancer(ring, places(3), 0, Balancing(), draws=Draws(1)) for _ in range(2))
    asked(probed, keyed(1), None, 0)
    for balancer in (quiet, probed):
        balancer.exchange((), [place(f"new{number}") for number in range(9)])
    for number in range(9):
        found, other = probed.pick(keyed(number), None, 0), quiet.pick(keyed(number), None, 0)
        assert found is not None and other is not None and found.endpoint.id == other.endpoint.id


def test_among_many_by_deadline() -> None:
    quiet, probed = (
        make_balancer(LoadBalancingStrategy.WEIGHTED_ROUND_ROBIN, places(200, 2), 3, draws=Draws(2)) for _ in range(2)
    )
    for number in range(300):
        if number == 150:
            for balancer in (quiet, probed):
                for each in balancer.candidates[:190]:
                    each.usable = False
        if number == 200:
            asked(probed, keyed(number), None, 0)
            for balancer in (quiet, probed):
                balancer.exchange((), [place("new", 2)])
        told = asked(probed, keyed(number), None, 0)
        found, other = probed.pick(keyed(number), None, 0), quiet.pick(keyed(number), None, 0)
        assert found is told and found is not None and other is not None
        assert found.endpoint.id == other.endpoint.id


# --- scores -------------------------------------------------------------------------------------------------------

# Whose pick depends on nothing but the scores.
COMPARED = [each for each in QUICK if each is not LoadBalancingStrategy.RANDOM]


@pytest.mark.parametrize("strategy", COMPARED)
@settings(max_examples=40)
@given(st.integers(1, 14), st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(0, 50)), max_size=12))
def test_the_best_score_is_picked(strategy: LoadBalancingStrategy, count: int, steps: list[tuple[str, int]]) -> None:
    balancing = Balancing(choices=64)  # as many as there are
    world = World(strategy, balancing, "", count)
    for what, which in steps:
        if what != "come":
            world.do(what, which)
        world.do("pick", which)
    balancer = world.balancer
    request = keyed(1)
    memory = balancer.remember()
    found = balancer.pick(request, None, world.now)
    group = balancer.plain if balancer.plain is not None else balancer.used
    balancer.put_back(memory)
    if found is None:
        return
    assert group is not None
    scores = balancer.scores(group, False, request, None, world.now)
    best = (max if scores.highest else min)(scores.of.values())
    if strategy in (LoadBalancingStrategy.RING_HASH, LoadBalancingStrategy.MAGLEV):
        # The walk passes over whoever does not fit.
        taken = [each for each in scores.of if each.weight > 0 and each.usable and not each.full]
        taken = [each for each in taken if not each.is_ejected(world.now // 1000)]
        best = min((scores.of[each] for each in taken), default=scores.of.get(found, 0.0))
    elif strategy is LoadBalancingStrategy.IP_HASH:
        free = [score for each, score in scores.of.items() if not each.full]
        best = max(free or scores.of.values())
    assert scores.of.get(found, best) == pytest.approx(best, abs=1e-9)


@every_strategy
def test_a_score_for_each_that_is_chosen_among(strategy: LoadBalancingStrategy) -> None:
    members = [place(f"e{number}", 1 + number % 2) for number in range(5)]
    members[1].usable = False
    members[2].full = True
    balancer = make_balancer(strategy, members, 0, draws=Draws(1))
    balancer.pick(keyed(1), None, 0)
    group = balancer.plain
    assert group is not None
    scores = balancer.scores(group, False, keyed(1), None, 0)
    if scores.kind == "steps":
        assert set(scores.of.values()) <= set(map(float, range(64))) and 0.0 in scores.of.values()
    else:
        wanted = {"e0", "e3", "e4"} | ({"e2"} if scores.kind == "score" else set())
        assert {each.endpoint.id for each in scores.of} == wanted
    if scores.kind == "share":
        assert sum(scores.of.values()) == pytest.approx(100.0)


def test_turns_are_counted_from_the_next() -> None:
    members = places(3)
    balancer = make_balancer(LoadBalancingStrategy.ROUND_ROBIN, members, 0)
    balancer.pick(keyed(1), None, 0)
    group = balancer.plain
    assert group is not None
    scores = balancer.scores(group, False, keyed(1), None, 0)
    assert [scores.of[each] for each in members] == [2.0, 0.0, 1.0]


# --- certain ------------------------------------------------------------------------------------------------------


def certain(balancer: Balancer, request: SampleRequest) -> bool:
    memory = balancer.remember()
    balancer.pick(request, None, 0)
    said = balancer.is_certain(request, None, 0)
    balancer.put_back(memory)
    return said


@every_strategy
def test_certain_is_what_every_worker_picks(strategy: LoadBalancingStrategy) -> None:
    by_key = strategy in (
        LoadBalancingStrategy.IP_HASH,
        LoadBalancingStrategy.RING_HASH,
        LoadBalancingStrategy.MAGLEV,
    )
    members = places(6)
    assert certain(make_balancer(strategy, members, 0, draws=Draws(1)), keyed(1)) is by_key
    assert not certain(make_balancer(strategy, members, 0, draws=Draws(1)), NO_CLIENT)
    bounded = Balancing(bounded_load=1.5)
    assert not certain(make_balancer(strategy, members, 0, bounded, draws=Draws(1)), keyed(1))
    near = Balancing(prefer_zone=True)
    zoned = [place(f"z{number}", zone="ab"[number % 2]) for number in range(6)]
    zoned[0].usable = zoned[2].usable = False
    assert not certain(make_balancer(strategy, zoned, 0, near, "a", draws=Draws(1)), keyed(1))
    zoned[0].usable = zoned[2].usable = True
    assert certain(make_balancer(strategy, zoned, 0, near, "a", draws=Draws(1)), keyed(1)) is by_key
    members[3].full = True
    assert not certain(make_balancer(strategy, members, 0, draws=Draws(1)), keyed(1))
    for each in members[1:]:
        each.usable = False
    assert certain(make_balancer(strategy, members, 0, draws=Draws(1)), NO_CLIENT)
