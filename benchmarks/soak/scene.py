"""The stage: addresses, the configuration of each generation, and contents that follow from a name.

Endpoint `e1` has the same ports as `e2`, on another address of loopback, so that A records tell them apart. A
generation is a configuration with a number; every answer carries the number that decided it, once from the request that
the endpoint got and once from hivemesh's own header.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs import content
from benchmarks.proofs.hive import HOST, NO_BREAKER, free_port

Json = dict[str, Any]

# Those that are killed and stopped, and one that never is: of services whose others come and go.
ENDPOINTS: Final = ("e1", "e2", "e3", "e4")
ALWAYS: Final = "e5"
ADDRESSES: Final = {name: f"127.0.0.1{number}" for number, name in enumerate((*ENDPOINTS, ALWAYS), start=1)}

STRATEGIES: Final = ("round_robin", "least_connections", "random", "peak_ewma", "maglev")

# A hung endpoint keeps an attempt for so long; a check that takes longer has failed.
PER_TRY: Final = "1s500ms"

# More than any stop of an endpoint or a worker: what hangs goes on.
RESPONSE_HEAD: Final = 30.0

# Names under this one are answered by the resolver.
FOREIGN: Final = "ext.test"


@dataclass(frozen=True, slots=True)
class Ports:
    """web: HTTP, raw: TCP, dgram: UDP, dns: both. The last four are the endpoints', each on its own address."""

    web: int
    raw: int
    dgram: int
    extra: int
    dns: int
    resolver: int
    http: int
    chat: int
    echo: int
    pong: int


def draw_ports() -> Ports:
    return Ports(*(free_port() for _ in range(10)))


@dataclass(frozen=True, slots=True)
class Scene:
    """drain_streams: seconds that streams of a worker get that leaves. udp_idle: seconds, longer than any stop of an
    endpoint, because the answer to a session that has ended finds nobody."""

    ports: Ports
    folder: Path
    drain_streams: float
    udp_idle: float

    def config(self, number: int, workers: int) -> Json:
        ports = self.ports
        stamp = [
            {"request_headers": {"set": {"x-generation": str(number)}}},
            {"response_headers": {"set": {"x-decided": str(number)}}},
        ]

        def route(name: str, service: str, filters: list[Json] | None = None) -> Json:
            return {"name": name, "match": {"path_prefix": f"/{name}"}, "service": service, "filters": filters or stamp}

        page = {"direct_response": {"status": 200, "body": page_of(number)}}
        routes = [
            route("content", "app"),
            route("upload", "upload"),
            route("flaky", "flaky"),
            route("dyn", "dyn"),
            {"name": "chat", "match": {"path_prefix": "/chat"}, "service": "chat"},
            {"name": "page", "match": {"path": "/page"}, "filters": [page, stamp[1]]},
            *({**route(f"spare-{index}", "app"), "name": f"spare-{index}"} for index in range(number % 7)),
        ]
        listeners: list[Json] = [
            {"name": "web", "address": f"{HOST}:{ports.web}", "routes": routes},
            {"name": "raw", "address": f"{HOST}:{ports.raw}", "protocol": "tcp", "service": "echo"},
            {"name": "dgram", "address": f"{HOST}:{ports.dgram}", "protocol": "udp", "service": "pong"},
        ]
        if number % 2:
            listeners.append({"name": "extra", "address": f"{HOST}:{ports.extra}", "routes": routes[:1]})
        return {
            "workers": workers,
            "timeouts": {
                "worker_hang": "30s",
                "drain": "30s",
                "drain_streams": f"{self.drain_streams:g}s",
                "upstream_idle": "2s",
                "udp_idle": f"{self.udp_idle:g}s",
                "response_header": f"{RESPONSE_HEAD:g}s",
            },
            "access_log": {
                "path": str(self.access_log),
                "format": "json",
                "filters": [{"status": ["400-599"]}, {"sample": "5%"}],
            },
            # What fills up to its size by design is small, so that it is full before growth is looked for.
            "records": {"size": 256, "errors": 32},
            "registry": {"store": f"sqlite:{self.folder / 'registry.db'}"},
            "dns": {
                "address": f"{HOST}:{ports.dns}",
                "ttl": "1s",
                "negative_ttl": "1s",
                "forward": [f"{HOST}:{ports.resolver}"],
                "cache_size": 50,
                # A resolver that is gone is refused at once; one that has no processor for a while is not gone.
                "forward_timeout": "8s",
            },
            "listeners": listeners,
            "services": self._services(number),
        }

    @property
    def access_log(self) -> Path:
        return self.folder / "errors.log"

    def _services(self, number: int) -> Json:
        ports = self.ports
        retry = {
            "max_retries": 4,
            "retry_on": ["5xx", "reset", "connect-failure"],
            "per_try_timeout": PER_TRY,
            # What a stop of an endpoint holds up comes back all at once.
            "budget": {"percent": "100%", "floor": 200},
        }
        breaker = {**NO_BREAKER, "consecutive_errors": 5, "base_ejection_time": "1s", "max_ejection_time": "2s"}

        def service(port: int, checked: int, **more: Any) -> Json:
            return {
                "endpoints": [
                    {
                        "id": name,
                        "address": f"{ADDRESSES[name]}:{port}",
                        "weight": 1 + (number + index) % 3,
                    }
                    for index, name in enumerate(ENDPOINTS)
                ],
                "health_check": {
                    "protocol": "http",
                    "port": checked,
                    "path": "/health",
                    # Three in a row: a machine that is busy for a moment is no reason to take out all of them.
                    "interval": "1s",
                    "timeout": "1s",
                    "transition_interval": "250ms",
                    "unhealthy_threshold": 3,
                    "healthy_threshold": 1,
                },
                "load_balancing": {
                    "strategy": STRATEGIES[number % len(STRATEGIES)],
                    "panic_threshold": "30%",
                },
                **more,
            }

        def endpoints(port: int, breakers: Json, **mesh: Any) -> Json:
            return service(port, ports.http, mesh={"circuit_breaker": breakers, **mesh})

        dyn = {
            "domain": "dyn.soak",
            # Nothing here is under health checks: what the API says of them is all that is known.
            "endpoints": [{"id": "fixed", "address": f"{ADDRESSES[ALWAYS]}:{ports.http}"}],
            "mesh": {"retry": retry, "circuit_breaker": breaker},
        }
        return {
            "app": {
                "domain": "app.soak",
                **endpoints(ports.http, breaker, retry=retry),
            },
            "upload": endpoints(ports.http, breaker),
            "flaky": endpoints(ports.http, NO_BREAKER, retry=retry),
            "chat": endpoints(ports.chat, breaker),
            "echo": endpoints(ports.echo, breaker),
            "pong": service(ports.pong, ports.http),
            "dyn": dyn,
            "stored": {"domain": "stored.soak"},
        }


# What a file may say that is no configuration; each from a good one.
BREAKAGES: Final = (
    lambda config: "listeners: [ { name: web, address: 127.0.0.1:80",
    lambda config: {**config, "sevices": {}},
    lambda config: {**config, "listeners": [*config["listeners"], dict(config["listeners"][0])]},
    lambda config: {**config, "services": {}},
    lambda config: "\x00\x01 this is no text",
)


def page_of(number: int) -> str:
    return f"page {number}\n"


# --- contents -----------------------------------------------------------------------------------------------------


def shift(name: str) -> int:
    """Where in the endless content the body of `name` begins."""
    return zlib.crc32(name.encode()) % content.PERIOD


def body_of(name: str, length: int) -> bytes:
    start = shift(name)
    return b"".join(content.piece(start + at, min(content.MOST, length - at)) for at in range(0, length, content.MOST))


class Expected:
    """Takes the body of `name` piece by piece, of any size; `wrong_at` is where the first wrong piece begins."""

    def __init__(self, name: str) -> None:
        self.length = 0
        self.wrong_at = -1
        self._start = shift(name)
        self._hash = hashlib.sha256()

    def take(self, data: bytes) -> None:
        self._hash.update(data)
        for at in range(0, len(data), content.MOST):
            part = data[at : at + content.MOST]
            if self.wrong_at < 0 and part != content.piece(self._start + self.length, len(part)):
                self.wrong_at = self.length
            self.length += len(part)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def flaky_at(name: str) -> str:
    """The one endpoint that fails the request `name`."""
    return ENDPOINTS[zlib.crc32(name.encode()) % len(ENDPOINTS)]


def address_of(name: str) -> str:
    """What the resolver answers for the label `name` under FOREIGN."""
    return "10." + ".".join(str(byte) for byte in zlib.crc32(name.encode()).to_bytes(4, "big")[:3])
