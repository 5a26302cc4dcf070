"""Interim responses: 100 Continue and its expectation, 103 Early Hints."""

from __future__ import annotations

from raw_origin import OK, RawOrigin


def test_expectation_and_100_continue_pass_through(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask("POST", "/", {"Expect": "100-continue", "Content-Length": "5"})
    upstream = origin.accept()
    assert upstream.head().header("expect") == "100-continue"
    upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.interim_response().status == 100
    client.send(b"hello")
    assert upstream.read_exactly(5) == b"hello"
    upstream.send(OK)
    assert client.response().body == b"ok"


def test_final_answer_instead_of_100_continue(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask("POST", "/", {"Expect": "100-continue", "Content-Length": "5"})
    upstream = origin.accept()
    upstream.head()
    upstream.send(b"HTTP/1.1 413 Too Big\r\nContent-Length: 0\r\n\r\n")
    response = client.response()
    assert response.status == 413
    assert response.interim == []


def test_early_hints_are_forwarded_with_their_headers(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask()
    origin.accept().answer(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: close\r\n\r\n"
        b"HTTP/1.1 102 Processing\r\n\r\n" + OK
    )
    response = client.response()
    assert response.status == 200
    assert [hint.status for hint in response.interim] == [103, 102]
    assert response.interim[0].header("link") == "</a.css>; rel=preload"
    assert response.interim[0].header("connection") is None


def test_http_1_0_client_gets_no_interim_responses(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    origin.accept().answer(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    response = client.response()
    assert (response.status, response.interim) == (200, [])
    assert b"103" not in client.received


def test_more_interim_responses_than_the_limit_are_an_upstream_fault(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, limits={"interim_responses": 3})
    client = proxy.client()
    client.ask()
    origin.accept().answer(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 4 + OK)
    assert client.response().status == 502
    assert proxy.logged(status=502)["flags"] == "UPE"
