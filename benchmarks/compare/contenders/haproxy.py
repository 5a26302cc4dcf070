"""HAProxy: one thread, routes in prefix-tree maps (its manual's advice for many rules), connections reused always.

As a TCP proxy it can let the kernel move the bytes (`option splice-auto`); with and without are both worth a lane.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from benchmarks.compare.contenders import contender
from benchmarks.compare.contenders.contender import Command, Setup
from benchmarks.compare.traffic import BETA_HEADER, Policies, Protocol, Scenario, Service

PROGRAM: Final = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


def maps(scenario: Scenario) -> tuple[str, str]:
    """Two maps from host and path prefix to a backend: routes without and with the header match."""
    plain = [f"{route.host}{route.prefix} {route.service}\n" for route in scenario.routes if route.header is None]
    beta = [f"{route.host}{route.prefix} {route.service}\n" for route in scenario.routes if route.header is not None]
    return "".join(plain), "".join(beta)


def render(setup: Setup) -> str:
    plain, beta = setup.folder / "plain.map", setup.folder / "beta.map"
    log = "  log stdout format raw local0 info\n  option httplog\n" if setup.access_log else ""
    policies = setup.scenario.policies
    backends = "".join(_backend(service, policies) for service in setup.scenario.services)
    limit = _rate_limit(policies) if policies else ""
    retry_on = "conn-failure empty-response" + (" 502 503 504" if policies else "")
    return f"""global
  nbthread 1
  maxconn {contender.MAX_CONNECTIONS}

defaults
  mode http
  http-reuse always
  option forwardfor
  option redispatch 1
  retries 3
  retry-on {retry_on}
  timeout connect {contender.CONNECT_TIMEOUT}s
  timeout client {contender.REQUEST_TIMEOUT}s
  timeout server {contender.REQUEST_TIMEOUT}s
  timeout http-request {contender.REQUEST_HEAD_TIMEOUT}s
  timeout http-keep-alive {contender.CLIENT_KEEP_ALIVE}s
  default-server pool-purge-delay {contender.UPSTREAM_IDLE}s
{log}
frontend web
  bind 127.0.0.1:{setup.port}
  maxconn {contender.MAX_CONNECTIONS}
{limit}  use_backend %[base,map_beg({beta})] if {{ req.hdr({BETA_HEADER}) 1 }} {{ base,map_beg({beta}) -m found }}
  use_backend %[base,map_beg({plain})]

frontend statistics
  bind 127.0.0.1:{setup.admin_port}
  no log
  stats enable
  stats uri /
{backends}"""


# Two for each connection of a bulk transfer. By default HAProxy wants a quarter of maxconn, which passes the limit of
# descriptors.
MAX_PIPES: Final = 64


def render_tcp(setup: Setup, splice: bool) -> str:
    (service,) = setup.scenario.services
    pipes, option = (f"  maxpipes {MAX_PIPES}\n", "  option splice-auto\n") if splice else ("", "")
    return f"""global
  nbthread 1
  maxconn {contender.MAX_CONNECTIONS}
{pipes}
defaults
  mode tcp
  option redispatch 1
  retries 3
  timeout connect {contender.CONNECT_TIMEOUT}s
  timeout client {contender.STREAM_IDLE}s
  timeout server {contender.STREAM_IDLE}s
{option}
frontend store
  bind 127.0.0.1:{setup.port}
  maxconn {contender.MAX_CONNECTIONS}
  default_backend {service.name}

frontend statistics
  bind 127.0.0.1:{setup.admin_port}
  mode http
  stats enable
  stats uri /
{_backend(service)}"""


def _rate_limit(policies: Policies) -> str:
    return f"""  stick-table type ip size 100k expire 10s store http_req_rate(1s)
  http-request track-sc0 src
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {policies.rate_per_s} }}
"""


def _backend(service: Service, policies: Policies | None = None) -> str:
    """With policies: two servers drawn by weight and the less busy of them taken, limits per server and in the queue,
    checks, and errors of real requests that mark a server down. HAProxy has no limit of requests of a backend; the
    nearest are those of its servers."""
    if policies is None:
        servers = (f"  server {service.name}-{index} {address}\n" for index, address in enumerate(service.addresses))
        return f"\nbackend {service.name}\n  balance roundrobin\n" + "".join(servers)
    shares = dict(policies.shares)
    options = (
        f"check inter {policies.check_interval}s maxconn {policies.max_connections} maxqueue {policies.max_pending} "
        f"observe layer7 error-limit {policies.errors} on-error mark-down"
    )
    lines = [
        f"  server {service.name}-{index} {address} weight {shares[version]} {options}\n"
        for index, (address, version) in enumerate(zip(service.addresses, service.versions, strict=True))
    ]
    return f"\nbackend {service.name}\n  balance random(2)\n" + "".join(lines)


class HAProxy:
    def __init__(self, name: str = "haproxy", splice: bool = False) -> None:
        self.name = name
        self.splice = splice

    def missing(self) -> str:
        return "" if PROGRAM else "haproxy is not installed (on Debian: apt install haproxy)"

    def version(self) -> str:
        assert PROGRAM
        output = subprocess.run([PROGRAM, "-v"], capture_output=True, text=True, timeout=10, check=True).stdout
        return output.split()[2]

    def command(self, setup: Setup) -> Command:
        assert PROGRAM
        config = setup.folder / "haproxy.cfg"
        output: Path = setup.access_log or setup.folder / "output"
        started = Command((PROGRAM, "-db", "-f", str(config)), setup.folder, output)
        if setup.scenario.protocol is Protocol.TCP:
            config.write_text(render_tcp(setup, self.splice))
            return started
        plain, beta = maps(setup.scenario)
        (setup.folder / "plain.map").write_text(plain)
        (setup.folder / "beta.map").write_text(beta)
        config.write_text(render(setup))
        return started
