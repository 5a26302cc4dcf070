"""What a request draws follows from its id, and is as good as random."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise, product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.draws import draws_of, salt_of

REQUESTS = 4000
CELLS = 20

rng = random.Random(6)
IDS = {
    "random": [str(UUID(int=rng.getrandbits(128), version=4)).encode() for _ in range(REQUESTS)],
    "counted": [b"req-%d" % number for number in range(REQUESTS)],
    "long": [b"%s-%d-x" % (b"a" * 40, number) for number in range(REQUESTS)],
    "bytes": [number.to_bytes(3) for number in range(REQUESTS)],
}

every_kind = pytest.mark.parametrize("kind", IDS)


def chi_square(counts: Sequence[int]) -> float:
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 for count in counts) / expected


def most(cells: int) -> float:
    """What chi-square does not exceed in 20 million evenly spread samples."""
    freedom = cells - 1
    return float(freedom * (1.0 - 2.0 / (9.0 * freedom) + 5.3 * (2.0 / (9.0 * freedom)) ** 0.5) ** 3)


def cell(request_id: bytes, salt: int, cells: int = CELLS) -> int:
    return int(draws_of(request_id, salt).unit() * cells)


@every_kind
def test_draws_are_spread_evenly(kind: str) -> None:
    counts = [0] * CELLS
    second = [0] * CELLS
    for request_id in IDS[kind]:
        draws = draws_of(request_id, salt_of("split", "route api", "edge-1"))
        counts[int(draws.unit() * CELLS)] += 1
        second[int(draws.unit() * CELLS)] += 1
    assert chi_square(counts) < most(CELLS)
    assert chi_square(second) < most(CELLS)


@every_kind
@pytest.mark.parametrize(
    "other",
    [("split", "service api", "edge-1"), ("split", "route api", "edge-2"), ("abort", "route api", "edge-1")],
    ids=["owner", "instance", "purpose"],
)
def test_two_of_one_request_are_independent(kind: str, other: tuple[str, str, str]) -> None:
    one, two = salt_of("split", "route api", "edge-1"), salt_of(*other)
    counts = dict.fromkeys(product(range(5), range(5)), 0)
    for request_id in IDS[kind]:
        counts[cell(request_id, one, 5), cell(request_id, two, 5)] += 1
    assert chi_square(list(counts.values())) < most(25)


@every_kind
def test_requests_after_one_another_are_independent(kind: str) -> None:
    salt = salt_of("split", "route api", "edge-1")
    cells = [cell(request_id, salt, 5) for request_id in IDS[kind]]
    counts = dict.fromkeys(product(range(5), range(5)), 0)
    for pair in pairwise(cells):
        counts[pair] += 1
    assert chi_square(list(counts.values())) < most(25)


def test_every_process_and_release_draws_the_same() -> None:
    salt = salt_of("split", "route api", "hivemesh")
    assert salt == 0x44DA_7352_1883_C24B
    assert draws_of(b"req-1", salt).bits() == 0xC938_3CB2_1560_46AD
    assert draws_of(b"", salt).bits() == draws_of(b"", salt).bits()


WORDS = st.lists(st.sampled_from(["", "a", "b", "ab", "split", "route api", "é"]), max_size=4)


@given(WORDS, WORDS)
def test_other_words_are_another_salt(one: list[str], other: list[str]) -> None:
    assert (salt_of(*one) == salt_of(*other)) is (one == other)
