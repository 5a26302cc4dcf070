"""What every proxy is asked to do: hosts, routes, services, and the requests that the load generators send.

A `Scenario` is neutral; each contender renders it in its own configuration language. The usual one has fifty routes
over five hosts: eight path prefixes each, two of them with a second route that a header match sends elsewhere. The
requests walk over hosts, prefixes and both sides of the header match, so that no proxy can answer from one hot entry.
Holds no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

HOSTS: Final = ("shop", "api", "static", "admin", "partner")
PREFIXES: Final = ("catalog", "cart", "users", "search", "media", "orders", "reviews", "checkout")
SERVICES: Final = ("catalog", "cart", "users", "search", "media")

# Routed to its own service when the client sends `x-beta: 1`, as a staged release would be.
BETA_PREFIXES: Final = ("catalog", "search")
BETA_SERVICE: Final = "beta"
BETA_HEADER: Final = "x-beta"

ENDPOINTS_PER_SERVICE: Final = 2
ORIGIN_PORTS: Final = ENDPOINTS_PER_SERVICE * (len(SERVICES) + 1)

# A browser's request through a mobile network, without its TLS: ten headers, about 700 bytes. Host and x-beta differ
# from request to request and are added to these eight.
COMMON_HEADERS: Final = (
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    ),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Referer", "http://shop.bench.test/v1/catalog?page=1"),
    ("Cookie", "session=0f3a9c7b5d1e4862a7c3f9d2b8e6014c; theme=dark; consent=necessary"),
    ("X-Request-Id", "6e9d1f0a-5b7c-4d32-9a41-c2f87e0b6d15"),
    ("Cache-Control", "max-age=0"),
)


class Protocol(Enum):
    """What a proxy takes the traffic for."""

    HTTP = "http"
    TCP = "tcp"
    UDP = "udp"
    DNS = "dns"


@dataclass(frozen=True, slots=True)
class Route:
    """`header` is (name in lower case, exact value), or None for a route that any request of the prefix takes."""

    name: str
    host: str
    prefix: str
    service: str
    header: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """`versions`: of the addresses, where the service has any."""

    name: str
    addresses: tuple[str, ...]
    versions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    host: str
    target: str
    beta: bool = False

    def headers(self) -> list[tuple[str, str]]:
        return [("Host", self.host), *COMMON_HEADERS, (BETA_HEADER, "1" if self.beta else "0")]

    def text(self, close: bool = False) -> str:
        """The request as it goes over the wire; `close` asks for the connection to end with the response."""
        lines = [f"GET {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers())]
        if close:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""])


@dataclass(frozen=True, slots=True)
class Policies:
    """What every service has in common, beside its endpoints: each request is drawn by version, goes to the less busy
    of its endpoints, counts towards limits, a rate limit of its client and the breaker of its endpoint, and may be sent
    again. None of the limits is reached: the question is what it costs to ask."""

    shares: tuple[tuple[str, int], ...] = (("v1", 80), ("v2", 20))
    max_retries: int = 3
    max_connections: int = 500
    max_requests: int = 1000
    max_pending: int = 100
    rate_per_s: int = 1_000_000
    errors: int = 5
    check_interval: int = 2  # seconds; by TCP


@dataclass(frozen=True, slots=True)
class Scenario:
    """Of TCP and UDP there is one service, to which everything goes; requests are then what an HTTP client sends
    through it unseen. Of DNS there are services whose addresses are asked for, and nothing else."""

    routes: tuple[Route, ...]
    services: tuple[Service, ...]
    requests: tuple[Request, ...]
    protocol: Protocol = Protocol.HTTP
    policies: Policies | None = None


def fifty_routes(origin_ports: Sequence[int]) -> Scenario:
    """The scenario of all comparisons. Needs ORIGIN_PORTS ports, two for each service."""
    if len(origin_ports) != ORIGIN_PORTS:
        raise ValueError(f"{len(origin_ports)} origin ports, expected {ORIGIN_PORTS}")
    addresses = [f"127.0.0.1:{port}" for port in origin_ports]
    services = tuple(
        Service(name, tuple(addresses[ENDPOINTS_PER_SERVICE * index : ENDPOINTS_PER_SERVICE * (index + 1)]))
        for index, name in enumerate((*SERVICES, BETA_SERVICE))
    )
    routes = []
    requests = []
    for host_index, word in enumerate(HOSTS):
        host = f"{word}.bench.test"
        for index, prefix in enumerate(PREFIXES):
            path = f"/v1/{prefix}"
            if prefix in BETA_PREFIXES:
                routes.append(Route(f"{word}-{prefix}-beta", host, path, BETA_SERVICE, (BETA_HEADER, "1")))
            routes.append(Route(f"{word}-{prefix}", host, path, SERVICES[index % len(SERVICES)]))
        for step in range(3):
            prefix = PREFIXES[(host_index + 3 * step) % len(PREFIXES)]
            requests.append(Request(host, f"/v1/{prefix}/items/{4711 + step}?lang=en&page={step}"))
        requests.append(Request(host, f"/v1/{BETA_PREFIXES[host_index % 2]}/items/4720?lang=en", beta=True))
    return Scenario(tuple(routes), services, tuple(requests))


# Endpoints of each service where policies have something to choose from: two of each version.
POLICY_ENDPOINTS: Final = 4


def with_policies(origin_ports: Sequence[int]) -> Scenario:
    """`fifty_routes` with `Policies`. Services share origins, so that each has four endpoints."""
    plain = fifty_routes(origin_ports)
    services = []
    for index, service in enumerate(plain.services):
        ports = [
            origin_ports[(ENDPOINTS_PER_SERVICE * index + step) % len(origin_ports)] for step in range(POLICY_ENDPOINTS)
        ]
        services.append(Service(service.name, tuple(f"127.0.0.1:{port}" for port in ports), ("v1", "v1", "v2", "v2")))
    return replace(plain, services=tuple(services), policies=Policies())


# How many different routes the load visits in a large table: enough to leave no single entry hot, few enough that the
# number of upstream connections stays near that of the small table and does not hide what the table costs.
VISITED: Final = 100


def numbered_routes(count: int, origin_ports: Sequence[int]) -> Scenario:
    """`count` routes, each to a service of its own with one endpoint; ten prefixes per host."""
    services = tuple(
        Service(f"service-{index}", (f"127.0.0.1:{origin_ports[index % len(origin_ports)]}",)) for index in range(count)
    )
    routes = tuple(
        Route(f"route-{index}", f"h{index // 10}.bench.test", f"/v1/{PREFIXES[index % 8]}-{index % 10}", service.name)
        for index, service in enumerate(services)
    )
    step = max(1, count // VISITED)
    requests = tuple(Request(route.host, f"{route.prefix}/items/4711?lang=en") for route in routes[::step])
    return Scenario(routes, services, requests)


def one_service(protocol: Protocol, origin_ports: Sequence[int]) -> Scenario:
    """A TCP or UDP port in front of one service with two endpoints. The requests are those of `fifty_routes`."""
    addresses = tuple(f"127.0.0.1:{port}" for port in origin_ports[:ENDPOINTS_PER_SERVICE])
    requests = fifty_routes(range(1, 1 + ORIGIN_PORTS)).requests
    return Scenario((), (Service("store", addresses),), requests, protocol)


# Where the names of services are, and how long their addresses may be kept.
DNS_ZONE: Final = "service.hivemesh"
DNS_TTL: Final = 5

ADDRESSES_PER_NAME: Final = 4


def service_names(count: int, origin_ports: Sequence[int] = ()) -> Scenario:
    """`count` names of services with four addresses each."""
    services = tuple(
        Service(
            f"s{index}", tuple(f"10.{index >> 8}.{index & 255}.{host + 1}:80" for host in range(ADDRESSES_PER_NAME))
        )
        for index in range(count)
    )
    return Scenario((), services, (), Protocol.DNS)
