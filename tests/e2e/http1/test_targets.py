"""The forms of a request target: origin, absolute, asterisk, authority (RFC 9112 section 3.2)."""

from __future__ import annotations

import pytest
from raw_origin import RawOrigin


def test_absolute_form_is_forwarded_in_origin_form_with_its_host(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"GET http://shop.test/a?b=c HTTP/1.1\r\nHost: shop.test\r\n\r\n")
    request = origin.accept().answer()
    assert (request.target, request.header("host")) == ("/a?b=c", "shop.test")
    assert client.response().status == 200


def test_absolute_form_without_path_means_the_root(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"GET http://shop.test HTTP/1.1\r\nHost: shop.test\r\n\r\n")
    assert origin.accept().answer().target == "/"
    assert client.response().status == 200


def test_absolute_form_that_differs_from_host_is_refused(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"GET http://one.test/ HTTP/1.1\r\nHost: two.test\r\n\r\n")
    assert client.response().status == 400
    assert not origin.has_connection_waiting()


def test_options_for_the_server_as_a_whole_is_forwarded(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask("OPTIONS", "*")
    request = origin.accept().answer()
    assert (request.method, request.target) == ("OPTIONS", "*")
    assert client.response().status == 200


def test_asterisk_is_for_options_only(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask("GET", "*")
    assert client.response().status == 400


def test_connect_is_not_allowed(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.send(b"CONNECT db.test:5432 HTTP/1.1\r\nHost: db.test:5432\r\n\r\n")
    response = client.response()
    assert response.status == 405
    assert not origin.has_connection_waiting()


@pytest.mark.parametrize("target", ["/a#fragment", "/caf\xe9", "no-slash", "/a b", "/tab\there", "/\x7f"])
def test_targets_that_are_no_uri_are_refused(hive, origin: RawOrigin, target: str) -> None:
    client = hive(origin).client()
    client.ask("GET", target)
    assert client.response().status == 400
    assert client.is_ended_by_peer()
    assert not origin.has_connection_waiting()
