"""Requests are told apart by what a configuration names."""

from __future__ import annotations

import pytest

from discovery.policies import KeyKind, RequestKey
from mesh.keys import cookie_value, key_of
from mesh.request import SampleRequest

REQUEST = SampleRequest(
    query=b"user=a%20b&user=c&empty",
    headers=[(b"x-tenant", b"blue"), (b"cookie", b'a=1; Session="x y"; session=z; b')],
    client=b"2001:db8::1",
)


@pytest.mark.parametrize(
    ("kind", "name", "wanted"),
    [
        (KeyKind.CLIENT_IP, "", b"2001:db8::1"),
        (KeyKind.HEADER, "x-tenant", b"blue"),
        (KeyKind.HEADER, "x-user", b""),
        (KeyKind.COOKIE, "session", b"z"),
        (KeyKind.COOKIE, "Session", b"x y"),
        (KeyKind.COOKIE, "b", b""),
        (KeyKind.QUERY, "user", b"a b"),
        (KeyKind.QUERY, "empty", b""),
        (KeyKind.QUERY, "nobody", b""),
        (KeyKind.ROUTE, "", b""),
    ],
)
def test_a_key_is_a_part_of_the_request(kind: KeyKind, name: str, wanted: bytes) -> None:
    assert key_of(REQUEST, RequestKey(kind=kind, name=name)) == wanted


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        (None, b""),
        (b"", b""),
        (b"hm", b""),
        (b"hm=", b""),
        (b"xhm=1; hm2=2", b""),
        (b"x=hm; hm=3=4", b"3=4"),
        (b'hm="', b'"'),
        (b"hm=1; hm=2", b"1"),
        (b" hm = 1 ;", b"1"),
    ],
)
def test_the_first_cookie_of_the_name_counts(field: bytes | None, wanted: bytes) -> None:
    assert cookie_value(field, b"hm") == wanted
