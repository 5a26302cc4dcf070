"""The data plane of a configuration, asked without sockets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from discovery.config import Config
from discovery.model import Endpoint, Listener, PathKind, Route, RouteMatch, Service, Snapshot
from mesh.decision import Decision
from proxy.config.load import load_text
from proxy.offline import Offline
from proxy.questions import question_of

SHOP = """
trusted_proxies: [ 198.51.100.0/24 ]
listeners:
  - name: web
    address: ":8080"
    routes:
      - name: api
        match: { host: shop.local, path_prefix: /api, methods: [ GET, POST ] }
        service: api
        timeout: 5s
      - name: canary
        match: { host: shop.local, path_prefix: /canary }
        service: web
      - name: pinned
        match: { host: shop.local, path_prefix: /v2 }
        service: web
        version: v2
      - name: hashed
        match: { host: shop.local, path_prefix: /hash }
        service: hashed
      - name: named
        match: { host: shop.local, path_prefix: /named }
        service: named
      - name: empty
        match: { host: shop.local, path_prefix: /empty }
        service: empty
      - name: off
        match: { host: shop.local, path: /off }
        filters: [ direct_response: { status: 503, body: "back at noon" } ]
  - name: domains
    address: 127.0.0.1:8081
services:
  api: { endpoints: [ { address: "127.0.0.1:9001" } ] }
  web:
    domain: web.local
    endpoints:
      - { address: 127.0.0.1:9002, version: v1 }
      - { address: 127.0.0.1:9003, version: v2 }
    traffic_split: [ { version: v1, weight: 90 }, { version: v2, weight: 10 } ]
  hashed:
    endpoints: [ { address: "127.0.0.1:9004" }, { address: "127.0.0.1:9005" }, { address: "127.0.0.1:9006" } ]
    load_balancing: { strategy: ip_hash }
  named: { endpoints: [ { address: "db.example:5432" } ] }
  empty: { endpoints: [] }
"""


def config_of(text: str) -> Config:
    loaded = load_text(text, "mesh.yaml")
    assert loaded.config is not None, loaded.problems
    return loaded.config


CONFIG = config_of(SHOP)


@pytest.fixture
def offline() -> Iterator[Offline]:
    with Offline(CONFIG) as made:
        yield made


def ask(offline: Offline, method: str, url: str, *headers: tuple[str, str], **given: Any) -> Decision:
    wanted = {"client": "127.0.0.1", "body_size": 0, "listener": "", "request_id": "", **given}
    return offline.ask(question_of(method, url, headers, listeners=offline.snapshot.listeners, **wanted))


@pytest.mark.parametrize(
    ("method", "url", "expected"),
    [
        ("GET", "http://shop.local:8080/api/x", ("forward", 0, "", "api", "api", "127.0.0.1:9001")),
        ("PUT", "http://shop.local:8080/api/x", ("answer", 404, "NR", "", "", "")),
        ("GET", "http://shop.local:8080/v2", ("forward", 0, "", "pinned", "web", "127.0.0.1:9003")),
        ("GET", "http://shop.local:8080/empty", ("answer", 503, "UH", "empty", "empty", "")),
        ("GET", "http://shop.local:8080/off", ("answer", 503, "", "off", "", "")),
        ("GET", "http://shop.local:8080/%2e%2e/%2fx", ("answer", 400, "DPE", "", "", "")),
        ("GET", "http://shop.local:8080/named", ("forward", 0, "", "named", "named", "db.example:5432")),
        ("GET", "http://other.local:8080/", ("answer", 404, "NR", "", "", "")),
    ],
)
def test_outcomes(offline: Offline, method: str, url: str, expected: tuple[object, ...]) -> None:
    said = ask(offline, method, url)
    assert (said.outcome, said.status, said.flag, said.route, said.service, said.endpoint) == expected
    assert [each.route for each in said.routes if each.wins] == ([said.route] if said.route else [])
    if said.route:
        assert said.rule_source.startswith("mesh.yaml:")


def test_services_under_their_domain(offline: Offline) -> None:
    said = ask(offline, "GET", "http://web.local:8081/")
    assert (said.listener, said.route, said.service) == ("domains", "web", "web")
    (verdict,) = said.routes
    assert verdict.wins and verdict.position is not None


def test_what_is_drawn_follows_from_the_id(offline: Offline) -> None:
    url = "http://shop.local:8080/canary"
    said = [ask(offline, "GET", url, request_id=f"r{number}") for number in range(300)]
    assert said == [
        replace(ask(offline, "GET", url, request_id=f"r{number}"), head=each.head, cookies=each.cookies)
        for number, each in enumerate(said)
    ]
    share = sum(each.version == "v2" for each in said) / len(said)
    assert 0.0 < share < 0.3  # 10 %, and further off once in 1e9
    (view,) = said[0].splits
    assert (view.owner, [each.percent for each in view.shares]) == ("service web", [90.0, 10.0])


def test_the_client_decides_where_it_is_hashed_and_a_trusted_peer_names_it(offline: Offline) -> None:
    url = "http://shop.local:8080/hash"
    direct = {client: ask(offline, "GET", url, client=client).endpoint for client in ("192.0.2.1", "192.0.2.2")}
    for client, endpoint in direct.items():
        said = ask(offline, "GET", url, ("X-Forwarded-For", client), client="198.51.100.7")
        assert (said.client, said.endpoint) == (client, endpoint)
        assert said.balance is not None and said.balance.certain


def test_the_same_seed_gives_the_same_answers() -> None:
    def answers(seed: int) -> list[tuple[str, str, str]]:
        with Offline(CONFIG, seed=seed) as made:
            said = [ask(made, "GET", "http://shop.local:8080/canary") for _ in range(20)]
        return [(each.request_id, each.version, each.endpoint) for each in said]

    assert answers(7) == answers(7)
    assert answers(7) != answers(8)


def test_a_listener_that_takes_no_requests_is_told(offline: Offline) -> None:
    question = question_of("GET", "/", (), "127.0.0.1", 0, "web", "", CONFIG.snapshot.listeners)
    with pytest.raises(ValueError, match="no listener called 'nobody' takes HTTP requests"):
        offline.ask(replace(question, listener="nobody"))


def test_ten_thousand_routes_are_asked_quickly() -> None:
    matches = [RouteMatch(path=f"/{number}", path_kind=PathKind.EXACT) for number in range(10_000)]
    routes = tuple(Route(name=match.path, match=match, service="s") for match in matches)
    listener = Listener(name="web", address=":1", routes=routes)
    services = (Service(name="s", endpoints=(Endpoint(id="a", address="127.0.0.1:1"),)),)
    with Offline(Config(snapshot=Snapshot(listeners=(listener,), services=services))) as made:
        began = time.process_time()
        said = ask(made, "GET", "http://a/9999")
        assert time.process_time() - began < 0.1
    assert said.outcome == "forward"
    assert said.hidden == (("path", 9980),)
    assert len(said.routes) == 20
