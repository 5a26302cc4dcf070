"""dnsmasq as a real DNS server, and the real clients that ask it: dig and dnsperf.

It runs in the foreground with no file of the system and answers from names of its own; the system's resolver is never
touched.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ports import free_port, split_address
from program import Program, installed

NEEDED = ("dnsmasq", "dig", "dnsperf")


def dns_is_installed() -> bool:
    return all(installed(name) for name in NEEDED)


class Dnsmasq(Program):
    """Answers who.test with `name` as a text, and n1.test, n2.test ... with 10.0.0.1, 10.0.0.2 ...; `options`: more of
    its command line."""

    def __init__(
        self, directory: Path, name: str, address: str = "", hosts: int = 50, options: Sequence[str] = ()
    ) -> None:
        self.address = address or f"127.0.0.1:{free_port()}"
        host, port = split_address(self.address)
        command = [
            installed("dnsmasq") or "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--log-facility=-",
            "--user=",
            "--bind-interfaces",
            "--edns-packet-max=4096",
            f"--listen-address={host}",
            f"--port={port}",
            f"--pid-file={directory}/{name}.pid",
            f"--txt-record=who.test,{name}",
            # Together larger than a frame of Ethernet.
            *(f"--txt-record=large.test,{chr(97 + number) * 250}" for number in range(10)),
            *(f"--host-record=n{number}.test,10.0.0.{number}" for number in range(1, hosts + 1)),
            *options,
        ]
        super().__init__(command, directory, lambda: dig(self.address, "who.test", "TXT") == [f'"{name}"'], name)


def dig(address: str, name: str, kind: str = "A", *options: str) -> list[str]:
    """The answer's data, sorted; [] when nothing answers within a second."""
    host, port = split_address(address)
    done = subprocess.run(
        ["dig", f"@{host}", "-p", str(port), name, kind, "+short", "+tries=1", "+time=1", "+ignore", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
    )
    return sorted(done.stdout.split("\n")[:-1]) if done.returncode == 0 else []


def dnsperf(address: str, directory: Path, *options: str) -> dict[str, int]:
    """How many queries were sent, completed and lost."""
    queries = directory / "queries"
    queries.write_text("".join(f"n{number}.test A\n" for number in range(1, 51)))
    host, port = split_address(address)
    done = subprocess.run(
        ["dnsperf", "-s", host, "-p", str(port), "-d", str(queries), *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"Queries (sent|completed|lost): +(\d+)", done.stdout)
    return {name: int(number) for name, number in found}
