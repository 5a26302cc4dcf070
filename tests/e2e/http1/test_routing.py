"""Live requests follow the routes (the rules themselves are tested beside the router)."""

from __future__ import annotations

from collections import Counter

import pytest
from http_origin import HttpOrigin
from ports import free_port
from raw_client import RawClient


@pytest.fixture
def shop(hive):
    """Services one and two, told apart by their answers."""
    with HttpOrigin("one") as one, HttpOrigin("two") as two:
        services = {
            "one": {"endpoints": [{"id": "o", "address": one.address}]},
            "two": {"endpoints": [{"id": "t", "address": two.address}]},
            "both": {
                "endpoints": [
                    {"id": "v1", "address": one.address, "version": "v1"},
                    {"id": "v2", "address": two.address, "version": "v2"},
                ],
                "traffic_split": [{"version": "v1", "weight": 75}, {"version": "v2", "weight": 25}],
            },
        }
        yield lambda *routes, **settings: hive(routes=list(routes), services=services, **settings)


def test_path_host_method_header_and_query_choose_the_service(shop) -> None:
    proxy = shop(
        {"name": "path", "match": {"path_prefix": "/two"}, "service": "two"},
        {"name": "exact", "match": {"path": "/exactly"}, "service": "two"},
        {"name": "host", "match": {"host": "*.two.test"}, "service": "two"},
        {"name": "method", "match": {"methods": ["DELETE"]}, "service": "two"},
        {"name": "header", "match": {"headers": {"x-beta": "1"}}, "service": "two"},
        {"name": "query", "match": {"query": {"beta": "1"}}, "service": "two"},
        {"name": "rest", "service": "one"},
    )
    client = proxy.client()
    for target, expected in [
        ("/", "one"),
        ("/two", "two"),
        ("/two/x", "two"),
        ("/twofold", "one"),
        ("/exactly", "two"),
        ("/exactly/not", "one"),
        ("/?beta=1", "two"),
        ("/?beta=2", "one"),
    ]:
        assert client.get(target).text == expected, target
    assert client.get("/", {"X-Beta": "1"}).text == "two"
    assert client.get("/", {"Host": "A.Two.Test:80"}).text == "two"
    client.ask("DELETE", "/")
    assert client.response().text == "two"
    assert proxy.logged(path="/two")["route"] == "path"


def test_split_divides_requests_by_weight(shop) -> None:
    client = shop({"name": "all", "service": "both"}).client()
    shares = Counter(client.get().text for _ in range(400))
    assert 240 <= shares["one"] <= 360  # 300 expected; this is 7 standard deviations
    assert sum(shares.values()) == 400


def test_route_pins_a_version(shop) -> None:
    proxy = shop({"name": "pinned", "service": "both", "version": "v2"})
    client = proxy.client()
    assert {client.get().text for _ in range(10)} == {"two"}
    entry = proxy.logged(route="pinned")
    assert (entry["service"], entry["version"]) == ("both", "v2")


def test_split_of_a_route_goes_to_several_services(shop) -> None:
    routes = {"name": "all", "split": [{"service": "one", "weight": 1}, {"service": "two", "weight": 0}]}
    client = shop(routes).client()
    assert {client.get().text for _ in range(10)} == {"one"}


def test_version_that_no_endpoint_has_is_503(shop) -> None:
    """Its route exists, so the answer is not 404."""
    proxy = shop({"name": "pinned", "service": "both", "version": "v9"})
    assert proxy.client().get().status in (500, 503)


def test_listener_without_routes_serves_services_by_their_domain(hive) -> None:
    with HttpOrigin("web") as web:
        proxy = hive(web, app={"domain": "web.local"})
        proxy.config["listeners"][0]["routes"] = []
        proxy.reload()
        client = proxy.client()
        assert client.get("/", {"Host": "web.local"}).text == "web"
        assert client.get("/", {"Host": "other.local"}).status == 404


def test_routes_change_under_an_open_connection(shop) -> None:
    proxy = shop({"name": "all", "service": "one"})
    client = proxy.client()
    assert client.get().text == "one"
    proxy.config["listeners"][0]["routes"] = [{"name": "all", "service": "two"}]
    proxy.reload()
    assert client.get().text == "two"


def test_listener_on_ipv6(hive) -> None:
    with HttpOrigin("six") as origin:
        proxy = hive(origin)
        address = f"[::1]:{free_port('::1')}"
        proxy.config["listeners"].append(
            {"name": "six", "address": address, "protocol": "http", "routes": [{"name": "all", "service": "app"}]}
        )
        proxy.reload()
        with RawClient(address) as client:
            seen = client.get("/echo").json
        assert ["x-forwarded-for", "::1"] in seen["headers"]
