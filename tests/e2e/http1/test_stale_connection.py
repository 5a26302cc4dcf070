"""A kept upstream connection may be closed by the origin just as a request is sent on it."""

from __future__ import annotations

from raw_origin import RawOrigin


def make_stale(client, origin: RawOrigin):
    """One exchange, after which the proxy keeps the connection that is returned."""
    client.ask(target="/first")
    upstream = origin.accept()
    upstream.answer()
    assert client.response().status == 200
    return upstream


def test_get_is_sent_again_on_a_new_connection(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    upstream = make_stale(client, origin)
    client.ask(target="/again")
    assert upstream.request().target == "/again"
    upstream.close()  # after the request was sent, before any byte of an answer
    assert origin.accept().answer().target == "/again"
    assert client.response().status == 200
    assert proxy.logged(path="/again")["attempts"] == 2


def test_get_is_sent_again_after_a_reset(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    upstream = make_stale(client, origin)
    client.ask(target="/again")
    upstream.request()
    upstream.reset()
    assert origin.accept().answer().target == "/again"
    assert client.response().status == 200


def test_put_with_its_body_is_sent_again(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    upstream = make_stale(client, origin)
    client.ask("PUT", "/thing", body=b"whole body")
    upstream.request()
    upstream.close()
    request = origin.accept().answer()
    assert (request.method, request.body) == ("PUT", b"whole body")
    assert client.response().status == 200


def test_post_is_not_sent_again(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    upstream = make_stale(client, origin)
    client.ask("POST", "/pay", body=b"10")
    upstream.request()
    upstream.close()
    assert client.response().status == 502
    assert not origin.has_connection_waiting()
    assert proxy.logged(path="/pay")["flags"] == "UC"


def test_get_on_a_fresh_connection_is_not_sent_again(hive, origin: RawOrigin) -> None:
    """Without a retry policy, only a connection that had grown old is a reason to believe nothing was done."""
    proxy = hive(origin)
    client = proxy.client()
    client.ask(target="/fresh")
    upstream = origin.accept()
    upstream.request()
    upstream.close()
    assert client.response().status == 502
    assert not origin.has_connection_waiting()
    assert proxy.logged(path="/fresh")["flags"] == "UC"


def test_get_is_not_sent_again_once_an_answer_has_begun(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    upstream = make_stale(client, origin)
    client.ask(target="/begun")
    upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-")
    upstream.close()
    assert client.response().status == 502
    assert not origin.has_connection_waiting()


def test_connection_that_was_closed_while_idle_is_not_used(hive, origin: RawOrigin) -> None:
    """POST cannot be sent again, so it must not meet a connection whose end was already there to see."""
    client = hive(origin).client()
    upstream = make_stale(client, origin)
    upstream.finish_sending()
    assert upstream.is_ended_by_peer()  # the proxy saw it and closed its side
    client.ask("POST", "/pay", body=b"10")
    assert origin.accept().answer().body == b"10"
    assert client.response().status == 200
