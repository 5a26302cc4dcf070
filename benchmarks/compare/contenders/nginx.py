"""nginx: one worker, keep-alive upstreams over HTTP/1.1, locations by prefix and a map for the header match.

TCP and UDP are served by its stream module, which Debian ships in a package of its own.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.compare.contenders import contender
from benchmarks.compare.contenders.contender import Command, Setup
from benchmarks.compare.traffic import BETA_HEADER, Protocol, Route, Scenario

PROGRAM: Final = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")

STREAM_MODULE: Final = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

# nginx closes a connection after 1,000 requests unless told otherwise, on both sides.
UNLIMITED_REQUESTS: Final = 1_000_000_000

JSON_LOG: Final = (
    "log_format bench escape=json '{"
    '"ts":"$time_iso8601","duration":"$request_time","method":"$request_method","host":"$host","path":"$request_uri",'
    '"protocol":"$server_protocol","status":"$status","upstream_status":"$upstream_status","endpoint":"$upstream_addr",'
    '"bytes_in":"$request_length","bytes_out":"$bytes_sent","client":"$remote_addr","user_agent":"$http_user_agent"'
    "}';"
)


def start_of_file(folder: Path) -> str:
    """What the origin and the proxy share: one worker in the foreground that leaves nothing outside `folder`."""
    return f"""worker_processes 1;
worker_rlimit_nofile 20000;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections 19000; }}
"""


def temporary_paths(folder: Path) -> str:
    words = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "".join(f"  {word}_temp_path {folder}/{word}_temp;\n" for word in words)


def _location(route: Route, variants: dict[tuple[str, str], str]) -> str:
    target = variants.get((route.host, route.prefix), route.service)
    return f"    location {route.prefix}/ {{ proxy_pass http://{target}; }}\n"


def render(setup: Setup) -> str:
    scenario: Scenario = setup.scenario
    beta = {(route.host, route.prefix): route for route in scenario.routes if route.header is not None}
    plain = [route for route in scenario.routes if route.header is None]
    # A map per pair (with the header, without it), not per route: nginx shares them between locations.
    variants: dict[tuple[str, str], str] = {}
    pairs: dict[str, str] = {}
    for route in plain:
        other = beta.get((route.host, route.prefix))
        if other is not None and other.header is not None:
            variable = f"${route.service}_or_{other.service}"
            variants[(route.host, route.prefix)] = variable
            header = BETA_HEADER.replace("-", "_")
            pairs[variable] = (
                f'  map $http_{header} {variable} {{ default {route.service}; "{other.header[1]}" {other.service}; }}\n'
            )
    upstreams = "".join(
        f"  upstream {service.name} {{\n"
        + "".join(f"    server {address};\n" for address in service.addresses)
        + f"    keepalive {contender.POOLED_PER_ENDPOINT * len(service.addresses)};\n"
        + f"    keepalive_requests {UNLIMITED_REQUESTS};\n    keepalive_timeout {contender.UPSTREAM_IDLE}s;\n  }}\n"
        for service in scenario.services
    )
    hosts: dict[str, list[Route]] = {}
    for route in plain:
        hosts.setdefault(route.host, []).append(route)
    servers = "".join(
        f"  server {{\n    listen 127.0.0.1:{setup.port};\n    server_name {host};\n"
        + "".join(_location(route, variants) for route in routes)
        + "  }\n"
        for host, routes in hosts.items()
    )
    log = (
        f"{JSON_LOG}\n  access_log {setup.access_log} bench buffer=64k flush=1s;"
        if setup.access_log
        else "access_log off;"
    )
    return f"""{start_of_file(setup.folder)}http {{
{temporary_paths(setup.folder)}  {log}
  server_tokens off;
  tcp_nodelay on;
  keepalive_timeout {contender.CLIENT_KEEP_ALIVE}s;
  keepalive_requests {UNLIMITED_REQUESTS};
  client_header_timeout {contender.REQUEST_HEAD_TIMEOUT}s;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_connect_timeout {contender.CONNECT_TIMEOUT}s;
  proxy_read_timeout {contender.REQUEST_TIMEOUT}s;
  proxy_send_timeout {contender.REQUEST_TIMEOUT}s;
  proxy_next_upstream error timeout;
{"".join(pairs.values())}{upstreams}  server {{
    listen 127.0.0.1:{setup.admin_port};
    location / {{ stub_status; }}
  }}
{servers}}}
"""


def render_stream(setup: Setup) -> str:
    (service,) = setup.scenario.services
    servers = "".join(f"    server {address};\n" for address in service.addresses)
    is_udp = setup.scenario.protocol is Protocol.UDP
    return f"""load_module {STREAM_MODULE};
{start_of_file(setup.folder)}stream {{
  access_log off;
  tcp_nodelay on;
  upstream {service.name} {{
{servers}  }}
  server {{
    listen 127.0.0.1:{setup.port}{" udp" if is_udp else ""};
    proxy_pass {service.name};
    proxy_connect_timeout {contender.CONNECT_TIMEOUT}s;
    proxy_timeout {contender.SESSION_IDLE if is_udp else contender.STREAM_IDLE}s;
  }}
}}
http {{
{temporary_paths(setup.folder)}  access_log off;
  server {{
    listen 127.0.0.1:{setup.admin_port};
    location / {{ stub_status; }}
  }}
}}
"""


def render_origin(ports: Sequence[int], body: str, folder: Path) -> str:
    """The server behind every proxy: answers at once, and never closes a connection by itself."""
    listens = "".join(f"    listen 127.0.0.1:{port};\n" for port in ports)
    return f"""{start_of_file(folder)}http {{
{temporary_paths(folder)}  access_log off;
  default_type application/json;
  tcp_nodelay on;
  keepalive_timeout 1h;
  keepalive_requests {UNLIMITED_REQUESTS};
  server {{
{listens}    location / {{ return 200 '{body}'; }}
  }}
}}
"""


def foreground(config: Path, folder: Path) -> tuple[str, ...]:
    assert PROGRAM
    return (PROGRAM, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config))


class Nginx:
    """`streams`: for TCP and UDP, which need the stream module too."""

    name = "nginx"

    def __init__(self, streams: bool = False) -> None:
        self.streams = streams

    def missing(self) -> str:
        if not PROGRAM:
            return "nginx is not installed (on Debian: apt install nginx)"
        if self.streams and not STREAM_MODULE.exists():
            return "nginx has no stream module (on Debian: apt install libnginx-mod-stream)"
        return ""

    def version(self) -> str:
        assert PROGRAM
        output = subprocess.run([PROGRAM, "-v"], capture_output=True, text=True, timeout=10, check=True).stderr
        return output.strip().rpartition("/")[2]

    def command(self, setup: Setup) -> Command:
        config = setup.folder / "nginx.conf"
        config.write_text(render(setup) if setup.scenario.protocol is Protocol.HTTP else render_stream(setup))
        return Command(foreground(config, setup.folder), setup.folder, setup.folder / "output")
