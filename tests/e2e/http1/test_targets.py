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


@pytest.mark.parametrize("target", ["db.test:5432", "db.test", "/", "/path?q=1", "*", "http://db.test:5432/"])
def test_connect_is_not_allowed(hive, origin: RawOrigin, target: str) -> None:
    """Whatever the target looks like: an origin that answered 200 would believe that a tunnel had begun."""
    client = hive(origin).client()
    client.ask("CONNECT", target, host="db.test:5432")
    response = client.response()
    assert (response.status, response.header("connection")) == (405, "close")
    assert "CONNECT" not in response.header("allow")
    assert client.is_ended_by_peer()
    assert not origin.has_connection_waiting()


@pytest.mark.parametrize("target", ["/a#fragment", "/caf\xe9", "no-slash", "/a b", "/tab\there", "/\x7f"])
def test_targets_that_are_no_uri_are_refused(hive, origin: RawOrigin, target: str) -> None:
    client = hive(origin).client()
    client.ask("GET", target)
    assert client.response().status == 400
    assert client.is_ended_by_peer()
    assert not origin.has_connection_waiting()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("authority", ['e"v{il}', "a.test:99999:x", "a.test:port", "user@a.test", ""])
def test_absolute_form_with_a_host_that_is_none_is_refused(
    hive, origin: RawOrigin, authority: str, version: str
) -> None:
    client = hive(origin).client()
    host = f"Host: {authority}\r\n" if version == "1.1" else ""  # HTTP/1.0 needs none, so only the target can be wrong
    client.send(f"GET http://{authority}/ HTTP/{version}\r\n{host}\r\n".encode())
    assert client.response().status == 400
    assert client.is_ended_by_peer()
    assert not origin.has_connection_waiting()
