"""Two configurations of a shop, and the requests that it gets: what the proof of plan and simulate is made with.

The second differs from the first in everything that `simulate` promises to tell: shares, routes that come and go,
conditions on headers, methods and the query, who may ask, sizes, answers of the proxy's own, trouble on purpose, and a
rate limit. Clients are told apart by X-Forwarded-For: whoever sends the requests is a trusted proxy.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.proofs.hive import HOST

Json = dict[str, Any]

SECRET: Final = "proof-of-plan-and-simulate-0123456789"

# Origins: service, version, id. The last two are only in one of the configurations.
ORIGINS: Final = (
    ("web", "v1", "w1"),
    ("web", "v1", "w2"),
    ("web", "v2", "w3"),
    ("api", "v1", "a1"),
    ("api", "v1", "a2"),
    ("users", "v1", "u1"),
    ("users", "v1", "u2"),
    ("orders", "v1", "o1"),
    ("api", "v1", "a3"),
    ("api", "v1", "a4"),
)

# An endpoint that only the first configuration has. Its origin waits where it is told to, see asking.py.
HELD: Final = "a3"

# The rate limit of the second configuration: how it turns out depends on times, and is compared apart.
LIMITED: Final = "/limited"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. user: whose cookies go with it, -1 for nobody's. at: when it is sent, in seconds from the start."""

    number: int
    at: float
    method: str
    host: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: int
    user: int


@dataclass(frozen=True, slots=True)
class Places:
    """Ports: of the listeners, and of the origins in the order of ORIGINS."""

    web: int
    side: int
    tcp: int
    udp: int
    echo: int
    origins: tuple[int, ...]


def first(places: Places) -> Json:
    return {
        **_common(),
        "listeners": [
            {"name": "web", "address": f"{HOST}:{places.web}", "routes": _routes(is_second=False)},
            {
                "name": "side",
                "address": f"{HOST}:{places.side}",
                "routes": [{"name": "side", "service": "api", "match": {"path_prefix": "/"}}],
            },
            {"name": "tunnel", "address": f"{HOST}:{places.tcp}", "protocol": "tcp", "service": "orders"},
            {"name": "echo", "address": f"{HOST}:{places.udp}", "protocol": "udp", "service": "echo"},
        ],
        "services": {**_services(places, is_second=False), "echo": {"endpoints": [_endpoint("e1", places.echo)]}},
    }


def second(places: Places) -> Json:
    return {
        **_common(),
        "listeners": [{"name": "web", "address": f"{HOST}:{places.web}", "routes": _routes(is_second=True)}],
        "services": _services(places, is_second=True),
    }


def _common() -> Json:
    return {"trusted_proxies": [f"{HOST}/32"], "secret": SECRET, "limits": {"body": 0}}


def _endpoint(id: str, port: int, version: str = "v1") -> Json:
    return {"id": id, "address": f"{HOST}:{port}", "version": version}


def _services(places: Places, is_second: bool) -> Json:
    gone = "a3" if is_second else "a4"
    found: Json = {}
    for (service, version, id), port in zip(ORIGINS, places.origins, strict=True):
        if id != gone:
            found.setdefault(service, {"endpoints": []})["endpoints"].append(_endpoint(id, port, version))
    shares = (60, 40) if is_second else (80, 20)
    found["web"]["traffic_split"] = [
        {"version": version, "weight": weight} for version, weight in zip(("v1", "v2"), shares, strict=True)
    ]
    found["users"]["affinity"] = {"cookie": "hm"}
    if is_second:
        found["orders"]["mesh"] = {"max_body": "1KiB"}
    return found


def _routes(is_second: bool) -> list[Json]:
    shop, api = "shop.test", "api.test"
    routes: list[Json] = [
        {"name": "home", "match": {"host": shop, "path_prefix": "/"}, "service": "web"},
        {"name": "api", "match": {"host": api, "path_prefix": "/v1"}, "service": "api"},
        {"name": "users", "match": {"host": api, "path_prefix": "/users"}, "service": "users"},
        {"name": "item", "match": {"host": shop, "path_regex": "/item/[0-9]+"}, "service": "web", "version": "v1"},
        {"name": "beta", "match": {"host": shop, "path_prefix": "/", "headers": {"x-beta": "1"}}, "service": "web",
         "version": "v2"},
        {"name": "checkout", "match": {"host": shop, "path_prefix": "/checkout"},
         "split": [{"service": "web", "version": "v1", "weight": 3 if is_second else 1},
                   {"service": "orders", "weight": 1}]},
        {"name": "old", "match": {"host": shop, "path_prefix": "/old"},
         "filters": [{"redirect": {"path": "/new", "status": 301 if is_second else 302}}]},
        {"name": "orders", "match": {"host": api, "path_prefix": "/orders",
                                     "methods": ["POST", "PUT"] if is_second else ["POST"]}, "service": "orders"},
        {"name": "admin", "match": {"host": shop, "path_prefix": "/admin"}, "service": "web", "version": "v1"},
        {"name": "limited", "match": {"host": shop, "path_prefix": LIMITED}, "service": "web", "version": "v1"},
        {"name": "flaky", "match": {"host": shop, "path_prefix": "/flaky"}, "service": "api"},
    ]  # fmt: skip
    if not is_second:
        routes += [
            {"name": "legacy", "match": {"host": shop, "path_prefix": "/legacy"}, "service": "api"},
            {"name": "gone", "match": {"host": shop, "path": "/gone"},
             "filters": [{"direct_response": {"status": 410, "body": "gone"}}]},
        ]  # fmt: skip
        return routes
    filters = {
        "admin": {"access": {"deny": ["10.9.0.0/16"]}},
        "limited": {"rate_limit": {"requests": 10, "per": "1s", "burst": 5}},
        "flaky": {"fault": {"abort": {"status": 503, "percent": 30}}},
    }
    for route in routes:
        if route["name"] in filters:
            route["filters"] = [filters[route["name"]]]
    return [
        *routes,
        {"name": "search", "match": {"host": shop, "path_prefix": "/search"}, "service": "api"},
        {"name": "mobile", "match": {"host": shop, "path_prefix": "/", "headers": {"x-device": "mobile"}},
         "service": "web", "version": "v2"},
        {"name": "debug", "match": {"host": api, "path_prefix": "/v1", "query": {"debug": "1"}}, "service": "orders"},
        {"name": "status", "match": {"host": shop, "path": "/status"},
         "filters": [{"direct_response": {"status": 204}}]},
    ]  # fmt: skip


USERS: Final = 400
# How many of a hundred requests ask for what.
MIX: Final = (
    (22, "GET", "shop.test", "/page/{n}"),
    (6, "HEAD", "shop.test", "/page/{n}"),
    (8, "GET", "shop.test", "/item/{n}"),
    (3, "GET", "shop.test", "/item/x{n}"),
    (10, "GET", "api.test", "/v1/things/{n}"),
    (3, "GET", "api.test", "/v1/things/{n}?debug=1&page={n}"),
    (12, "GET", "api.test", "/users/{n}"),
    (5, "POST", "api.test", "/orders"),
    (2, "PUT", "api.test", "/orders/{n}"),
    (4, "GET", "shop.test", "/checkout/{n}"),
    (3, "POST", "shop.test", "/checkout"),
    (3, "GET", "shop.test", "/old/{n}"),
    (2, "GET", "shop.test", "/gone"),
    (3, "GET", "shop.test", "/admin/{n}"),
    (4, "GET", "shop.test", LIMITED),
    (2, "GET", "shop.test", "/flaky/{n}"),
    (2, "GET", "shop.test", "/legacy/{n}"),
    (3, "GET", "shop.test", "/search?q={n}"),
    (1, "GET", "shop.test", "/status"),
    (1, "GET", "nobody.test", "/"),
    (1, "DELETE", "api.test", "/none/{n}"),
)


def requests(count: int, per_s: float, seed: int) -> Iterator[Asked]:
    """`count` of them, so many a second; the same for the same seed."""
    draw = random.Random(seed)
    weights = [each[0] for each in MIX]
    for number in range(count):
        _, method, host, path = draw.choices(MIX, weights)[0]
        headers = [
            ("X-Number", str(number)),
            ("X-Forwarded-For", f"10.{draw.randrange(8, 12)}.{draw.randrange(4)}.{draw.randrange(1, 250)}"),
            ("User-Agent", draw.choice(("proof/1", "curl/8", "browser"))),
        ]
        if draw.random() < 0.1:
            headers.append(("X-Beta", draw.choice(("0", "1"))))
        if draw.random() < 0.2:
            headers.append(("X-Device", draw.choice(("mobile", "desk"))))
        body = draw.choice((0, 10, 700, 1500, 5000)) if method in ("POST", "PUT") else 0
        user = draw.randrange(USERS) if path.startswith("/users") and draw.random() < 0.9 else -1
        yield Asked(
            number, number / per_s, method, host, path.format(n=draw.randrange(10_000)), tuple(headers), body, user
        )


def nginx_servers(places: Places) -> str:
    """Origins that say who they are, but for HELD."""
    return "\n".join(
        f"""
    server {{
        listen {HOST}:{port};
        add_header x-served "{service} {version} {id}";
        keepalive_requests 1000000;
        location / {{ return 200 "{id}\\n"; }}
    }}"""
        for (service, version, id), port in zip(ORIGINS, places.origins, strict=True)
        if id != HELD
    )
