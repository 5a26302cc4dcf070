"""The origin answers while the request body is still coming."""

from __future__ import annotations

from raw_origin import RawOrigin

EARLY = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nstop"


def test_early_response_reaches_the_client_before_its_body_ends(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask("POST", "/", {"Content-Length": "1000000"})
    client.send(b"x" * 1000)
    upstream = origin.accept()
    upstream.head()
    upstream.send(EARLY)
    response = client.response(to="POST")
    assert (response.status, response.body) == (403, b"stop")


def test_connection_that_owes_a_body_is_not_used_for_the_next_request(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.ask("POST", "/", {"Content-Length": "1000000"})
    client.send(b"x" * 1000)
    upstream = origin.accept()
    upstream.head()
    upstream.send(EARLY)
    client.response(to="POST")
    other = proxy.client()
    other.ask(target="/other")
    assert origin.accept().answer().target == "/other"
    assert other.response().status == 200


def test_early_response_is_delivered_to_a_client_that_is_still_writing(hive, origin: RawOrigin) -> None:
    """Closing with unread bytes would reset the connection and could destroy the answer on its way."""
    client = hive(origin).client()
    client.ask("POST", "/", {"Content-Length": "100000"})
    upstream = origin.accept()
    upstream.head()
    upstream.send(EARLY)
    upstream.close()
    client.send(b"x" * 100_000)
    response = client.response(to="POST")
    assert (response.status, response.body) == (403, b"stop")
    assert not client.was_reset


def test_rest_of_the_body_is_not_taken_for_the_next_request(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask("POST", "/", {"Content-Length": "6"})
    client.send(b"abc")
    upstream = origin.accept()
    upstream.head()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    response = client.response(to="POST")
    assert response.body == b"ok"
    if response.header("connection") == "close":
        return  # RFC 9112 section 9.3 leaves it to the server whether to go on
    client.send(b"def")
    client.ask(target="/next")
    assert origin.accept().answer().target == "/next"
    assert client.response().status == 200


def test_client_is_told_when_an_early_response_ends_the_connection(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask("POST", "/", {"Content-Length": "5"})
    upstream = origin.accept()
    upstream.head()
    upstream.send(EARLY)
    assert client.response(to="POST").header("connection") == "close"
