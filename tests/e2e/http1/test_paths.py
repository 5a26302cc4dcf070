"""Paths are normalised before they are matched, and the origin gets what was matched."""

from __future__ import annotations

import pytest
from raw_origin import RawOrigin


@pytest.mark.parametrize(
    "sent, forwarded",
    [
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/../../etc", "/etc"),
        ("/a//b", "/a/b"),
        ("/a/b/..", "/a/"),
        ("/a/%2e%2e/b", "/b"),
        ("/%7Euser", "/~user"),
        ("/%e4", "/%E4"),
        ("/a%20b", "/a%20b"),
        ("/a/", "/a/"),
        ("/x?y=/../z&q=%2F", "/x?y=/../z&q=%2F"),
        ("/x?", "/x?"),
    ],
)
def test_path_is_normalised_and_the_query_is_not(hive, origin: RawOrigin, sent: str, forwarded: str) -> None:
    client = hive(origin).client()
    client.ask(target=sent)
    assert origin.accept().answer().target == forwarded
    assert client.response().status == 200


def test_route_sees_the_normalised_path(hive, origin: RawOrigin) -> None:
    routes = [
        {"name": "admin", "match": {"path_prefix": "/admin"}, "filters": [{"direct_response": {"status": 403}}]},
        {"name": "rest", "service": "app"},
    ]
    client = hive(origin, routes=routes).client()
    for target in ("/admin", "/x/../admin", "//admin", "/%61dmin", "/./admin/x"):
        assert client.get(target).status == 403, target


@pytest.mark.parametrize("target", ["/a%2Fb", "/a%2fb", "/a%5Cb", "/a%00b", "/bad%zz", "/bad%4", "/a\\b"])
def test_ambiguous_or_broken_escapes_are_refused(hive, origin: RawOrigin, target: str) -> None:
    client = hive(origin).client()
    client.ask(target=target)
    assert client.response().status == 400
    assert not origin.has_connection_waiting()


def test_escaped_slashes_are_kept_when_the_policy_says_so(hive, origin: RawOrigin) -> None:
    client = hive(origin, path_escapes="keep").client()
    client.ask(target="/repo%2Fname/x")
    assert origin.accept().answer().target == "/repo%2Fname/x"
    assert client.response().status == 200


def test_double_slashes_are_kept_when_merging_is_off(hive, origin: RawOrigin) -> None:
    client = hive(origin, merge_slashes=False).client()
    client.ask(target="/a//b")
    assert origin.accept().answer().target == "/a//b"
    assert client.response().status == 200
