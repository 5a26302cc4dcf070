"""The small C programs beside this file: compiled when they are first needed, then asked for their numbers.

They are the ends of the works on streams and datagrams, where a load generator that costs more than the proxy would
be what is measured. `programs/*.c` say what each does. Building and running have I/O; parsing is pure.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.compare import load
from benchmarks.compare.contenders.hivemesh import CHECKOUT
from benchmarks.compare.load import LoadFailed

SOURCES: Final = Path(__file__).resolve().parent / "programs"
BINARIES: Final = CHECKOUT / "build" / "compare"
COMPILER: Final = "cc"
BUILD_TIMEOUT: Final = 60

# Streams at a time in a bulk transfer: enough that no single connection's window is the limit.
BULK_CONNECTIONS: Final = 4

# Clients and bytes of a datagram: a query of DNS, a position in a game. Each client has one datagram on its way.
DATAGRAM_CLIENTS: Final = 64
DATAGRAM_SIZE: Final = 64

# On loopback nothing but a full buffer loses a datagram, and no buffer can be full with one on its way per client.
LOST_SHARE: Final = 0.001

GB: Final = 1e9


@dataclass(frozen=True, slots=True)
class BulkReport:
    moved: int  # bytes
    duration: float

    @property
    def gb_per_s(self) -> float:
        return self.moved / GB / self.duration


@dataclass(frozen=True, slots=True)
class DatagramReport:
    """`echoed` datagrams went to the echo and came back; times are of both ways together, seconds."""

    echoed: int
    lost: int
    duration: float
    p50: float
    p99: float


def build(name: str) -> Path:
    """The program, compiled anew when its source has changed. Raises LoadFailed when it cannot be."""
    source, binary = SOURCES / f"{name}.c", BINARIES / name
    if binary.exists() and binary.stat().st_mtime_ns >= source.stat().st_mtime_ns:
        return binary
    compiler = shutil.which(COMPILER)
    if compiler is None:
        raise LoadFailed(f"{COMPILER} is not installed (on Debian: apt install gcc libc6-dev)")
    BINARIES.mkdir(parents=True, exist_ok=True)
    fresh = binary.with_suffix(".new")
    done = subprocess.run(
        [compiler, "-O2", "-o", str(fresh), str(source)], capture_output=True, text=True, timeout=BUILD_TIMEOUT
    )
    if done.returncode:
        raise LoadFailed(f"{source.name} does not compile: {done.stderr.strip()[-500:]}")
    fresh.replace(binary)
    return binary


def bulk(port: int, size: int, way: str, connections: int = BULK_CONNECTIONS) -> BulkReport:
    """Move `size` bytes "down" or "up" and see them all arrive."""
    argv = (str(build("bulk")), "load", str(port), str(connections), str(size), way)
    return parse_bulk(load.run(argv, size / GB))


def datagrams(port: int, seconds: float, clients: int = DATAGRAM_CLIENTS, size: int = DATAGRAM_SIZE) -> DatagramReport:
    argv = (str(build("datagrams")), "load", str(port), str(clients), str(size), f"{seconds:g}")
    report = parse_datagrams(load.run(argv, seconds))
    if not report.echoed or report.lost > LOST_SHARE * report.echoed:
        raise LoadFailed(f"{report.lost} datagrams were lost and {report.echoed} came back")
    return report


def parse_bulk(output: str) -> BulkReport:
    report: dict[str, int] = _line(output)
    return BulkReport(report["bytes"], report["duration_us"] / 1e6)


def parse_datagrams(output: str) -> DatagramReport:
    report = _line(output)
    times = (report[name] / 1e6 for name in ("duration_us", "p50_us", "p99_us"))
    return DatagramReport(report["echoed"], report["lost"], *times)


def _line(output: str) -> dict[str, int]:
    try:
        report: dict[str, int] = json.loads(output)
    except ValueError:
        raise LoadFailed(f"no report but {output.strip()[-300:]!r}") from None
    return report
