"""Hashes are spread evenly and stay what they are."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.hashing import finish, hash_bytes, log_of, mix, unit_of


def test_hashes_stay_what_they_are() -> None:
    """Another release beside this one must send the same client to the same endpoint."""
    assert [hash_bytes(text) for text in (b"", b"a", b"127.0.0.1", b"\x80\xff")] == HASHES
    assert mix(1, 2) == MIXED
    assert finish(1) == 0x514E28B7  # MurmurHash3 fmix32


@given(st.binary(max_size=40))
def test_a_hash_has_64_bits(text: bytes) -> None:
    assert 0 <= hash_bytes(text) < 2**64
    assert 0.0 <= unit_of(hash_bytes(text)) < 1.0


@given(st.integers(0, 2**64 - 1), st.integers(0, 63))
def test_every_bit_of_a_pair_changes_about_half_of_the_bits(one: int, bit: int) -> None:
    assert 8 < (mix(one, 7) ^ mix(one ^ (1 << bit), 7)).bit_count() < 56
    assert 8 < (mix(7, one) ^ mix(7, one ^ (1 << bit))).bit_count() < 56


def test_neighbouring_keys_fall_evenly_into_parts() -> None:
    for texts in (
        [b"10.0.%d.%d" % (number >> 8, number & 255) for number in range(64_000)],
        [b"user-%d" % number for number in range(64_000)],
    ):
        hashes = [hash_bytes(text) for text in texts]
        assert len(set(hashes)) == len(texts)
        for shift in (0, 32, 58):
            counted = Counter((each >> shift) & 63 for each in hashes)
            assert sum((count - 1000) ** 2 / 1000 for count in counted.values()) < 63 + 5 * (2 * 63) ** 0.5


@given(st.floats(2.0**-53, 1.0))
def test_the_logarithm_is_one(unit: float) -> None:
    assert log_of(unit) == pytest.approx(math.log(unit), rel=1e-7, abs=1e-9)
    assert log_of(0.0) == pytest.approx(-53 * math.log(2))


HASHES = [9892531002461289483, 12336178885342310835, 3910256791228343487, 12204132089718149119]
MIXED = 3350058070243449960
