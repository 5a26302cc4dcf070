"""DNS servers with the names and addresses of a scenario: Knot, unbound and dnsmasq, each with one thread for UDP.

Knot serves a zone, as an authoritative server does; unbound its `local-data`, dnsmasq a file of hosts. All answer with
the same records, authoritatively and without asking anybody.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import Final

from benchmarks.compare.contenders.contender import Command, Setup
from benchmarks.compare.traffic import DNS_TTL, DNS_ZONE, Scenario

PATH: Final = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"


def records(scenario: Scenario) -> list[tuple[str, str]]:
    """Name and IP address of every record, without the port that services have."""
    return [
        (f"{service.name}.{DNS_ZONE}", address.rpartition(":")[0])
        for service in scenario.services
        for address in service.addresses
    ]


def zone_file(scenario: Scenario) -> str:
    head = f"$ORIGIN {DNS_ZONE}.\n$TTL {DNS_TTL}\n@ SOA ns hostmaster 1 3600 600 86400 {DNS_TTL}\n"
    head += "@ NS ns\nns A 127.0.0.1\n"
    return head + "".join(f"{name}. A {address}\n" for name, address in records(scenario))


def render_knot(setup: Setup) -> dict[str, str]:
    folder = setup.folder
    config = f"""server:
    rundir: "{folder}"
    listen: 127.0.0.1@{setup.port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{folder}"
log:
  - target: stderr
    any: warning
template:
  - id: default
    storage: "{folder}"
    zonefile-sync: -1
    journal-content: none
zone:
  - domain: {DNS_ZONE}.
    file: zone
"""
    return {"knot.conf": config, "zone": zone_file(setup.scenario)}


def render_unbound(setup: Setup) -> dict[str, str]:
    data = "".join(f'  local-data: "{name}. {DNS_TTL} IN A {address}"\n' for name, address in records(setup.scenario))
    config = f"""server:
  interface: 127.0.0.1@{setup.port}
  num-threads: 1
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{setup.folder}"
  pidfile: ""
  use-syslog: no
  logfile: ""
  verbosity: 0
  module-config: "iterator"
  local-zone: "{DNS_ZONE}." static
{data}remote-control:
  control-enable: no
"""
    return {"unbound.conf": config}


def render_dnsmasq(setup: Setup) -> dict[str, str]:
    config = f"""keep-in-foreground
no-resolv
no-hosts
no-poll
bind-interfaces
listen-address=127.0.0.1
port={setup.port}
user=
log-facility=-
local=/{DNS_ZONE}/
local-ttl={DNS_TTL}
addn-hosts={setup.folder}/hosts
"""
    hosts = "".join(f"{address} {name}\n" for name, address in records(setup.scenario))
    return {"dnsmasq.conf": config, "hosts": hosts}


class DnsServer:
    """A program that reads `files[0]` of what `render` gives: file names and their texts."""

    def __init__(
        self,
        name: str,
        package: str,
        program: str,
        version: tuple[str, ...],
        render: Callable[[Setup], dict[str, str]],
        arguments: Callable[[str], tuple[str, ...]],
    ) -> None:
        self.name = name
        self._package = package
        self._program = program
        self._version = version
        self._render = render
        self._arguments = arguments

    def missing(self) -> str:
        if shutil.which(self._program, path=PATH):
            return ""
        return f"{self._program} is not installed (on Debian: apt install {self._package})"

    def version(self) -> str:
        done = subprocess.run([self._found(), *self._version], capture_output=True, text=True, timeout=10)
        words = (done.stdout or done.stderr).partition("\n")[0].replace(",", " ").split()
        return next((word for word in words if word[:1].isdigit()), "unknown")

    def command(self, setup: Setup) -> Command:
        files = self._render(setup)
        for name, text in files.items():
            (setup.folder / name).write_text(text)
        config = str(setup.folder / next(iter(files)))
        return Command((self._found(), *self._arguments(config)), setup.folder, setup.folder / "output")

    def _found(self) -> str:
        return shutil.which(self._program, path=PATH) or self._program


KNOT: Final = DnsServer("knot", "knot", "knotd", ("--version",), render_knot, lambda config: ("-c", config))
UNBOUND: Final = DnsServer(
    "unbound", "unbound", "unbound", ("-V",), render_unbound, lambda config: ("-d", "-c", config)
)
DNSMASQ: Final = DnsServer(
    "dnsmasq", "dnsmasq-base", "dnsmasq", ("--version",), render_dnsmasq, lambda config: (f"--conf-file={config}",)
)
