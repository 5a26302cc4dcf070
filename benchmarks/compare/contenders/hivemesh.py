"""hivemesh: one worker. Its supervisor and agent count as part of it, in CPU and in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.compare.contenders import contender
from benchmarks.compare.contenders.contender import Command, Setup
from benchmarks.compare.traffic import DNS_TTL, Policies, Protocol, Route, Service

CHECKOUT: Final = Path(__file__).resolve().parents[3]

Json = dict[str, object]


def _route(route: Route) -> Json:
    match: Json = {"host": route.host, "path_prefix": route.prefix}
    if route.header is not None:
        match["headers"] = {route.header[0]: route.header[1]}
    return {
        "name": route.name,
        "match": match,
        "service": route.service,
        "timeout": f"{contender.REQUEST_TIMEOUT}s",
    }


def _endpoints(service: Service) -> list[Json]:
    endpoints: list[Json] = []
    for index, address in enumerate(service.addresses):
        version: Json = {"version": service.versions[index]} if service.versions else {}
        endpoints.append({"id": f"{service.name}-{index}", "address": address, **version})
    return endpoints


def _policies(policies: Policies) -> Json:
    return {
        "load_balancing": "least_connections",
        "traffic_split": [{"version": version, "weight": weight} for version, weight in policies.shares],
        "health_check": {"protocol": "tcp", "interval": f"{policies.check_interval}s", "timeout": "1s"},
        "mesh": {
            "retry": {"max_retries": policies.max_retries, "retry_on": ["5xx", "connect-failure"]},
            "circuit_breaker": {
                "max_connections": policies.max_connections,
                "max_pending_requests": policies.max_pending,
                "max_requests": policies.max_requests,
                "max_retries": policies.max_retries,
                "consecutive_errors": policies.errors,
            },
            "rate_limit": {"requests": policies.rate_per_s, "per": "1s", "key": "client_ip"},
        },
    }


def render(setup: Setup) -> Json:
    """The configuration as JSON, which is YAML."""
    log: Json = {"path": str(setup.access_log), "format": "json"} if setup.access_log else {"format": "off"}
    policies = setup.scenario.policies
    common = _policies(policies) if policies is not None else {}
    services = {service.name: {"endpoints": _endpoints(service), **common} for service in setup.scenario.services}
    return {
        "workers": 1,
        "admin": {"address": f"127.0.0.1:{setup.admin_port}"},
        "access_log": log,
        "limits": {"connections": contender.MAX_CONNECTIONS + 100},
        "timeouts": {
            "connect": f"{contender.CONNECT_TIMEOUT}s",
            "request_head": f"{contender.REQUEST_HEAD_TIMEOUT}s",
            "keep_alive": f"{contender.CLIENT_KEEP_ALIVE}s",
            "upstream_idle": f"{contender.UPSTREAM_IDLE}s",
        },
        **_served(setup),
        "services": services,
    }


def _served(setup: Setup) -> Json:
    if setup.scenario.protocol is Protocol.DNS:
        return {"dns": {"address": f"127.0.0.1:{setup.port}", "ttl": f"{DNS_TTL}s"}}
    return {"listeners": [_listener(setup)]}


def _listener(setup: Setup) -> Json:
    address = f"127.0.0.1:{setup.port}"
    protocol = setup.scenario.protocol
    if protocol is Protocol.HTTP:
        routes = [_route(route) for route in setup.scenario.routes]
        return {"name": "web", "address": address, "protocol": "http", "routes": routes}
    (service,) = setup.scenario.services
    return {"name": "store", "address": address, "protocol": protocol.value, "service": service.name}


class Hivemesh:
    """`tree` is the folder that holds the packages: the checkout, or a copy in which only the kernels are compiled."""

    def __init__(self, tree: Path = CHECKOUT, name: str = "hivemesh") -> None:
        self.tree = tree
        self.name = name

    def missing(self) -> str:
        if (self.tree / "proxy" / "__main__.py").is_file():
            return ""
        return f"{self.name} is not there: {self.tree} holds no proxy/__main__.py"

    def version(self) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "proxy", "version"], cwd=self.tree, capture_output=True, text=True, timeout=30
        )
        # The first line says whether the request path is compiled; the others, which modules.
        return (
            done.stdout.partition("\n")[0].removeprefix("hivemesh ")
            or f"unknown (`version` ended with {done.returncode})"
        )

    def command(self, setup: Setup) -> Command:
        config = setup.folder / "hivemesh.yaml"
        config.write_text(json.dumps(render(setup), indent=1))
        argv = (sys.executable, "-m", "proxy", "run", "-c", str(config))
        return Command(argv, self.tree, setup.folder / "output")
