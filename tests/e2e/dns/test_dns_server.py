"""The DNS server of the real program, asked by dig and dnsperf, and by whoever sends it anything at all."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dns.message
import pytest
from dns_origin import Dnsmasq, dig, dns_is_installed
from dns_queries import mutated, random_query
from ports import free_address, free_port
from program import Hivemesh, run_hivemesh
from waiting import eventually

from discovery.dns.names import wire_name

pytestmark = pytest.mark.skipif(not dns_is_installed(), reason="dnsmasq, dig and dnsperf are not installed")

WEB = "web.service.hivemesh"
ADDRESSES = ["10.0.0.1", "10.0.0.2"]
MANY = [f"10.1.{number >> 8}.{number & 255}" for number in range(300)]


class DnsProgram:
    """Two workers on all IPv4 addresses and one of IPv6, in front of a resolver that knows who.test."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.port = free_port()
        self.resolver = stack.enter_context(Dnsmasq(directory, "outside"))
        admin = free_address()
        config = {
            "admin": {"address": admin},
            "workers": 2,
            "dns": {
                "address": [f"0.0.0.0:{self.port}", f"[::1]:{self.port}"],
                "forward": [self.resolver.address],
            },
            "services": {
                "web": {"domain": "web.example", "endpoints": endpoints(*ADDRESSES)},
                "many": {"endpoints": endpoints(*MANY)},
                **{f"n{number}": {"endpoints": endpoints(f"10.2.0.{number}")} for number in range(50)},
            },
        }
        self.hive: Hivemesh = stack.enter_context(run_hivemesh(json.dumps(config), directory, admin))  # type: ignore[assignment]

    def dig(self, name: str, kind: str = "A", *options: str, host: str = "127.0.0.1") -> list[str]:
        return dig(f"{host}:{self.port}", name, kind, *options)

    def workers(self) -> dict[int, int]:
        """Resident memory (bytes) by process id."""
        return {
            pid: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for pid in self.hive.children()
            if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
        }


def endpoints(*addresses: str) -> list[dict[str, str]]:
    return [{"id": f"e{number}", "address": f"{address}:80"} for number, address in enumerate(addresses)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DnsProgram]:
    with ExitStack() as stack:
        yield DnsProgram(tmp_path_factory.mktemp("dns"), stack)


@pytest.mark.parametrize(
    "options", [(), ("+tcp",), ("+noedns",), ("+bufsize=512",), ("+dnssec",), ("+nocookie",), ("+norecurse",)], ids=str
)
def test_dig_is_answered(server: DnsProgram, options: tuple[str, ...]) -> None:
    for name in (WEB, WEB.upper(), "web.example"):
        assert server.dig(name, "A", *options) == ADDRESSES
        assert server.dig(name, "A", *options, host="::1") == ADDRESSES
    assert server.dig(WEB, "AAAA", *options) == []
    assert server.dig("_web._tcp.web.example", "SRV", *options) == [
        "0 1 80 0a000001.addr.hivemesh.",
        "0 1 80 0a000002.addr.hivemesh.",
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.77.0.1"])
def test_the_answer_comes_from_the_address_that_was_asked(server: DnsProgram, host: str) -> None:
    assert server.dig(WEB, host=host) == ADDRESSES  # dig takes it from nowhere else
    assert server.dig("who.test", "TXT", host=host) == ['"outside"']
    assert server.dig(WEB, "A", "+tcp", host=host) == ADDRESSES


def test_a_large_answer_is_fetched_over_tcp(server: DnsProgram) -> None:
    name = "many.service.hivemesh"
    assert server.dig(name, "A", "+bufsize=4096", "+noignore") == sorted(MANY)
    assert server.dig(name, "A", "+bufsize=4096") == []  # dig was told to make do with the truncated one
    assert server.dig(name, "A", "+tcp") == sorted(MANY)


def test_other_names_are_forwarded(server: DnsProgram) -> None:
    for options in ((), ("+tcp",), ("+noedns",)):
        assert server.dig("who.test", "TXT", *options) == ['"outside"']
        assert server.dig("n7.test", "A", *options) == ["10.0.0.7"]
    assert len(server.dig("large.test", "TXT", "+noignore")) == 10


@pytest.mark.parametrize("mode", ["udp", "tcp"])
def test_dnsperf_loses_nothing(server: DnsProgram, mode: str, tmp_path: Path) -> None:
    queries = tmp_path / "queries"
    queries.write_text("".join(f"n{number}.service.hivemesh A\nx{number}.service.hivemesh A\n" for number in range(50)))
    where = ["-s", "127.0.0.1", "-p", str(server.port), "-d", str(queries), "-m", mode]
    done = subprocess.run(
        [shutil.which("dnsperf") or "dnsperf", *where, "-n", "100", "-c", "8", "-q", "50"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    words = " ".join(done.stdout.split())
    assert "Queries sent: 10000 Queries completed: 10000 (100.00%) Queries lost: 0 (0.00%)" in words, done.stdout
    assert "Response codes: NOERROR 5000 (50.00%), NXDOMAIN 5000 (50.00%)" in words, done.stdout


def test_anything_at_all_leaves_it_as_it_was(server: DnsProgram) -> None:
    rng = random.Random(5)
    names = [wire_name(name) for name in (WEB, "many.service.hivemesh", "x.service.hivemesh")]
    messages = [mutated(rng, random_query(rng, names)) for _ in range(5000)]
    good = dns.message.make_query(WEB, "A", id=1).to_wire()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", server.port))
        client.settimeout(10)

        def is_answered() -> bool:
            """Whether a good question is, behind whatever else there is to receive."""
            client.send(good)
            for _ in range(200):
                answer = client.recv(2000)
                if answer[:2] == good[:2] and len(answer) == len(good) + 16 * len(ADDRESSES):
                    return True
            return False

        def send_all() -> None:
            for number, message in enumerate(messages):
                client.send(message)
                if number % 50 == 49:  # no more than the socket's buffers hold
                    assert is_answered()

        send_all()
        before = server.workers()
        for _ in range(4):
            send_all()
        after = server.workers()
    assert after.keys() == before.keys()
    assert all(after[pid] - before[pid] < 8 << 20 for pid in before)
    assert server.dig(WEB) == ADDRESSES


def test_a_worker_that_dies_is_not_missed_for_long(server: DnsProgram) -> None:
    victim = min(server.workers())
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: victim not in server.hive.children() and len(server.workers()) == 2, "another worker")
    eventually(lambda: all(server.dig(WEB, "A", f"+qid={number}") == ADDRESSES for number in range(8)), "answers")
