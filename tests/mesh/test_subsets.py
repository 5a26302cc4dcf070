"""Endpoints by their metadata: who is of a subset, what is kept, and what becomes of it when endpoints change."""

from __future__ import annotations

import msgspec
import pytest
from candidates import round_robin
from hypothesis import given
from hypothesis import strategies as st

from discovery.model import Endpoint
from discovery.policies import Subset, SubsetFallback
from mesh.balance import Balancer, Candidate
from mesh.request import SampleRequest
from mesh.subsets import MOST_SELECTORS, SubsetRule, Subsets


def candidate(id: str, version: str = "", **metadata: str) -> Candidate:
    return Candidate(Endpoint(id=id, address=f"{id}:80", version=version, metadata=metadata))


class Asked:
    """A service with these endpoints, and its subsets."""

    def __init__(self, *candidates: Candidate) -> None:
        self.whole = round_robin(list(candidates))
        self.subsets = Subsets()
        self.made = 0

    def make(self, candidates: object) -> Balancer:
        self.made += 1
        return round_robin(list(candidates))  # type: ignore[call-overload]

    def balancer(self, subset: Subset, version: str = "", **headers: str) -> Balancer | None:
        every: Balancer | None = self.whole
        if version:
            some = [each for each in self.whole.candidates if each.endpoint.version == version]
            every = round_robin(some) if some else None
        fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        request = SampleRequest(headers=fields)
        return self.subsets.balancer(SubsetRule(subset), request, version, self.whole, every, self.make)

    def ids(self, subset: Subset, version: str = "", **headers: str) -> list[str]:
        balancer = self.balancer(subset, version, **headers)
        return [] if balancer is None else [each.endpoint.id for each in balancer.candidates]

    def exchange(self, gone: list[Candidate], new: list[Candidate]) -> None:
        self.whole.exchange([each for each in gone if each not in new], [each for each in new if each not in gone])
        self.subsets.exchange(gone, new)


A = candidate("a", "v1", zone="x", tier="gold")
B = candidate("b", "v1", zone="y", tier="gold")
C = candidate("c", "v2", zone="x")
D = candidate("d", "v2")


def test_all_of_the_metadata_has_to_match() -> None:
    asked = Asked(A, B, C, D)
    assert asked.ids(Subset(metadata={"zone": "x"})) == ["a", "c"]
    assert asked.ids(Subset(metadata={"zone": "x", "tier": "gold"})) == ["a"]
    assert asked.ids(Subset(metadata={"zone": "z"})) == []
    assert asked.ids(Subset(metadata={"colour": "red"})) == []
    assert asked.ids(Subset()) == ["a", "b", "c", "d"]


def test_a_version_narrows_it_further() -> None:
    asked = Asked(A, B, C, D)
    assert asked.ids(Subset(metadata={"zone": "x"}), "v2") == ["c"]
    assert asked.ids(Subset(metadata={"tier": "gold"}), "v2") == []
    assert asked.ids(Subset(), "v2") == ["c", "d"]


def test_values_come_from_headers_and_one_that_is_absent_asks_nothing() -> None:
    asked = Asked(A, B, C, D)
    by_zone = Subset(headers={"zone": "X-Zone"})
    assert asked.ids(by_zone, x_zone="y") == ["b"]
    assert asked.ids(by_zone) == ["a", "b", "c", "d"]
    both = Subset(metadata={"tier": "gold"}, headers={"zone": "x-zone"})
    assert asked.ids(both, x_zone="x") == ["a"]
    assert asked.ids(both) == ["a", "b"]
    # A header cannot change what the route says of the same key.
    contrary = Subset(metadata={"zone": "x"}, headers={"zone": "x-zone"})
    assert asked.ids(contrary, x_zone="y") == []
    assert asked.ids(contrary, x_zone="x") == ["a", "c"]


@pytest.mark.parametrize(
    ("fallback", "wanted"),
    [(SubsetFallback.NONE, []), (SubsetFallback.ANY, ["a", "b", "c", "d"]), (SubsetFallback.DEFAULT, ["a", "b"])],
)
def test_the_fallback_is_for_subsets_that_no_endpoint_has(fallback: SubsetFallback, wanted: list[str]) -> None:
    subset = Subset(headers={"zone": "x-zone"}, fallback=fallback, default={"tier": "gold"})
    asked = Asked(A, B, C, D)
    assert asked.ids(subset, x_zone="nowhere") == wanted
    assert asked.ids(subset, x_zone="y") == ["b"]


def test_an_ill_subset_does_not_leak_into_others() -> None:
    ill = candidate("ill", zone="x")
    ill.usable = False
    asked = Asked(ill, B)
    assert asked.ids(Subset(metadata={"zone": "x"}, fallback=SubsetFallback.ANY)) == ["ill"]


def test_a_default_that_no_endpoint_has_is_none() -> None:
    subset = Subset(metadata={"zone": "?"}, fallback=SubsetFallback.DEFAULT, default={"tier": "tin"})
    assert Asked(A, B).balancer(subset) is None


def test_any_is_the_balancer_that_all_others_use() -> None:
    asked = Asked(A, B)
    assert asked.balancer(Subset(metadata={"zone": "?"}, fallback=SubsetFallback.ANY)) is asked.whole


def test_a_balancer_is_kept_as_long_as_its_endpoints_are_the_same() -> None:
    asked = Asked(A, B, C)
    subset = Subset(metadata={"zone": "x"})
    first = asked.balancer(subset)
    assert asked.balancer(subset) is first and asked.made == 1
    asked.exchange([B], [])
    assert asked.balancer(subset) is first
    asked.exchange([C], [D])
    assert asked.ids(subset) == ["a"]
    assert asked.balancer(subset) is not first


def test_changed_metadata_move_an_endpoint() -> None:
    moving = candidate("m", "v1", zone="x")
    asked = Asked(A, moving)
    subset = Subset(headers={"zone": "z"})
    assert asked.ids(subset, z="x") == ["a", "m"]
    assert asked.ids(subset, z="new") == []
    moving.endpoint = msgspec.structs.replace(moving.endpoint, metadata={"zone": "new"})
    asked.exchange([moving], [moving])
    assert asked.ids(subset, z="x") == ["a"]
    assert asked.ids(subset, z="new") == ["m"]
    moving.endpoint = msgspec.structs.replace(moving.endpoint, version="v2")
    asked.exchange([moving], [moving])
    assert asked.ids(subset, "v1", z="new") == []
    assert asked.ids(subset, "v2", z="new") == ["m"]


def test_after_clearing_nothing_is_kept_of_keys_that_are_asked_for_no_more() -> None:
    """Another way of balancing makes all balancers anew; endpoints that change then are known under the new key."""
    one = candidate("a", zone="x", tier="1")
    asked = Asked(one)
    assert asked.balancer(Subset(metadata={"zone": "x"})) is not None
    asked.subsets.clear()
    assert asked.subsets._postings == {}

    other = candidate("b", zone="y", tier="1")
    asked.whole.exchange((), [other])
    asked.subsets.exchange((), [other])
    found = asked.balancer(Subset(metadata={"tier": "1"}))
    assert found is not None
    assert found.candidates == [one, other]


def test_values_that_nobody_has_leave_nothing_behind() -> None:
    asked = Asked(A, B)
    subset = Subset(headers={"zone": "x-zone"}, fallback=SubsetFallback.ANY)
    for number in range(1000):
        asked.balancer(subset, x_zone=f"made-up-{number}")
    assert len(asked.subsets) == 0 and asked.made == 0
    bad = SampleRequest(headers=[(b"x-zone", b"\xff\xfe")])
    rule = SubsetRule(subset)
    assert asked.subsets.balancer(rule, bad, "", asked.whole, asked.whole, asked.make) is asked.whole


def test_selectors_that_are_kept_are_bounded_and_all_of_them_work() -> None:
    asked = Asked(*(candidate(f"e{n}", tenant=str(n)) for n in range(MOST_SELECTORS + 50)))
    subset = Subset(headers={"tenant": "x-tenant"})
    for _ in range(2):
        for number in range(MOST_SELECTORS + 50):
            assert asked.ids(subset, x_tenant=str(number)) == [f"e{number}"]
            assert len(asked.subsets) <= MOST_SELECTORS


KEYS, VALUES = st.sampled_from("pq"), st.sampled_from("123")
METADATA = st.dictionaries(KEYS, VALUES)


@given(st.lists(st.tuples(st.integers(0, 5), METADATA, st.sampled_from(["", "v1"])), max_size=20), METADATA)
def test_after_any_changes_a_subset_is_what_it_should_be(
    changes: list[tuple[int, dict[str, str], str]], wanted: dict[str, str]
) -> None:
    asked = Asked()
    there: dict[int, Candidate] = {}
    subset = Subset(metadata=wanted)
    for number, metadata, version in changes:
        known = there.get(number)
        if known is None:
            there[number] = made = candidate(f"e{number}", version, **metadata)
            asked.exchange([], [made])
        elif len(metadata) == 2 and version:
            asked.exchange([there.pop(number)], [])
        else:
            known.endpoint = msgspec.structs.replace(known.endpoint, metadata=metadata, version=version)
            asked.exchange([known], [known])
        for of in ("", "v1"):
            expected = {
                each.endpoint.id
                for each in there.values()
                if of in ("", each.endpoint.version) and wanted.items() <= each.endpoint.metadata.items()
            }
            assert set(asked.ids(subset, of)) == expected
