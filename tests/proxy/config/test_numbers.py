"""Numbers with a fraction, and shares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.numbers import Number, Percent


@pytest.mark.parametrize(("text", "value"), [("20%", 20.0), ("20", 20.0), ("0.5%", 0.5), ("0", 0.0), ("100%", 100.0)])
def test_a_share_is_written_with_its_sign_or_without(text: str, value: float) -> None:
    assert Percent().parse(text) == value


@pytest.mark.parametrize("text", ["101%", "-1%", "1e1", "%", "20 %", "020%", "0.00001%", "a", ""])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Percent().parse(text)


@given(st.integers(0, 1_000_000))
def test_a_share_is_read_as_it_is_shown(ten_thousandths: int) -> None:
    value = float(f"{ten_thousandths / 10_000:.4f}")
    assert Percent().parse(str(Percent().render(value))) == value


def test_a_number_may_begin_above_its_zero() -> None:
    number = Number(1, 100, zero=True)
    assert [number.parse(text) for text in ("0", "1", "1.25", "100")] == [0, 1, 1.25, 100]
    for text in ("0.5", "100.1", "-1", "1.", ".5", "1,5"):
        with pytest.raises(ValueError, match="expected 0 or a number from 1 to 100"):
            number.parse(text)
