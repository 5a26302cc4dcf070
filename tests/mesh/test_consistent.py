"""The same key meets the same endpoint; when one leaves, its keys and no others move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from candidates import Place, keyed, picked, place, places
from hypothesis import given
from hypothesis import strategies as st

from discovery.policies import Balancing, KeyKind, LoadBalancingStrategy, RequestKey
from mesh.balance import Balancer
from mesh.draws import Draws
from mesh.request import SampleRequest
from mesh.strategies import RENDEZVOUS, make_balancer

IP_HASH = LoadBalancingStrategy.IP_HASH
RING = LoadBalancingStrategy.RING_HASH
MAGLEV = LoadBalancingStrategy.MAGLEV
HASHING = [IP_HASH, RING, MAGLEV]
KEYS = 3_000


def hashing(
    strategy: LoadBalancingStrategy, candidates: Iterable[Place], settings: Balancing | None = None
) -> Balancer:
    return make_balancer(strategy, list(candidates), 0, settings or Balancing(), draws=Draws(1))


def settle(balancer: Balancer) -> None:
    """Until a table that is being made is ready."""
    for number in range(300):
        picked(balancer, request=keyed(number))


def owners(balancer: Balancer, count: int = KEYS, now: int = 0) -> list[str]:
    return [picked(balancer, None, now, keyed(number)) for number in range(count)]


@pytest.mark.parametrize("strategy", HASHING)
@pytest.mark.parametrize("count", [3, 50, 70])
def test_what_a_key_meets_does_not_depend_on_who_came_first(strategy: LoadBalancingStrategy, count: int) -> None:
    one = hashing(strategy, places(count))
    other = hashing(strategy, reversed(places(count)))
    assert owners(one) == owners(other) == owners(one)


@pytest.mark.parametrize(("strategy", "spread"), [(IP_HASH, 0.0), (RING, 0.1), (MAGLEV, 0.01)])
@pytest.mark.parametrize("count", [3, 50])
def test_keys_are_spread_by_weight(strategy: LoadBalancingStrategy, spread: float, count: int) -> None:
    """`spread`: how far the share of an endpoint is from its weight, as one standard deviation (160 points of a ring:
    1/sqrt(160))."""
    candidates = [place(f"e{number}", 1 + number % 2) for number in range(count)]
    counted = Counter(owners(hashing(strategy, candidates), 20_000))
    total = sum(each.weight for each in candidates)
    for each in candidates:
        expected = 20_000 * each.weight / total
        assert abs(counted[each.endpoint.id] - expected) < 4.5 * (expected + (spread * expected) ** 2) ** 0.5


@pytest.mark.parametrize("count", [3, 5])
def test_the_keys_of_an_unusable_one_are_spread_by_weight_with_maglev(count: int) -> None:
    """The next place of the table depends on the one before; who has lost its endpoint must not be sent by that."""
    candidates = [place(f"e{number}", 1 + number % 2) for number in range(count)]
    balancer = hashing(MAGLEV, candidates)
    before = owners(balancer, 20_000)
    candidates[0].usable = False
    after = owners(balancer, 20_000)
    moved = Counter(now for was, now in zip(before, after, strict=True) if was == "e0")
    total = sum(each.weight for each in candidates[1:])
    for each in candidates[1:]:
        expected = moved.total() * each.weight / total
        assert abs(moved[each.endpoint.id] - expected) < 4.5 * (expected + (0.02 * expected) ** 2) ** 0.5


@pytest.mark.parametrize(("strategy", "count"), [(IP_HASH, 50), (RING, 50), (IP_HASH, RENDEZVOUS + 36)])
def test_when_one_leaves_its_keys_and_no_others_move(strategy: LoadBalancingStrategy, count: int) -> None:
    candidates = places(count)
    balancer = hashing(strategy, candidates)
    before = owners(balancer)
    balancer.exchange([candidates[7]], [])
    for _ in range(2):  # while the next table is made, and after
        after = owners(balancer)
        moved = [was for was, now in zip(before, after, strict=True) if was != now]
        assert set(moved) == {"e7"}
        assert len(moved) == before.count("e7")
        assert KEYS / count / 2 < len(moved) < KEYS / count * 2
        settle(balancer)
    balancer.exchange([], [place("e7")])
    settle(balancer)
    assert owners(balancer) == before


def test_when_one_leaves_maglev_moves_few_others() -> None:
    candidates = places(50)
    balancer = hashing(MAGLEV, candidates)
    before = owners(balancer)
    balancer.exchange([candidates[7]], [])
    settle(balancer)
    pairs = list(zip(before, owners(balancer), strict=True))
    assert all(now != "e7" for _, now in pairs)
    assert sum(was != now and was != "e7" for was, now in pairs) < KEYS * 0.05


@pytest.mark.parametrize("strategy", HASHING)
@pytest.mark.parametrize("count", [5, 80])
def test_while_one_is_away_only_its_keys_are_elsewhere(strategy: LoadBalancingStrategy, count: int) -> None:
    candidates = places(count)
    balancer = hashing(strategy, candidates)
    before = owners(balancer)
    candidates[3].usable = False
    after = owners(balancer)
    assert {was for was, now in zip(before, after, strict=True) if was != now} == {"e3"}
    # ... spread over the others and not on one of them
    taken = Counter(now for was, now in zip(before, after, strict=True) if was == "e3")
    assert len(taken) > min(count - 1, 10) / 2
    candidates[3].usable = True
    assert owners(balancer) == before


@pytest.mark.parametrize("strategy", HASHING)
def test_a_heavier_one_only_gains_keys(strategy: LoadBalancingStrategy) -> None:
    if strategy is MAGLEV:
        pytest.skip("maglev moves some others")
    candidates = places(10, weight=2)
    balancer = hashing(strategy, candidates)
    before = owners(balancer)
    candidates[0].become(weight=3)
    settle(balancer)
    after = owners(balancer)
    assert {now for was, now in zip(before, after, strict=True) if was != now} == {"e0"}
    assert after.count("e0") / before.count("e0") == pytest.approx(1.43, abs=0.25)  # 3/21 after 2/20


@pytest.mark.parametrize("strategy", HASHING)
def test_in_slow_start_keys_come_back_one_after_the_other(strategy: LoadBalancingStrategy) -> None:
    candidates = places(5)
    balancer = hashing(strategy, candidates, Balancing(slow_start=10.0, slow_start_min_pct=1.0))
    before = owners(balancer)
    candidates[0].recovered = 1_000
    had: set[int] = set()
    for second in (2, 4, 6, 8, 11):
        found = owners(balancer, now=second * 1_000_000)
        has = {number for number, name in enumerate(found) if name == "e0"}
        assert had <= has
        had = has
        assert all(now in (was, "e0") or was == "e0" for was, now in zip(before, found, strict=True))
    assert len(had) == before.count("e0")


@pytest.mark.parametrize(
    "key",
    [
        RequestKey(kind=KeyKind.HEADER, name="x-user"),
        RequestKey(kind=KeyKind.COOKIE, name="sid"),
        RequestKey(kind=KeyKind.QUERY, name="user"),
    ],
)
@pytest.mark.parametrize("strategy", [RING, MAGLEV])
def test_the_key_is_what_was_asked_for(strategy: LoadBalancingStrategy, key: RequestKey) -> None:
    balancer = hashing(strategy, places(10), Balancing(hash_on=key))

    def asked(user: bytes, client: bytes) -> str:
        fields = {KeyKind.HEADER: (b"x-user", user), KeyKind.COOKIE: (b"cookie", b"sid=" + user)}
        query = b"user=" + user if key.kind is KeyKind.QUERY else b""
        headers = [fields[key.kind]] if key.kind in fields else []
        return picked(balancer, request=SampleRequest(headers=headers, query=query, client=client))

    assert len({asked(b"ann", b"10.0.0.%d" % number) for number in range(20)}) == 1
    assert len({asked(b"user%d" % number, b"10.0.0.1") for number in range(50)}) == 10
    # Without a key anywhere.
    bare = {picked(balancer, request=SampleRequest(client=b"10.0.0.1")) for _ in range(100)}
    assert len(bare) == 10


def test_ip_hash_takes_the_whole_address() -> None:
    """nginx takes three of four octets: a company behind one /24 is one client to it."""
    balancer = hashing(IP_HASH, places(10), Balancing(hash_on=RequestKey(kind=KeyKind.HEADER, name="x")))
    assert len({picked(balancer, request=SampleRequest(client=b"10.0.0.%d" % number)) for number in range(100)}) == 10
    assert len({picked(balancer, request=SampleRequest(client=b"")) for _ in range(100)}) == 10  # unix sockets


# --- bounded load ---------------------------------------------------------------------------------------------------


@given(
    st.sampled_from(HASHING),
    st.integers(2, 20),
    st.floats(1.05, 2.0),
    st.lists(st.integers(0, 5), min_size=20, max_size=200),
)
def test_nobody_ever_has_more_than_its_bounded_part(
    strategy: LoadBalancingStrategy, count: int, bound: float, clients: list[int]
) -> None:
    """Few clients with many requests each: without a bound they would all be where their clients belong."""
    candidates = [place(f"e{number}", 1 + number % 3) for number in range(count)]
    total_weight = sum(each.weight for each in candidates)
    balancer = hashing(strategy, candidates, Balancing(bounded_load=bound))
    for step, client in enumerate(clients, 1):
        found = balancer.pick(keyed(client), None, 0)
        assert isinstance(found, Place)
        found.loaded += 1
        part = step * found.weight / total_weight
        assert found.loaded <= int(-(-bound * part // 1))


def test_without_load_a_bound_changes_nothing() -> None:
    for strategy in HASHING:
        assert owners(hashing(strategy, places(10), Balancing(bounded_load=1.25)), 200) == owners(
            hashing(strategy, places(10)), 200
        )


def test_a_key_goes_home_when_its_endpoint_has_room_again() -> None:
    candidates = places(4)
    balancer = hashing(RING, candidates, Balancing(bounded_load=1.25))
    home = picked(balancer, request=keyed(1))
    at_home = next(each for each in candidates if each.endpoint.id == home)
    at_home.loaded = 10
    assert picked(balancer, request=keyed(1)) != home
    at_home.loaded = 0
    assert picked(balancer, request=keyed(1)) == home
