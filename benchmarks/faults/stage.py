"""One hivemesh with everything that the scripts ask, and what it looks like at rest.

`Stage.rest` is the judge of what is left behind: it waits until every gauge is at nothing and every process has the
descriptors that it had at the start (and one for each connection that is idle in a pool), and says what is not so.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from benchmarks.faults.asking import Wrong
from benchmarks.faults.control import NOBODY, Control, Role
from benchmarks.faults.origins import HOST, Echo, Http, Resolver, Source, UdpEcho
from benchmarks.proofs.hive import NO_BREAKER, Hive, endpoints, eventually, free_port
from benchmarks.proofs.watch import memory_of

REST_LIMIT: Final = 4.0  # seconds
API_LIMIT: Final = 20.0  # seconds; a reload starts an interpreter, which has to wait where others are busy
MOST_PIPES: Final = 2 * 32  # idle ones are kept, with two ends each
# Gauges that are 0 at rest. `state="active"` stands for what of a pool is used.
GAUGES: Final = (
    "hivemesh_downstream_requests_active",
    "hivemesh_downstream_connections_active",
    "hivemesh_service_requests_active",
    "hivemesh_pending_requests",
    "hivemesh_retries_active",
    "hivemesh_upstream_requests_active",
    "hivemesh_upstream_probes_active",
    "hivemesh_dns_requests_active",
    "hivemesh_dns_forward_active",
)
_SAMPLE: Final = re.compile(rf"^(?:{'|'.join(GAUGES)})(?:{{[^}}]*}})? (?!0(?:\.0)?$)\S+$", re.MULTILINE)
_POOL: Final = re.compile(r'^hivemesh_pool_connections{[^}]*state="(idle|active)"} (\d+)', re.MULTILINE)

CHECK: Final = {"protocol": "http", "path": "/length/check/2", "interval": "300ms", "timeout": "300ms"}
TIMEOUTS: Final = {
    "request_head": "1s",
    "keep_alive": "20s",
    "stream_idle": "1s",
    "connect": "1s",
    "response_header": "1s",
    "upstream_idle": "1h",
    "tcp_idle": "1s",
    "udp_idle": "200ms",
    "drain": "1s",
    "drain_streams": "1s",
    "linger": "500ms",
}


class Stage:
    """Use as a context manager. `name()` gives a name that no request had before."""

    def __init__(self, folder: Path, control: Control | None, config: Mapping[str, Any] | None = None) -> None:
        self.control = control
        self.folder = folder
        self._stack = ExitStack()
        self._names = itertools.count(1)
        self.one, self.two, self.echo, self.source = Http(), Http(), Echo(), Source()
        self.packets, self.resolver = UdpEcho(), Resolver()
        for origin in (self.one, self.two, self.echo, self.source, self.packets, self.resolver):
            self._stack.callback(origin.close)
        self.web, self.tcp, self.bulk, self.udp, self.dns = (free_port() for _ in range(5))
        self.access_log = folder / "access.log"
        self.hive = Hive(
            {**self._config(), **(config or {})}, folder, env=control.environment() if control is not None else None
        )
        self._stack.callback(self.hive.stop)
        self._base: dict[str, tuple[int, int]] = {}
        self._told = 0  # bytes of the log that have been looked at
        self.processes: dict[str, int] = {}

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.control is not None:
            self.control.disarm()
        self._stack.close()

    def name(self) -> str:
        return f"n{next(self._names)}"

    def _config(self) -> dict[str, Any]:
        services = {
            "one": {"endpoints": endpoints(self.one.port)},
            "two": {"endpoints": endpoints(self.one.port, self.two.port)},
            # A new connection for each request.
            "cold": {"endpoints": endpoints(self.one.port, self.two.port), "pool": {"max_idle": 0}},
            "patient": {
                "endpoints": endpoints(self.one.port, self.two.port),
                "pool": {"max_idle": 0},
                "mesh": {"retry": {"max_retries": 2, "retry_on": ["5xx", "connect-failure", "reset"]}},
            },
            "echo": {"endpoints": endpoints(self.echo.port)},
            "source": {"endpoints": endpoints(self.source.port)},
            "packets": {"endpoints": endpoints(self.packets.port)},
            "checked": {
                "endpoints": endpoints(self.one.port),
                "health_check": CHECK,
            },
        }
        for service in services.values():
            service.setdefault("mesh", {})["circuit_breaker"] = NO_BREAKER  # type: ignore[index]
            service["mesh"]["retry"] = service["mesh"].get("retry", {"max_retries": 0})  # type: ignore[index]
        routes = [
            {"name": name, "match": {"headers": {"x-service": name}}, "service": name}
            for name in ("one", "two", "cold", "patient", "checked")
        ]
        return {
            "workers": 1,
            "access_log": {"path": str(self.access_log), "format": "json"},
            "timeouts": TIMEOUTS,
            "registry": {"store": f"sqlite:{self.folder / 'registry.db'}", "min_interval": "50ms"},
            "dns": {
                "address": [f"{HOST}:{self.dns}"],
                "zone": "hivemesh",
                "forward": [f"{HOST}:{self.resolver.port}"],
                "forward_timeout": "500ms",
                "cache_size": 0,
                "tcp_idle": "1s",
            },
            "listeners": [
                {"name": "web", "address": f"{HOST}:{self.web}", "protocol": "http", "routes": routes},
                {"name": "tcp", "address": f"{HOST}:{self.tcp}", "protocol": "tcp", "service": "echo"},
                {"name": "bulk", "address": f"{HOST}:{self.bulk}", "protocol": "tcp", "service": "source"},
                {"name": "udp", "address": f"{HOST}:{self.udp}", "protocol": "udp", "service": "packets"},
            ],
            "services": services,
        }

    # --- at rest ----------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Take what there is now for what there is at rest. Everything has been used once before."""
        self.processes = self.pids()
        eventually(lambda: not self._busy(), "every gauge is at nothing", 10.0)
        pools = self._pools()
        self._base = {name: descriptors(pid) for name, pid in self.processes.items()}
        self._base["worker"] = (self._base["worker"][0] - pools, 0)
        self._told = len(self._output())

    def pids(self) -> dict[str, int]:
        found = {"supervisor": self.hive.pid}
        for line in Path(f"/proc/{self.hive.pid}/task/{self.hive.pid}/children").read_text().split():
            with suppress(OSError):
                words = Path(f"/proc/{line}/cmdline").read_text()
                if "proxy.control.agent" in words:
                    found["agent"] = int(line)
                elif "proxy.control.worker" in words:
                    found["worker"] = int(line)
        return found

    def rest(self, may_die: Role = NOBODY) -> None:
        """Raises Wrong unless everything is as at the beginning. `may_die`: processes that may have been replaced; they
        are then taken as they are now."""
        found = self.pids()
        for name, pid in self.processes.items():
            if found.get(name) != pid:
                if not may_die & Role[name.upper()]:
                    raise Wrong(f"the {name} has died")
                eventually(self._is_whole, "what died is there again", 15.0)
                self.settle()
                return
        deadline = time.monotonic() + REST_LIMIT
        while what := self._busy() or self._excess():
            if time.monotonic() > deadline:
                raise Wrong(f"left behind: {what}")
            time.sleep(0.005)

    def told(self) -> list[str]:
        """What hivemesh has written since the last call, line by line."""
        text = self._output()
        new, self._told = text[self._told :], len(text)
        return new.splitlines()

    def traceback(self) -> str:
        """The first sign of a bug in what it has written since the last call."""
        lines = self.told()
        for number, line in enumerate(lines):
            if "Traceback (most recent call last)" in line or '"event":"bug"' in line or '"event": "bug"' in line:
                rest = "\n".join(lines[number : number + 40])
                return rest[-3000:]
        return ""

    def memory(self) -> dict[str, int]:
        """Private bytes of each process."""
        return {name: memory_of(pid).private for name, pid in self.processes.items()}

    def api(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """Raises OSError, also for an answer that is cut short; TimeoutError is one."""
        connection = HTTPConnection(HOST, self.hive.admin, timeout=API_LIMIT)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            return response.status, response.read().decode()
        except HTTPException as cut:
            raise ConnectionError(repr(cut)) from None
        finally:
            connection.close()

    def _is_whole(self) -> bool:
        with suppress(OSError):
            return self.api("GET", "/readyz")[0] == 200 and {"agent", "worker"} <= self.pids().keys()
        return False

    def _output(self) -> str:
        return (self.folder / "hivemesh.output").read_text(errors="replace")

    def _busy(self) -> str:
        """The first gauge that is not at nothing."""
        try:
            text = self.api("GET", "/metrics")[1]
        except OSError as error:
            return f"the admin API does not answer: {error!r}"
        self._idle = 0
        for state, count in _POOL.findall(text):
            if state == "active" and count != "0":
                return f"{count} connections of a pool are active"
            self._idle += int(count) if state == "idle" else 0
        found = _SAMPLE.search(text)
        return found.group() if found else ""

    def _pools(self) -> int:
        self._busy()
        return self._idle

    def _excess(self) -> str:
        """Descriptors that a process did not have at the beginning. Called after `_busy`, which counts the pools."""
        for name, pid in self.processes.items():
            sockets, others = descriptors(pid)
            base = self._base[name]
            allowed = base[0] + (self._idle if name == "worker" else 0)
            if sockets > allowed or (name != "worker" and others > base[1]) or others > base[1] + MOST_PIPES + 40:
                return f"{name} has {sockets} sockets and {others} other descriptors, {allowed} and {base[1]} at rest"
        return ""


def descriptors(pid: int) -> tuple[int, int]:
    """Sockets, and all others, that a process has open."""
    sockets = others = 0
    folder = f"/proc/{pid}/fd"
    try:
        for entry in os.listdir(folder):
            with suppress(FileNotFoundError):
                if os.readlink(f"{folder}/{entry}").startswith("socket:"):
                    sockets += 1
                else:
                    others += 1
    except FileNotFoundError:
        raise Wrong(f"process {pid} has died") from None
    return sockets, others


def udp_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
