"""The values of a cookie among whatever else a client sends."""

from __future__ import annotations

import time
from http.cookies import SimpleCookie

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.cookies import cookie_values


@pytest.mark.parametrize(
    ("field", "values"),
    [
        (b"hm=a", [b"a"]),
        (b"x=1; hm=a; y=2", [b"a"]),
        (b"hm=a;hm=b ;\thm=c", [b"a", b"b", b"c"]),
        (b"  hm=a  ", [b"a"]),
        (b'hm="a b"; x=1', [b"a b"]),
        (b"hm=", [b""]),
        (b'hm="', [b'"']),
        (b"hm=a=b==", [b"a=b=="]),
        (b"xhm=a; hm2=b; HM=c", []),
        (b"x=hm=a; y= hm=b", []),
        (b"hm", []),
        (b"", []),
        (b";;; ;hm=a;", [b"a"]),
        (b"hm=hm=a; hm=b", [b"hm=a", b"b"]),
    ],
)
def test_values_of_a_name(field: bytes, values: list[bytes]) -> None:
    assert cookie_values(field, b"hm") == values


def test_no_more_values_are_looked_at_than_asked_for() -> None:
    assert cookie_values(b"; ".join(b"hm=%d" % n for n in range(9)), b"hm", 3) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("piece", [b"hm=", b" hm= ", b";", b"hm=;", b'hm="', b" ", b"x;hm"])
def test_a_hostile_field_takes_no_longer_than_its_length(piece: bytes) -> None:
    began = time.perf_counter()
    for _ in range(10):
        cookie_values(piece * (60 * 1024 // len(piece)), b"hm")
    # Tens of milliseconds are linear; anything quadratic takes seconds.
    assert time.perf_counter() - began < 1.0


@given(st.binary(max_size=200))
def test_garbage_is_no_error(field: bytes) -> None:
    for value in cookie_values(field, b"hm"):
        assert value in field


NAME = st.sampled_from(["hm", "hm2", "a", "session"])
VALUE = st.text("abcXYZ0123456789-_.", max_size=12)


@given(st.dictionaries(NAME, VALUE, max_size=4))
def test_it_agrees_with_the_standard_library(cookies: dict[str, str]) -> None:
    field = "; ".join(f"{name}={value}" for name, value in cookies.items())
    parsed = SimpleCookie(field)
    expected = [parsed["hm"].value.encode()] if "hm" in parsed else []
    assert cookie_values(field.encode(), b"hm") == expected
