"""Route tests decide by the router of live traffic, and say what happened instead."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from discovery.config import Config
from proxy.config.route_tests import run

ROUTES = """\
listeners:
  - name: web
    address: :8080
    routes:
      - { name: api, match: { host: "*.shop.local", path_prefix: /api }, service: api, version: v2 }
      - { name: beta, match: { methods: [ GET ], headers: { x-beta: "1" } }, service: web, version: v2 }
      - { name: office, match: { path: /office, clients: [ 10.0.0.0/8 ] }, service: web }
      - { name: drawn, match: { path: /drawn }, split: [ { service: web, weight: 1 }, { service: api, weight: 0 } ] }
      - { name: gone, match: { path: /gone }, filters: [ { direct_response: { status: 410 } } ] }
      - { name: moved, match: { path: /moved }, filters: [ { redirect: { path: /, status: 308 } } ] }
      - { name: nowhere, match: { path: /nowhere }, service: empty }
      - { name: query, match: { path: /q, query: { a: b } }, service: api }
      - { name: default, match: { methods: [ GET ] }, service: web }
  - name: inner
    address: :8081
    routes:
      - { name: inner, match: { path_prefix: /inner }, service: api }
services:
  web:
    endpoints: [ { address: "127.0.0.1:1", version: v1 }, { address: "127.0.0.1:2", version: v2 } ]
    traffic_split: [ { version: v1, weight: 1 }, { version: v2, weight: 1 }, { version: v3, weight: 0 } ]
  api:
    endpoints: [ { address: "127.0.0.1:3", version: v2 }, { address: "127.0.0.1:4", version: v1, weight: 0 } ]
  empty: {}
"""


@pytest.fixture
def failures(config: Callable[..., Config]) -> Callable[..., list[str]]:
    def find(request: str, expect: str, listener: str = "web") -> list[str]:
        method, url = request.split(" ", 1)
        url, _, more = url.partition(" ")
        test = f"request: {{ method: {method}, url: '{url}', listener: {listener}, {more} }}, expect: {{ {expect} }}"
        return [problem.message for problem in run(config(f"{ROUTES}tests: [ {{ {test} }} ]"))]

    return find


@pytest.mark.parametrize(
    ("request_", "expect"),
    [
        ("GET http://eu.shop.local/api/v2/items", "route: api, service: api, version: v2"),
        ("GET http://shop.local/ headers: { X-Beta: 1 }", "route: beta, service: web, version: v2"),
        ("GET http://shop.local/", "route: default, version: v1"),
        ("GET http://shop.local/", "route: default, version: v2"),
        ("GET http://shop.local/office client: 10.1.2.3", "route: office"),
        ("GET http://shop.local/office", "route: default"),
        ("GET http://shop.local/a/../q?x=y&a=b", "route: query, service: api, version: v2"),
        ("GET http://shop.local/drawn", "route: drawn, service: web, version: v2"),
        ("GET /gone", "route: gone, status: 410"),
        ("GET /moved", "status: 308"),
        ("GET /nowhere", "route: nowhere, service: empty, status: 503"),
        ("PUT http://other.local/", "status: 404"),
        ("GET http://shop.local/a%2Fb", "status: 400"),
        ("OPTIONS *", "status: 404"),
    ],
)
def test_what_holds(failures: Callable[..., list[str]], request_: str, expect: str) -> None:
    assert failures(request_, expect) == []


@pytest.mark.parametrize(
    ("request_", "expect", "message"),
    [
        (
            "GET http://shop.local/ headers: { x-beta: 1 }",
            "route: default",
            "GET shop.local/ at listener web is taken by route 'beta' (f:6) and goes to web v2, "
            "expected route 'default'",
        ),
        (
            "GET http://shop.local/drawn",
            "service: api",
            "GET shop.local/drawn at listener web is taken by route 'drawn' (f:8) and goes to web v1, web v2, "
            "expected service 'api'",
        ),
        (
            "GET http://shop.local/",
            "version: v3",
            "GET shop.local/ at listener web is taken by route 'default' (f:13) and goes to web v1, web v2, "
            "expected version 'v3'",
        ),
        (
            "GET /q?a=b",
            "service: api, version: v1",
            "GET /q?a=b at listener web is taken by route 'query' (f:12) and goes to api v2, api, "
            "expected version 'v1' of service 'api'",
        ),
        (
            "GET http://shop.local/",
            "status: 200",
            "GET shop.local/ at listener web is taken by route 'default' (f:13) and goes to web v1, web v2, "
            "whose status only the upstream knows, expected 200",
        ),
        ("GET /moved", "status: 302", "GET /moved at listener web is taken by route 'moved' (f:10) and answered 308, "
         "expected 302"),
        ("GET /nowhere", "status: 200", "GET /nowhere at listener web is taken by route 'nowhere' (f:11) "
         "and goes to empty, which has no endpoint: 503, expected 200"),
        ("GET /moved", "service: web", "GET /moved at listener web is taken by route 'moved' (f:10) and answered 308, "
         "expected service 'web'"),
        ("PUT /x", "route: api", "PUT /x at listener web is answered 404 (no route takes it), expected route 'api'"),
    ],
)  # fmt: skip
def test_what_does_not(failures: Callable[..., list[str]], request_: str, expect: str, message: str) -> None:
    assert failures(request_, expect) == [message]


def test_a_refused_path_says_why(failures: Callable[..., list[str]]) -> None:
    [message] = failures("GET /a%2Fb", "route: default")
    assert message.startswith("GET /a%2Fb at listener web is answered 400 (percent-encoded ")


def test_every_mismatch_has_its_key_and_place(config: Callable[..., Config]) -> None:
    expect = "{ route: a, service: api, status: 200 }"
    problems = run(config(f"{ROUTES}tests:\n  - {{ request: {{ url: /moved, listener: web }}, expect: {expect} }}"))
    assert [problem.key for problem in problems] == [
        "tests[0].expect.route",
        "tests[0].expect.service",
        "tests[0].expect.status",
    ]
    assert str(problems[0]).startswith("f:26:5: tests[0].expect.route: GET /moved")


def test_without_a_listener_all_of_them_must_agree(config: Callable[..., Config]) -> None:
    problems = run(config(f"{ROUTES}tests: [ {{ request: GET /gone, expect: {{ status: 410 }} }} ]"))
    assert [problem.message for problem in problems] == [
        "GET /gone at listener inner is answered 404 (no route takes it), expected 410"
    ]
    assert run(config(f"{ROUTES}tests: [ {{ request: PUT /x, expect: {{ status: 404 }} }} ]")) == ()


def test_listeners_without_routes_are_tested_by_domain(config: Callable[..., Config]) -> None:
    text = """\
        listeners: [ { name: web, address: ":1" } ]
        services:
          a: { domain: a.local, endpoints: [ { address: "127.0.0.1:1" } ] }
          b: { domain: b.local }
        tests:
          - { request: "GET http://A.local:80/x", expect: { route: a, service: a } }
          - { request: "GET http://b.local/", expect: { route: b, status: 503 } }
          - { request: "GET http://c.local/", expect: { status: 404 } }
        """
    assert run(config(text)) == ()


SUBSETS = """\
listeners:
  - name: web
    address: :8080
    routes:
      - { name: strict, match: { path: /strict }, service: web, subset: { headers: { zone: x-zone } } }
      - { name: loose, match: { path: /loose }, service: web, subset: { headers: { zone: x-zone }, fallback: any } }
services:
  web:
    affinity: { cookie: hm, broken: fail }
    sticky_split: { client_ip: true }
    endpoints:
      - { address: "127.0.0.1:1", version: v1, metadata: { zone: a } }
      - { address: "127.0.0.1:2", version: v2, weight: 0, metadata: { zone: b } }
    traffic_split: [ { version: v1, weight: 1 }, { version: v2, weight: 1 } ]
"""


@pytest.mark.parametrize(
    ("path", "zone", "is_served"),
    [
        ("/strict", "a", True),
        ("/strict", "b", False),  # its one endpoint takes nothing
        ("/strict", "c", False),
        ("/loose", "b", True),  # v1 has no such endpoint at all
        ("/loose", "c", True),
    ],
)
def test_a_subset_counts_and_who_the_client_is_does_not(
    path: str, zone: str, is_served: bool, config: Callable[..., Config]
) -> None:
    for version in ("v1", "v2"):
        request = f'{{ url: "http://x{path}", headers: {{ x-zone: {zone}, cookie: "hm=anything" }} }}'
        test = f"{{ request: {request}, expect: {{ service: web, version: {version}, status: 503 }} }}"
        problems = [problem.message for problem in run(config(f"{SUBSETS}tests: [ {test} ]"))]
        assert (problems == []) is not is_served
