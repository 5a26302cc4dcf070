"""A long series of configurations, each different from the one before, and what an answer of each must look like.

Configuration number g is drawn from g alone, so that a client can tell what is right for the generation that an answer
names, without being told about it. Between two generations change: routes (some come and go, a longer prefix takes
over, a header match appears), endpoints and their weights (one refuses connections now and then), the shares of a
traffic split, header filters, a rewrite, direct answers, and a listener. What never changes is the way to `chat`.

Every answer carries `x-proof: GENERATION ROUTE` from the response filter of its route; its body is what the origin saw:
`ORIGIN|PATH|GENERATION`, the last from the request filter.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.proofs.hive import HOST

Json = dict[str, Any]

ORIGINS: Final = ("o1", "o2", "o3", "o4")
VERSIONS: Final = {"o1": "v1", "o2": "v1", "o3": "v2", "o4": "v2"}
REWRITES: Final = (None, "/shop-of-old", "/")


@dataclass(frozen=True, slots=True)
class Ports:
    """`dead` refuses connections."""

    web: int
    extra: int
    chat: int
    dead: int
    origins: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of the load."""

    method: str
    path: str
    beta: bool = False


# What is asked, over and over; all of it has an answer in every generation.
REQUESTS: Final = (
    Asked("GET", "/shop/cart?item=1"),
    Asked("GET", "/api/items/7"),
    Asked("GET", "/api/users"),
    Asked("POST", "/api/items/7"),
    Asked("GET", "/files/a.txt"),
    Asked("GET", "/files/a.txt", beta=True),
    Asked("HEAD", "/files/b.txt"),
    Asked("GET", "/page"),
)


class Generation:
    """What number `number` decides."""

    def __init__(self, number: int) -> None:
        self.number = number
        draw = random.Random(number)
        self.shop = sorted(draw.sample(ORIGINS, draw.randint(1, 4)))
        self.api = sorted(draw.sample(ORIGINS, draw.randint(2, 4)))
        self.idle = draw.choice(self.api)  # of weight 0
        self.has_dead = draw.random() < 0.5
        self.rewrite = REWRITES[number % len(REWRITES)]
        self.has_items = draw.random() < 0.5
        self.has_beta = draw.random() < 0.5
        self.share = draw.choice((0, 1, 50, 99, 100))  # of v1 in `files`
        self.extra_routes = draw.randint(0, 6)
        self.has_extra_listener = draw.random() < 0.3

    # --- what is right ------------------------------------------------------------------------------------------------

    def problem(self, asked: Asked, route: str, body: str) -> str:
        """Why this answer cannot be one of this generation; "" if it can."""
        wanted_route, wanted_origins, wanted_path = self._expected(asked)
        if route != wanted_route:
            return f"route {route}, expected {wanted_route}"
        if wanted_route == "page":
            return "" if body == self._page() else f"body {body!r}, expected {self._page()!r}"
        if asked.method == "HEAD":
            return "" if not body else f"body {body!r} to a HEAD"
        origin, _, rest = body.partition("|")
        if wanted_route == "shop" and self.has_dead:
            # Another endpoint is picked when the dead one has refused, from what is in force by then. One of the next
            # two files is good.
            wanted_origins = [*wanted_origins, *Generation(self.number + 1).shop, *Generation(self.number + 2).shop]
        if origin not in wanted_origins:
            return f"from {origin}, expected one of {', '.join(wanted_origins)}"
        wanted = f"{wanted_path}|{self.number}\n"
        return "" if rest == wanted else f"the origin saw {rest!r}, expected {wanted!r}"

    def _expected(self, asked: Asked) -> tuple[str, Sequence[str], str]:
        if asked.path.startswith("/shop"):
            path = asked.path
            if self.rewrite is not None:
                path = self.rewrite.rstrip("/") + path.removeprefix("/shop")
            return "shop", self.shop, path
        if asked.path == "/page":
            return "page", (), ""
        if asked.path.startswith("/api"):
            items = self.has_items and asked.path.startswith("/api/items")
            return ("items" if items else "api"), [name for name in self.api if name != self.idle], asked.path
        if asked.beta and self.has_beta:
            return "beta", [name for name in ORIGINS if VERSIONS[name] == "v2"], asked.path
        shares = {"v1": self.share, "v2": 100 - self.share}
        return "files", [name for name in ORIGINS if shares[VERSIONS[name]]], asked.path

    def _page(self) -> str:
        return f"page {self.number}\n"

    # --- the file -----------------------------------------------------------------------------------------------------

    def config(self, ports: Ports) -> Json:
        listeners = [{"name": "web", "address": f"{HOST}:{ports.web}", "routes": self._routes()}]
        if self.has_extra_listener:
            listeners.append(
                {
                    "name": "extra",
                    "address": f"{HOST}:{ports.extra}",
                    "routes": [{"name": "all", "service": "shop"}],
                }
            )
        places = dict(zip(ORIGINS, ports.origins, strict=True))

        def endpoint(name: str, weight: int = 1) -> Json:
            return {"id": name, "address": f"{HOST}:{places[name]}", "version": VERSIONS[name], "weight": weight}

        shop = [endpoint(name, 1 + self.number % 5) for name in self.shop]
        if self.has_dead:
            shop.append({"id": "dead", "address": f"{HOST}:{ports.dead}"})
        return {
            "listeners": listeners,
            "services": {
                "shop": {"endpoints": shop},
                "api": {"endpoints": [endpoint(name, int(name != self.idle)) for name in self.api]},
                "files": {
                    "endpoints": [endpoint(name) for name in ORIGINS],
                    "traffic_split": [
                        {"version": "v1", "weight": self.share},
                        {"version": "v2", "weight": 100 - self.share},
                    ],
                },
                "chat": {"endpoints": [{"id": "c1", "address": f"{HOST}:{ports.chat}"}]},
            },
            "tests": [_test("page")],
        }

    def _routes(self) -> list[Json]:
        page = {"direct_response": {"status": 200, "body": self._page()}}
        routes: list[Json] = [
            {"name": "chat", "match": {"path_prefix": "/chat"}, "service": "chat"},
            self._route("shop", {"path_prefix": "/shop"}, "shop"),
            self._route("api", {"path_prefix": "/api"}, "api"),
            self._route("files", {"path_prefix": "/files"}, "files"),
            {"name": "page", "match": {"path": "/page"}, "filters": [page, self._stamp("page")]},
        ]
        if self.rewrite is not None:
            routes[1]["filters"].append({"url_rewrite": {"path_prefix": self.rewrite}})
        if self.has_items:
            routes.append(self._route("items", {"path_prefix": "/api/items"}, "api"))
        if self.has_beta:
            beta = self._route("beta", {"path_prefix": "/files", "headers": {"x-beta": "1"}}, "files")
            routes.append({**beta, "version": "v2"})
        routes += [
            self._route(f"extra-{number}", {"path_prefix": f"/extra/{self.number}/{number}"}, "api")
            for number in range(self.extra_routes)
        ]
        random.Random(self.number).shuffle(routes)
        return routes

    def _route(self, name: str, match: Json, service: str) -> Json:
        stamp = {"request_headers": {"set": {"x-generation": str(self.number)}}}
        return {"name": name, "match": match, "service": service, "filters": [stamp, self._stamp(name)]}

    def _stamp(self, route: str) -> Json:
        return {"response_headers": {"set": {"x-proof": f"{self.number} {route}"}}}


def nginx_servers(ports: Ports) -> str:
    """The origins."""
    return "\n".join(
        f"""
    server {{
        listen {HOST}:{port};
        location / {{ return 200 "{name}|$request_uri|$http_x_generation\\n"; }}
    }}"""
        for name, port in zip(ORIGINS, ports.origins, strict=True)
    )


def _test(route: str) -> Json:
    return {"request": {"url": "http://proof/page", "listener": "web"}, "expect": {"route": route}}


def _routes_of(config: Json) -> list[Json]:
    routes: list[Json] = config["listeners"][0]["routes"]
    return routes


def _with(change: Callable[[Json], object]) -> Callable[[Json], Json | str]:
    def broken(config: Json) -> Json:
        change(config)
        return config

    return broken


# Ways in which a file can be broken, each from a good configuration.
BREAKAGES: Final[tuple[Callable[[Json], Json | str], ...]] = (
    lambda config: "listeners: [ { name: web, address: 127.0.0.1:80",
    _with(lambda config: config.update(sevices={})),
    _with(lambda config: _routes_of(config)[0].update(service="nobody")),
    _with(lambda config: config["listeners"][0].update(address="127.0.0.1:eighty")),
    _with(lambda config: config["tests"].append(_test("shop"))),
    _with(lambda config: _routes_of(config).append(dict(_routes_of(config)[0]))),
    _with(lambda config: config["services"]["shop"].update(mesh={"mtls": True})),
    _with(lambda config: config["services"]["shop"].update(mesh={"timeout": "5 parsecs"})),
    lambda config: "\x00\x01\x02 this is no text",
    lambda config: "- a\n- list\n",
)
