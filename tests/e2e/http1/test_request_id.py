"""X-Request-Id: made at the edge, kept when a trusted proxy made it."""

from __future__ import annotations

import re

from raw_origin import RawOrigin

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_each_request_gets_its_own_id(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.ask()
    upstream = origin.accept()
    first = upstream.answer().header("x-request-id")
    client.response()
    client.ask()
    second = upstream.answer().header("x-request-id")
    client.response()
    assert UUID4.fullmatch(first) and UUID4.fullmatch(second)
    assert first != second
    assert proxy.logged(request_id=first)
    assert proxy.logged(request_id=second)


def test_id_of_an_untrusted_client_is_replaced(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask(headers={"X-Request-Id": "chosen-by-client"})
    assert UUID4.fullmatch(origin.accept().answer().header("x-request-id"))
    assert client.response().status == 200


def test_id_of_a_trusted_proxy_is_kept(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, trusted_proxies=["127.0.0.1/32"])
    client = proxy.client()
    client.ask(headers={"X-Request-Id": "made-upstream-of-us"})
    assert origin.accept().answer().header("x-request-id") == "made-upstream-of-us"
    client.response()
    assert proxy.logged(request_id="made-upstream-of-us")
