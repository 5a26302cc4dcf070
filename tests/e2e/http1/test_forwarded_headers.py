"""What the origin is told about the client: X-Forwarded-*, and whom we believe when it is said already."""

from __future__ import annotations

from raw_origin import RawOrigin

TRUSTED = {"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8"]}
CLAIMS = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "public.test",
    "X-Forwarded-Port": "443",
}


def test_edge_tells_the_origin_who_asked(hive, origin: RawOrigin) -> None:
    proxy = hive(origin)
    client = proxy.client()
    client.ask(host="shop.test:8080")
    request = origin.accept().answer()
    assert request.header("x-forwarded-for") == "127.0.0.1"
    assert request.header("x-forwarded-proto") == "http"
    assert request.header("x-forwarded-host") == "shop.test:8080"
    assert request.header("x-forwarded-port") == proxy.address.rpartition(":")[2]
    assert client.response().status == 200


def test_claims_of_untrusted_clients_are_replaced(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask(headers=CLAIMS)
    request = origin.accept().answer()
    assert request.header("x-forwarded-for") == "127.0.0.1"
    assert request.header("x-forwarded-proto") == "http"
    assert request.header("x-forwarded-host") == "a.test"
    assert request.header("x-forwarded-port") != "443"
    assert client.response().status == 200


def test_other_names_for_the_same_claims_are_removed_too(hive, origin: RawOrigin) -> None:
    """Among them spellings with underscores, which many origins read as the same header."""
    names = [
        "X-Real-Ip",
        "X-Scheme",
        "X-Forwarded-Prefix",
        "X-Forwarded-Server",
        "X-Forwarded-Uri",
        "X-Forwarded-Method",
        "X-Forwarded-Tls-Client-Cert",
        "X_Forwarded_For",
        "X_Real_Ip",
    ]
    client = hive(origin).client()
    client.ask(headers=[(name, "203.0.113.9") for name in names])
    request = origin.accept().answer()
    assert {name: request.header(name) for name in names} == dict.fromkeys(names)
    assert client.response().status == 200


def test_trusted_proxy_is_appended_and_believed(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, **TRUSTED)
    client = proxy.client()
    client.ask(headers=CLAIMS)
    request = origin.accept().answer()
    assert request.header("x-forwarded-for") == "203.0.113.9, 127.0.0.1"
    assert request.header("x-forwarded-proto") == "https"
    assert request.header("x-forwarded-host") == "public.test"
    assert request.header("x-forwarded-port") == "443"
    assert client.response().status == 200
    assert proxy.logged(status=200)["client"] == "203.0.113.9"


def test_client_is_the_first_address_from_the_right_that_is_not_ours(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, **TRUSTED)
    client = proxy.client()
    client.ask(headers=[("X-Forwarded-For", "6.6.6.6, 203.0.113.9"), ("X-Forwarded-For", "10.1.2.3")])
    request = origin.accept().answer()
    forwarded = ", ".join(request.all("x-forwarded-for")).replace(" ", "").split(",")
    assert forwarded == ["6.6.6.6", "203.0.113.9", "10.1.2.3", "127.0.0.1"]
    client.response()
    assert proxy.logged(status=200)["client"] == "203.0.113.9"


def test_routes_can_depend_on_the_client_address(hive, origin: RawOrigin) -> None:
    routes = [
        {"name": "partner", "match": {"clients": ["203.0.113.0/24"]}, "service": "app"},
        {"name": "rest", "filters": [{"direct_response": {"status": 403, "body": "no"}}]},
    ]
    client = hive(origin, routes=routes, **TRUSTED).client()
    client.ask(headers={"X-Forwarded-For": "203.0.113.9"})
    origin.accept().answer()
    assert client.response().status == 200
    client.ask(headers={"X-Forwarded-For": "198.51.100.1"})
    assert client.response().status == 403
