"""PostgreSQL and Redis as origins, with the load generators that come with them.

Each server is private: its own folder, a port of loopback, no durability, and a user without rights (PostgreSQL does
not run as root). Nothing of the system's own instances is touched. pgbench and redis-benchmark are told what to do in
numbers, so that the servers' own counters can be compared with what was asked.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from benchmarks.proofs.evidence import MissingTool, ProofError
from benchmarks.proofs.hive import HOST, eventually, free_port, tool

START_LIMIT: Final = 60.0
STOP_LIMIT: Final = 20.0

# What a load generator may need beyond the time that it was given.
GRACE: Final = 60.0

USER: Final = "bench"  # of the database
UNPRIVILEGED: Final = ("postgres", "nobody")

# Of an instance that nobody will miss.
POSTGRES_SETTINGS: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "200",
    "log_min_messages": "fatal",
}


class Server:
    """A server program in a folder of its own. Use as a context manager."""

    # How it is asked to end although clients are still connected.
    ending = signal.SIGTERM

    def __init__(self, name: str) -> None:
        self.port = free_port()
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix=f"hivemesh-{name}-"))
        self._user = _unprivileged() if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        raise NotImplementedError

    def is_ready(self) -> bool:
        try:
            socket.create_connection((HOST, self.port), 1.0).close()
        except OSError:
            return False
        return True

    def __enter__(self) -> Self:
        try:
            self.start()
            eventually(self._is_up, f"{self._name} answers", START_LIMIT)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, *command: str) -> str:
        """A program to its end, as the server's user."""
        done = subprocess.run(
            [*self._as_user(), *command], cwd=self.folder, capture_output=True, text=True, timeout=START_LIMIT
        )
        if done.returncode:
            raise ProofError(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def launch(self, *command: str) -> None:
        with (self.folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [*self._as_user(), *command],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self.ending)
            try:
                self._process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _as_user(self) -> tuple[str, ...]:
        """setpriv becomes the program, so that the process id stays the server's."""
        if self._user is None:
            return ()
        ids = f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}"
        return (tool("setpriv", "util-linux"), *ids, "--clear-groups", "--")

    def _is_up(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise ProofError(f"{self._name} ended: {(self.folder / 'output').read_text(errors='replace')[-500:]}")
        return self.is_ready()


def _unprivileged() -> pwd.struct_passwd:
    for name in UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise MissingTool(f"none of the users {', '.join(UNPRIVILEGED)} exists, and PostgreSQL does not run as root")


# --- PostgreSQL -------------------------------------------------------------------------------------------------


def postgres_program(name: str) -> str:
    """Debian keeps PostgreSQL's programs by version, out of PATH."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    if found:
        return found[-1]
    return tool(name, "postgresql postgresql-client postgresql-contrib")


class Postgres(Server):
    """A fresh cluster with pgbench's tables, `scale` times 100,000 accounts."""

    ending = signal.SIGINT  # SIGTERM waits for the clients

    def __init__(self, scale: int = 1) -> None:
        self._programs = {name: postgres_program(name) for name in ("initdb", "postgres", "pgbench", "psql")}
        self._scale = scale
        super().__init__("postgres")

    def start(self) -> None:
        data = str(self.folder / "data")
        self.run(self._programs["initdb"], "-D", data, "-U", USER, "-A", "trust", "-N", "--locale=C", "-E", "UTF8")
        settings = [word for name, value in POSTGRES_SETTINGS.items() for word in ("-c", f"{name}={value}")]
        sockets = f"unix_socket_directories={self.folder}"
        self.launch(self._programs["postgres"], "-D", data, "-h", HOST, "-p", str(self.port), "-c", sockets, *settings)
        eventually(self._is_up, "postgres answers", START_LIMIT)
        self.run(self._programs["pgbench"], *_where(self.port), "-i", "-q", "-s", str(self._scale), "postgres")

    def is_ready(self) -> bool:
        try:
            return self.ask("select 1") == "1"
        except ProofError:
            return False

    def ask(self, query: str, port: int = 0) -> str:
        """The answer to a query, of the server itself or of whoever listens on `port`."""
        return self.run(self._programs["psql"], *_where(port or self.port), "-AtXq", "-c", query, "postgres").strip()

    def history(self) -> int:
        """How many of pgbench's transactions have been committed here."""
        return int(self.ask("select count(*) from pgbench_history"))

    @staticmethod
    def version() -> str:
        done = subprocess.run([postgres_program("postgres"), "-V"], capture_output=True, text=True, timeout=10)
        return done.stdout.split()[2]


def _where(port: int) -> tuple[str, ...]:
    return ("-h", HOST, "-p", str(port), "-U", USER)


@dataclass(frozen=True, slots=True)
class PgbenchReport:
    """`complaints` are the lines that pgbench wrote to standard error."""

    transactions: int
    failed: int
    latency: float  # mean, seconds
    complaints: tuple[str, ...]


class Load:
    """A load generator that runs beside others. Use as a context manager."""

    def __init__(self, argv: Sequence[str], seconds: float) -> None:
        self._name = Path(argv[0]).name
        self._limit = seconds + GRACE
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def finish(self) -> tuple[str, tuple[str, ...]]:
        """What it wrote to standard output, and the lines of standard error; a code other than 0 is among them."""
        try:
            output, errors = self._process.communicate(timeout=self._limit)
        except subprocess.TimeoutExpired:
            raise ProofError(f"{self._name} did not end within {self._limit:g} s") from None
        lines = [line for line in errors.splitlines() if line.strip()]
        if self._process.returncode:
            lines.append(f"{self._name} ended with {self._process.returncode}")
        return output, tuple(lines)


def pgbench_command(port: int, seconds: float, clients: int, reconnect: bool = False) -> tuple[str, ...]:
    """`reconnect`: a new connection for each transaction, which then only reads."""
    options = ("-C", "-S") if reconnect else ()
    length = ("-T", str(max(1, round(seconds))))
    return (postgres_program("pgbench"), *_where(port), "-n", "-c", str(clients), *length, *options, "postgres")


def parse_pgbench(output: str, complaints: Sequence[str] = ()) -> PgbenchReport:
    def number(words: str) -> float:
        found = re.search(rf"^{words}\s*[:=]\s*([\d.]+)", output, re.MULTILINE)
        if found is None:
            raise ProofError(f"pgbench reported no {words!r}: {output[-300:]!r} {'; '.join(complaints)[-300:]}")
        return float(found[1])

    return PgbenchReport(
        transactions=int(number("number of transactions actually processed")),
        failed=int(number("number of failed transactions")),
        latency=number("latency average") / 1e3,
        complaints=tuple(complaints),
    )


# --- Redis ------------------------------------------------------------------------------------------------------


class Redis(Server):
    def __init__(self) -> None:
        self._programs = {
            "redis-server": tool("redis-server", "redis-server"),
            "redis-cli": tool("redis-cli", "redis-tools"),
        }
        super().__init__("redis")

    def start(self) -> None:
        places = ("--bind", HOST, "--port", str(self.port), "--dir", str(self.folder))
        self.launch(self._programs["redis-server"], *places, "--save", "", "--appendonly", "no")

    def is_ready(self) -> bool:
        try:
            return self.ask("ping") == "PONG"
        except ProofError:
            return False

    def ask(self, *words: str) -> str:
        return self.run(self._programs["redis-cli"], "-h", HOST, "-p", str(self.port), *words).strip()

    def calls(self) -> dict[str, int]:
        """How often each command was carried out, names in lower case."""
        found = re.findall(r"^cmdstat_([^:]+):calls=(\d+)", self.ask("info", "commandstats"), re.MULTILINE)
        return {name: int(count) for name, count in found}

    def errors(self) -> int:
        """Answers that were errors."""
        return int(re.search(r"^total_error_replies:(\d+)", self.ask("info", "stats"), re.MULTILINE)[1])  # type: ignore[index]

    @staticmethod
    def version() -> str:
        argv = [tool("redis-server", "redis-server"), "--version"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10)
        return done.stdout.partition("v=")[2].split()[0]


@dataclass(frozen=True, slots=True)
class RedisLoad:
    """One run of redis-benchmark: `requests` of each of `commands`, each answered before the next unless pipelined."""

    commands: tuple[str, ...]
    requests: int
    clients: int = 50
    size: int = 3  # of a value
    pipeline: int = 1
    keep: bool = True  # False: a new connection for each request

    def argv(self, port: int) -> tuple[str, ...]:
        sizes = ("-n", str(self.requests), "-c", str(self.clients), "-d", str(self.size), "-P", str(self.pipeline))
        keep = ("-k", "1" if self.keep else "0")
        program = tool("redis-benchmark", "redis-tools")
        # A thousand different keys, so that the memory does not grow with the length of the run.
        return (
            program,
            "-h",
            HOST,
            "-p",
            str(port),
            *sizes,
            *keep,
            "-r",
            "1000",
            "-t",
            ",".join(self.commands),
            "--csv",
        )


def parse_redis(output: str) -> dict[str, float]:
    """Requests per second by test."""
    rows = [row for row in csv.reader(output.splitlines()) if len(row) > 1 and row[0] != "test"]
    if not rows:
        raise ProofError(f"redis-benchmark reported nothing: {output[-300:]!r}")
    return {row[0]: float(row[1]) for row in rows}
