"""The four proxies, each as its own manual advises for a server on the edge, with the same four routes.

Everything goes to the origin, but /secret is denied, /moved/x is redirected to /new/x, and /old/x goes on as /new/x.
`STATED` says what of a configuration bears on the attacks; it stands in docs/attacks.md. One worker or thread each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.attacks.case import Door
from benchmarks.attacks.lane import TRUSTED_ADDRESS
from benchmarks.compare.contenders import envoy, haproxy, hivemesh, nginx
from benchmarks.compare.processes import Started, wait_until
from benchmarks.proofs.hive import HOST, Hive, free_port
from benchmarks.proofs.peers import is_listening

Json = dict[str, Any]

READY_LIMIT: Final = 15.0
CORE: Final = 0
ENVOY_TYPES: Final = envoy.TYPES

STATED: Final = {
    "hivemesh": "defaults; `trusted_proxies` names the sender of PROXY headers",
    "haproxy": "`mode http`, `http-reuse safe` (its default), `option forwardfor`; off by default and left off: "
    "`http-request normalize-uri` (experimental), `option http-restrict-req-hdr-names`",
    "nginx": "`proxy_http_version 1.1` with `keepalive`, `Connection` and `Upgrade` by the map of its manual, "
    "`Host $host`, X-Forwarded-For appended, `real_ip_header proxy_protocol`; `merge_slashes` and "
    "`ignore_invalid_headers` on, `underscores_in_headers` off, as by default",
    "envoy": "as “Configuring Envoy as an edge proxy” says: `use_remote_address`, `normalize_path`, `merge_slashes`, "
    "`path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT`, `headers_with_underscores_action: REJECT_REQUEST`; "
    "HTTP/1.0 accepted, upgrades to websocket allowed",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Ports of one lane: the proxy's two listeners, and the origin's."""

    plain: int
    proxy: int
    origin: int

    @property
    def ports(self) -> dict[Door, int]:
        return {Door.PLAIN: self.plain, Door.PROXY: self.proxy}


class Contender:
    """`missing()`: one sentence that says what is not installed, or ""."""

    name = ""

    def missing(self) -> str:
        raise NotImplementedError

    def version(self) -> str:
        raise NotImplementedError

    def command(self, places: Sequence[Place], folder: Path) -> tuple[str, ...]:
        """Write its configuration; what starts it."""
        raise NotImplementedError

    @contextmanager
    def serving(self, places: Sequence[Place], folder: Path) -> Iterator[None]:
        """Started inside the block. RuntimeError with its last words when it does not start."""
        with Started(self.command(places, folder), CORE, folder, folder / "output") as process:
            ready = wait_until(
                lambda: process.has_ended or all(is_listening(place.plain) for place in places), READY_LIMIT
            )
            if not ready or process.has_ended:
                raise RuntimeError(f"{self.name} does not serve: {process.last_words()}")
            yield
            if process.has_ended:
                raise RuntimeError(f"{self.name} has ended: {process.last_words()}")


class HivemeshContender(Contender):
    name = "hivemesh"

    def missing(self) -> str:
        return ""

    def version(self) -> str:
        return hivemesh.Hivemesh().version()

    @contextmanager
    def serving(self, places: Sequence[Place], folder: Path) -> Iterator[None]:
        with Hive(hivemesh_config(places), folder) as hive:
            yield
            bugs = hive.bugs()
        if bugs:
            raise RuntimeError(f"hivemesh has a bug: {bugs[:3]}")


def hivemesh_config(places: Sequence[Place]) -> Json:
    listeners = []
    services = {}
    for number, place in enumerate(places):
        service = f"origin-{number}"
        services[service] = {"endpoints": [{"id": "e1", "address": f"{HOST}:{place.origin}"}]}
        routes = [
            {
                "name": "secret",
                "match": {"path_prefix": "/secret"},
                "filters": [{"direct_response": {"status": 403, "body": "no\n"}}],
            },
            {"name": "moved", "match": {"path_prefix": "/moved"}, "filters": [{"redirect": {"path_prefix": "/new"}}]},
            {
                "name": "old",
                "match": {"path_prefix": "/old"},
                "service": service,
                "filters": [{"url_rewrite": {"path_prefix": "/new"}}],
            },
            {"name": "all", "service": service},
        ]
        common = {"protocol": "http", "routes": routes}
        listeners.append({"name": f"plain-{number}", "address": f"{HOST}:{place.plain}", **common})
        listeners.append(
            {
                "name": f"proxy-{number}",
                "address": f"{HOST}:{place.proxy}",
                "proxy_protocol": "receive",
                **common,
            }
        )
    return {
        "listeners": listeners,
        "services": services,
        "trusted_proxies": [f"{TRUSTED_ADDRESS}/32"],
    }


class HaproxyContender(Contender):
    name = "haproxy"

    def missing(self) -> str:
        return haproxy.HAProxy().missing()

    def version(self) -> str:
        return haproxy.HAProxy().version()

    def command(self, places: Sequence[Place], folder: Path) -> tuple[str, ...]:
        config = folder / "haproxy.cfg"
        config.write_text(haproxy_config(places))
        assert haproxy.PROGRAM
        return (haproxy.PROGRAM, "-db", "-f", str(config))


def haproxy_config(places: Sequence[Place]) -> str:
    parts = [
        """global
  nbthread 1
  maxconn 1000

defaults
  mode http
  option forwardfor
  timeout connect 5s
  timeout client 15s
  timeout server 15s
  timeout http-request 10s
  timeout http-keep-alive 60s
"""
    ]
    for number, place in enumerate(places):
        parts.append(f"""
frontend f{number}
  bind {HOST}:{place.plain}
  bind {HOST}:{place.proxy} accept-proxy
  http-request deny if {{ path /secret }} or {{ path_beg /secret/ }}
  http-request redirect location %[path,regsub(^/moved/,/new/)] if {{ path_beg /moved/ }}
  http-request replace-path ^/old/(.*) /new/\\1
  default_backend b{number}

backend b{number}
  server s {HOST}:{place.origin}
""")
    return "".join(parts)


class NginxContender(Contender):
    name = "nginx"

    def missing(self) -> str:
        return nginx.Nginx().missing()

    def version(self) -> str:
        return nginx.Nginx().version()

    def command(self, places: Sequence[Place], folder: Path) -> tuple[str, ...]:
        config = folder / "nginx.conf"
        config.write_text(nginx_config(places, folder))
        return nginx.foreground(config, folder)


def nginx_config(places: Sequence[Place], folder: Path) -> str:
    parts = [
        f"""{nginx.start_of_file(folder)}http {{
{nginx.temporary_paths(folder)}  access_log off;
  server_tokens off;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  proxy_http_version 1.1;
  proxy_set_header Host $host;
  proxy_set_header Connection $connection_upgrade;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_connect_timeout 5s;
  proxy_read_timeout 15s;
  client_header_timeout 10s;
  proxy_request_buffering off;
  set_real_ip_from {TRUSTED_ADDRESS};
  real_ip_header proxy_protocol;
"""
    ]
    for number, place in enumerate(places):
        parts.append(f"""
  upstream u{number} {{
    server {HOST}:{place.origin};
    keepalive 16;
  }}
  server {{
    listen {HOST}:{place.plain};
    listen {HOST}:{place.proxy} proxy_protocol;
    server_name a.test;
    location = /secret {{ return 403; }}
    location /secret/ {{ return 403; }}
    location /moved/ {{ rewrite ^/moved/(.*)$ /new/$1 redirect; }}
    location /old/ {{ proxy_pass http://u{number}/new/; }}
    location / {{ proxy_pass http://u{number}; }}
  }}
""")
    return "".join(parts) + "}\n"


class EnvoyContender(Contender):
    name = "envoy"

    def missing(self) -> str:
        return envoy.Envoy().missing()

    def version(self) -> str:
        return envoy.Envoy().version()

    def command(self, places: Sequence[Place], folder: Path) -> tuple[str, ...]:
        config = folder / "envoy.json"
        config.write_text(json.dumps(envoy_config(places), indent=1))
        return (
            str(envoy.program()),
            *("--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c", str(config)),
        )


def envoy_config(places: Sequence[Place]) -> Json:
    listeners: list[Json] = []
    clusters: list[Json] = []
    for number, place in enumerate(places):
        cluster = f"c{number}"
        manager = _manager(cluster)
        for name, port in (("plain", place.plain), ("proxy", place.proxy)):
            listener: Json = {
                "name": f"{name}{number}",
                "address": _address(port),
                "filter_chains": [
                    {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
                ],
            }
            if name == "proxy":
                listener["listener_filters"] = [
                    {
                        "name": "envoy.filters.listener.proxy_protocol",
                        "typed_config": {
                            "@type": f"{ENVOY_TYPES}.filters.listener.proxy_protocol.v3.ProxyProtocol",
                        },
                    }
                ]
            listeners.append(listener)
        clusters.append(
            {
                "name": cluster,
                "type": "STATIC",
                "connect_timeout": "5s",
                "load_assignment": {
                    "cluster_name": cluster,
                    "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(place.origin)}}]}],
                },
            }
        )
    return {
        "admin": {"address": _address(free_port())},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def _address(port: int) -> Json:
    return {"socket_address": {"address": HOST, "port_value": port}}


def _manager(cluster: str) -> Json:
    routes: list[Json] = [
        {"match": {"path_separated_prefix": "/secret"}, "direct_response": {"status": 403}},
        {"match": {"prefix": "/moved/"}, "redirect": {"prefix_rewrite": "/new/", "response_code": "FOUND"}},
        {"match": {"prefix": "/old/"}, "route": {"cluster": cluster, "prefix_rewrite": "/new/"}},
        {"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "15s"}},
    ]
    return {
        "@type": f"{ENVOY_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "web",
        "codec_type": "HTTP1",
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "request_headers_timeout": "10s",
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "a.test"},
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{ENVOY_TYPES}.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "name": "web",
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}],
        },
    }


CONTENDERS: Final = {
    contender.name: contender
    for contender in (HivemeshContender(), HaproxyContender(), NginxContender(), EnvoyContender())
}
