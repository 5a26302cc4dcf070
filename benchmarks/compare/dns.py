"""Questions of DNS: asked once to see that a server is there, and many times by dnsperf."""

from __future__ import annotations

import re
import shutil
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.compare import load
from benchmarks.compare.load import LoadFailed
from benchmarks.compare.traffic import DNS_ZONE, Scenario

# Sockets that dnsperf asks from, and questions that it has under way on them together: about as many as keep a server
# that is not much slower than itself from ever running dry.
CLIENTS: Final = 16
OUTSTANDING: Final = 100

# Steps through the names, prime to their number: neighbours in memory are not asked for one after the other.
STRIDE: Final = 7919

_NUMBERS: Final = {
    "sent": r"Queries sent:\s+(\d+)",
    "completed": r"Queries completed:\s+(\d+)",
    "lost": r"Queries lost:\s+(\d+)",
    "good": r"Response codes:.*?NOERROR (\d+)",
    "per_s": r"Queries per second:\s+([\d.]+)",
    "latency": r"Average Latency \(s\):\s+([\d.]+)",
}


@dataclass(frozen=True, slots=True)
class QueryReport:
    completed: int
    lost: int
    per_s: float
    latency: float  # seconds, mean


def question(name: str) -> bytes:
    """A query for the addresses of `name`."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 4711, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def addresses(answer: bytes) -> list[str]:
    """The addresses in an answer whose records all point to the name of the question; none if it is another one."""
    if len(answer) < 12:
        return []
    _, flags, _, count, _, _ = struct.unpack_from("!6H", answer)
    at = answer.index(b"\0", 12) + 5
    found = []
    for start in range(at, at + 16 * count, 16):
        if flags & 15 or answer[start : start + 4] != b"\xc0\x0c\0\1" or len(answer) < start + 16:
            return []
        found.append(socket.inet_ntoa(answer[start + 12 : start + 16]))
    return sorted(found, key=lambda text: tuple(map(int, text.split("."))))


def query_file(scenario: Scenario) -> str:
    """Every name once, in the same order for all."""
    count = len(scenario.services)
    names = (scenario.services[index * STRIDE % count].name for index in range(count))
    return "".join(f"{name}.{DNS_ZONE} A\n" for name in names)


def dnsperf_command(queries: Path, port: int, *length: str) -> tuple[str, ...]:
    where = ("-s", "127.0.0.1", "-p", str(port), "-d", str(queries))
    return ("dnsperf", *where, *length, "-c", str(CLIENTS), "-q", str(OUTSTANDING))


def parse_dnsperf(output: str) -> QueryReport:
    numbers = {}
    for name, pattern in _NUMBERS.items():
        found = re.search(pattern, output)
        if found is None:
            raise LoadFailed(f"dnsperf reported no {name}: {output.strip()[-300:]!r}")
        numbers[name] = float(found[1])
    if numbers["good"] != numbers["completed"] or not numbers["completed"]:
        raise LoadFailed(f"{numbers['good']:.0f} of {numbers['completed']:.0f} answers were NOERROR")
    return QueryReport(int(numbers["completed"]), int(numbers["lost"]), numbers["per_s"], numbers["latency"])


def run_dnsperf(folder: Path, scenario: Scenario, port: int, seconds: float) -> QueryReport:
    """Ask for `seconds`; 0: ask for every name, twice."""
    if shutil.which("dnsperf") is None:
        raise LoadFailed("dnsperf is not installed (on Debian: apt install dnsperf)")
    queries = folder / "queries"
    queries.write_text(query_file(scenario))
    length = ("-l", str(max(1, round(seconds)))) if seconds else ("-n", "2")
    return parse_dnsperf(load.run(dnsperf_command(queries, port, *length), seconds))
