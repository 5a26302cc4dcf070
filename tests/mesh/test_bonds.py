"""Which endpoint a client belongs to, and what becomes of the bond when that cannot be used."""

from __future__ import annotations

from collections import Counter

import pytest
from candidates import round_robin

from discovery.model import Endpoint
from discovery.policies import Affinity, BrokenAffinity, KeyKind
from mesh.affinity import Affinities, CookieBond, affinities_for
from mesh.balance import Balancer, Candidate
from mesh.bonds import Bond, hash_of, mix, unit_of
from mesh.request import SampleRequest

HEADER = Affinity(kind=KeyKind.HEADER, name="X-User")


def candidates(count: int, **given: object) -> list[Candidate]:
    return [Candidate(Endpoint(id=f"e{n}", address=f"10.0.0.{n}:80", **given)) for n in range(count)]  # type: ignore[arg-type]


def affinities(some: list[Candidate], affinity: Affinity = HEADER, service: str = "app") -> Affinities:
    return affinities_for(service, affinity, "secret", some)


def user(name: object) -> SampleRequest:
    return SampleRequest(headers=[(b"x-user", str(name).encode())])


def bond_of(made: Affinities, name: object) -> Bond:
    bond = made.bond(user(name))
    assert bond is not None
    return bond


def place(made: Affinities, balancer: Balancer, name: object) -> Candidate:
    found = bond_of(made, name).target(balancer, None, 0)
    assert found is not None
    return found


def test_hashes_are_the_same_everywhere() -> None:
    # Other instances and later versions have to agree: these numbers must never change.
    assert mix(1) == 0x5692_161D_100B_05E5
    assert hash_of(b"", 0) == mix(0xCBF2_9CE4_8422_2325)
    assert hash_of(b"a", 0) == mix(0xAF63_DC4C_8601_EC8C)  # of the FNV test suite
    assert hash_of(b"foobar", 0) == mix(0x8594_4171_F739_67E8)
    assert unit_of(2**64 - 1) < 1.0 and unit_of(0) == 0.0


def test_a_request_without_the_header_belongs_nowhere() -> None:
    made = affinities(candidates(3))
    assert made.bond(SampleRequest()) is None
    assert made.bond(SampleRequest(headers=[(b"x-user", b"")])) is None


def test_the_address_of_a_client_decides_where_that_is_asked_for() -> None:
    some = candidates(5)
    made, balancer = affinities(some, Affinity(kind=KeyKind.CLIENT_IP)), round_robin(some)
    found = {}
    for n in range(100):
        request = SampleRequest(client=b"10.1.1.%d" % n)
        bonds = [made.bond(request) for _ in range(2)]
        targets = [bond.target(balancer, None, 0) for bond in bonds if bond is not None]
        assert targets[0] is targets[1] is not None
        found[n] = targets[0]
    assert len(set(found.values())) == 5
    assert made.bond(SampleRequest(client=b"")) is None  # a unix socket


def test_clients_are_spread_by_weight() -> None:
    some = [Candidate(Endpoint(id=f"e{n}", address=f"10.0.0.{n}:80", weight=n)) for n in (0, 1, 2, 5)]
    made, balancer = affinities(some), round_robin(some)
    counts = Counter(place(made, balancer, n).endpoint.id for n in range(8000))
    assert counts["e0"] == 0
    for weight in (1, 2, 5):
        assert abs(counts[f"e{weight}"] - 1000 * weight) < 4 * (8000 * weight / 8 * (8 - weight) / 8) ** 0.5


def test_the_order_of_the_endpoints_does_not_matter_and_services_differ() -> None:
    some = candidates(6)
    made = affinities(some)
    turned = round_robin(some[3:] + some[:3])
    assert all(place(made, round_robin(some), n) is place(made, turned, n) for n in range(50))
    other = affinities(some, service="other")
    assert any(place(made, turned, n) is not place(other, turned, n) for n in range(50))


def test_an_endpoint_that_leaves_moves_its_own_clients_only() -> None:
    some = candidates(8)
    made, balancer = affinities(some), round_robin(some)
    before = {n: place(made, balancer, n) for n in range(400)}
    gone = some[3]
    balancer.exchange([gone], [])
    made.exchange([gone], [])
    moved = {n for n in before if place(made, balancer, n) is not before[n]}
    assert moved == {n for n in before if before[n] is gone}
    # And one that comes takes its clients back.
    balancer.exchange([], [gone])
    made.exchange([], [gone])
    assert {n: place(made, balancer, n) for n in before} == before


def make_unable(candidate: Candidate, how: str) -> None:
    if how == "weight 0":
        candidate.weight = 0
    else:
        candidate.usable = False


def test_clients_of_an_unusable_endpoint_go_to_one_other_each_and_come_back() -> None:
    some = candidates(5)
    made, balancer = affinities(some), round_robin(some)
    home = place(made, balancer, "ann")
    home.usable = False
    bond = bond_of(made, "ann")
    second = bond.target(balancer, None, 0)
    assert second is not None and second is not home and bond.is_broken
    assert place(made, balancer, "ann") is second
    home.usable = True
    bond = bond_of(made, "ann")
    assert bond.target(balancer, None, 0) is home and not bond.is_broken


def test_a_strict_bond_goes_nowhere_else() -> None:
    some = candidates(5)
    strict = Affinity(kind=KeyKind.HEADER, name="x-user", broken=BrokenAffinity.FAIL)
    made, balancer = affinities(some, strict), round_robin(some)
    home = place(made, balancer, "ann")
    home.usable = False
    bond = bond_of(made, "ann")
    assert bond.target(balancer, None, 0) is None
    assert bond.is_broken and bond.forbids(None)


def test_backups_are_used_when_there_is_no_primary() -> None:
    some = [*candidates(3), Candidate(Endpoint(id="spare", address="10.9.9.9:80", backup=True))]
    made, balancer = affinities(some), round_robin(some)
    assert {place(made, balancer, n).endpoint.id for n in range(100)} == {"e0", "e1", "e2"}
    for each in some[:3]:
        each.usable = False
    assert {place(made, balancer, n).endpoint.id for n in range(100)} == {"spare"}


def test_a_retry_goes_elsewhere_without_breaking_the_bond() -> None:
    some = candidates(5)
    made, balancer = affinities(some), round_robin(some)
    home = place(made, balancer, "ann")
    bond = bond_of(made, "ann")
    other = bond.target(balancer, [home], 0)
    assert other is not None and other is not home and not bond.is_broken
    assert bond.target(balancer, list(some), 0) is None


# --- cookies ------------------------------------------------------------------------------------------------------

COOKIE = Affinity(name="hm")


def with_cookie(value: bytes) -> SampleRequest:
    return SampleRequest(headers=[(b"cookie", b"hm=" + value)])


def value_of(made: Affinities, candidate: Candidate) -> bytes:
    line = made.line(candidate, Bond(made, False))
    assert line is not None
    return line.split(b"hm=", 1)[1].split(b";", 1)[0]


def test_a_cookie_leads_to_its_endpoint() -> None:
    some = candidates(3)
    made, balancer = affinities(some, COOKIE), round_robin(some)
    for candidate in some:
        bond = made.bond(with_cookie(value_of(made, candidate)))
        assert bond is not None and bond.target(balancer, None, 0) is candidate
        assert bond.line_for(candidate, 0) is None


def test_a_client_without_a_cookie_gets_one_for_whoever_answers() -> None:
    some = candidates(3)
    made, balancer = affinities(some, COOKIE), round_robin(some)
    bond = made.bond(SampleRequest())
    assert bond is not None and bond.target(balancer, None, 0) is None and not bond.forbids(None)
    assert bond.line_for(some[1], 0) == made.line(some[1], bond)


@pytest.mark.parametrize("how", ["unusable", "weight 0"])
def test_a_broken_bond_is_replaced(how: str) -> None:
    some = candidates(3)
    made, balancer = affinities(some, COOKIE), round_robin(some)
    bond = made.bond(with_cookie(value_of(made, some[0])))
    assert bond is not None
    make_unable(some[0], how)
    assert bond.target(balancer, None, 0) is None
    assert bond.is_broken and not bond.forbids(None)
    assert bond.line_for(some[2], 0) == made.line(some[2], bond)


def test_a_request_that_had_to_be_sent_elsewhere_keeps_its_bond_unless_that_broke_meanwhile() -> None:
    some = candidates(3)
    made, balancer = affinities(some, COOKIE), round_robin(some)
    bond = made.bond(with_cookie(value_of(made, some[0])))
    assert bond is not None
    assert bond.target(balancer, [some[0]], 0) is None and not bond.is_broken
    assert bond.line_for(some[1], 0) is None
    some[0].usable = False
    assert bond.line_for(some[1], 0) == made.line(some[1], bond)


def test_a_cookie_of_an_endpoint_that_is_gone_is_told_from_a_forged_one() -> None:
    some = candidates(3)
    made = affinities(some, COOKIE)
    value = value_of(made, some[0])
    made.exchange([some[0]], [])
    lost = made.bond(with_cookie(value))
    assert lost is not None and lost.is_lost and not lost.is_new
    assert lost.target(round_robin(some[1:]), None, 0) is None and lost.is_broken
    for forged in (value[:-1] + b"A", b"x" * 24, b"", b"\xff" * 24, value + b"A", b"10.0.0.1:80"):
        bond = made.bond(with_cookie(forged))
        assert bond is not None and bond.is_new and not bond.is_lost, forged


def test_an_endpoint_that_comes_back_is_known_by_the_same_cookie() -> None:
    some = candidates(2)
    made = affinities(some, COOKIE)
    value = value_of(made, some[0])
    again = Candidate(some[0].endpoint)
    made.exchange([], [again])
    made.exchange([some[0]], [])
    bond = made.bond(with_cookie(value))
    assert bond is not None and bond.candidate is again


def test_a_good_cookie_is_found_among_bad_ones() -> None:
    some = candidates(3)
    made = affinities(some, COOKIE)
    value = value_of(made, some[2])
    bond = made.bond(SampleRequest(headers=[(b"cookie", b"hm=garbage; hm=" + value)]))
    assert bond is not None and bond.candidate is some[2]


def test_a_cookie_that_the_route_excludes_stays_and_keeps_its_client_in_one_place() -> None:
    some = candidates(6)
    made = affinities(some, Affinity(name="hm", broken=BrokenAffinity.FAIL))
    allowed = round_robin(some[3:])
    targets = set()
    for _ in range(5):
        bond = made.bond(with_cookie(value_of(made, some[0])))
        assert bond is not None
        bond.exclude()
        target = bond.target(allowed, None, 0)
        assert target in some[3:] and not bond.forbids(None)
        assert bond.line_for(target, 0) is None
        targets.add(target)
    assert len(targets) == 1
    # Even if the endpoint that it would have there is down: nothing of the bond is broken.
    next(iter(targets)).usable = False
    bond = made.bond(with_cookie(value_of(made, some[0])))
    assert bond is not None
    bond.exclude()
    assert bond.target(allowed, None, 0) is not None and not bond.is_broken


def test_services_may_share_a_cookie() -> None:
    some = candidates(3)
    one, two = affinities(some, COOKIE, "one"), affinities(some, COOKIE, "two")
    first = one.bond(SampleRequest())
    assert first is not None
    mine = value_of(one, some[0])
    bond = two.bond(with_cookie(mine))
    assert bond is not None and bond.is_new and not bond.is_lost
    line = bond.line_for(some[1], 0)
    assert line is not None
    cookie = line.split(b"hm=", 1)[1].split(b";", 1)[0]
    assert cookie == value_of(two, some[1]) + b"." + mine
    for made, wanted in ((one, some[0]), (two, some[1])):
        bond = made.bond(with_cookie(cookie))
        assert bond is not None and bond.candidate is wanted
        # One that is replaced leaves the other where it is.
        wanted.usable = False
        other = made.bond(with_cookie(cookie))
        assert isinstance(other, CookieBond)
        line = other.line_for(some[2], 0)
        assert line is not None and len(other.others) == 1 and other.others[0] in line
        wanted.usable = True


def test_a_shared_cookie_does_not_grow_without_end() -> None:
    some = candidates(1)
    cookie = b""
    for number in range(20):
        made = affinities(some, COOKIE, f"service-{number}")
        bond = made.bond(with_cookie(cookie))
        assert bond is not None and bond.is_new
        line = bond.line_for(some[0], 0)
        assert line is not None
        cookie = line.split(b"hm=", 1)[1].split(b";", 1)[0]
    assert cookie.count(b".") == 7


def test_nothing_but_what_looks_like_ours_is_handed_back() -> None:
    some = candidates(1)
    made = affinities(some, COOKIE)
    for odd in (b"a" * 23, b"a" * 25, b"<script>alert(1)</scrip>", b"\xff" * 24, b"a" * 12 + b"\r\n" + b"a" * 10):
        bond = made.bond(with_cookie(odd + b"." + b"A" * 24))
        assert isinstance(bond, CookieBond) and bond.others == (b"A" * 24,)
