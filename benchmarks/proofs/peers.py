"""Programs of the system that take part in proofs: nginx as an origin or a proxy, wrk as a crowd.

They run from the proof's folder with configurations of their own and are ended with it; nothing of the system's own
nginx is touched.
"""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.compare import load
from benchmarks.proofs.evidence import ProofError
from benchmarks.proofs.hive import HOST, READY_LIMIT, eventually, tool

_NGINX: Final = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path {folder}/body;
    client_max_body_size 0;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{servers}
}}
"""

# wrk runs until it is interrupted; this only ends one that was forgotten.
_WRK_LIMIT: Final = 900.0
_WRK_FINISH: Final = 15.0


class Nginx:
    """One process with the `servers` blocks, which listen on `ports`. Use as a context manager."""

    def __init__(self, folder: Path, servers: str, ports: Sequence[int], name: str = "nginx") -> None:
        program = tool("nginx", "nginx-light")
        folder = folder / name
        folder.mkdir()
        file = folder / "nginx.conf"
        file.write_text(_NGINX.format(folder=folder, servers=servers))
        self._output = folder / "output"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [program, "-p", str(folder), "-c", str(file), "-e", "stderr"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._ports = ports

    def __enter__(self) -> Nginx:
        try:
            eventually(self._is_ready, "nginx is ready", READY_LIMIT)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise ProofError(f"nginx ended: {self._output.read_text(errors='replace')[-500:]}")
        return all(map(is_listening, self._ports))


def is_listening(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), 1.0).close()
    except OSError:
        return False
    return True


def nginx_version() -> str:
    done = subprocess.run([tool("nginx", "nginx-light"), "-v"], capture_output=True, text=True, timeout=10)
    return done.stderr.strip().rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Text:
    """A finished request."""

    request: str

    def text(self, close: bool) -> str:
        return self.request


class Wrk:
    """wrk with one thread, sending `requests` in turn over `connections` until `finish`. Use as a context manager."""

    def __init__(self, folder: Path, requests: Sequence[str], port: int, connections: int, niceness: int = 0) -> None:
        """`niceness`: how far it stands back for who else has something to do."""
        script = folder / "requests.lua"
        script.write_text(load.wrk_script([Text(request) for request in requests], close=False))  # type: ignore[misc]
        _, *options = load.wrk_command(script, port, _WRK_LIMIT, connections)
        self._process = subprocess.Popen(
            ["nice", "-n", str(niceness), tool("wrk", "wrk"), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Wrk:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def finish(self) -> load.WrkReport:
        """Raises ProofError when it reports nothing."""
        self._process.send_signal(signal.SIGINT)
        output, _ = self._process.communicate(timeout=_WRK_FINISH)
        try:
            return load.parse_wrk(output)
        except load.LoadFailed as problem:
            raise ProofError(str(problem)) from None


def wrk_version() -> str:
    words = subprocess.run([tool("wrk", "wrk"), "-v"], capture_output=True, text=True, timeout=10).stdout.split()
    return words[1] if len(words) > 1 else ""
