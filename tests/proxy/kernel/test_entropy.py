"""Random bytes: shapes, ranges, and no value twice across refills."""

from __future__ import annotations

import uuid

import pytest

from proxy.kernel.entropy import new_request_id, random_hex, random_unit


def test_request_ids_are_version_4_uuids_and_differ() -> None:
    # More than one page of random bytes holds.
    ids = [new_request_id().decode() for _ in range(2000)]
    assert len(set(ids)) == len(ids)
    for text in ids:
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)


@pytest.mark.parametrize("count", [1, 8, 16, 64])
def test_hexadecimal_digits(count: int) -> None:
    drawn = {random_hex(count) for _ in range(300)}
    assert all(len(value) == 2 * count and bytes.fromhex(value.decode()) is not None for value in drawn)
    assert all(value == value.lower() for value in drawn)
    assert len(drawn) > 100


@pytest.mark.parametrize("count", [0, -1, 65])
def test_a_count_that_is_not_offered_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 64"):
        random_hex(count)


def test_units_are_spread_over_the_half_open_interval() -> None:
    drawn = [random_unit() for _ in range(4000)]
    assert all(0.0 <= value < 1.0 for value in drawn)
    # Each tenth expects 400; a fair source is outside of these bounds once in 10**15 runs.
    for tenth in range(10):
        assert 240 < sum(tenth / 10 <= value < (tenth + 1) / 10 for value in drawn) < 560
