"""Sets of statuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.statuses import format_statuses, parse_statuses


@pytest.mark.parametrize(
    ("text", "statuses", "shown"),
    [
        ("200", (200, 200), 200),
        ("2xx", (200, 299), "2xx"),
        ("200-399", (200, 399), "200-399"),
        ("200-299", (200, 299), "2xx"),
        ("404-404", (404, 404), 404),
    ],
)
def test_statuses(text: str, statuses: tuple[int, int], shown: str | int) -> None:
    assert parse_statuses(text) == statuses
    assert format_statuses(statuses) == shown


@pytest.mark.parametrize(
    "text", ["", "2", "600", "099", "2XX", "6xx", "200-", "-200", "200-299-399", "200 - 299", "٢xx"]
)
def test_what_is_no_status(text: str) -> None:
    with pytest.raises(ValueError, match="is no status, expected one such as 200, 2xx or 200-399"):
        parse_statuses(text)


def test_a_range_goes_upwards() -> None:
    with pytest.raises(ValueError, match="'399-200' ends before it begins, expected '200-399'"):
        parse_statuses("399-200")


@given(st.integers(100, 599), st.integers(100, 599))
def test_what_is_written_is_read_again(one: int, other: int) -> None:
    statuses = min(one, other), max(one, other)
    assert parse_statuses(str(format_statuses(statuses))) == statuses
