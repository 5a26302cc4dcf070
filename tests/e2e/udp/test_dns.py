"""A real DNS server behind a UDP listener, asked by real clients, through the real program."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from dns_origin import Dnsmasq, dig, dns_is_installed, dnsperf
from ports import free_address
from program import Hivemesh, run_hivemesh
from waiting import eventually

pytestmark = pytest.mark.skipif(not dns_is_installed(), reason="dnsmasq, dig and dnsperf are not installed")


class Resolver:
    """hivemesh with a UDP and a TCP listener of one address in front of DNS servers called one and two."""

    def __init__(self, directory: Path, stack: ExitStack, **settings: Any) -> None:
        self.directory = directory
        self.address = free_address()
        self.log = directory / "access.log"
        self.servers = {name: stack.enter_context(Dnsmasq(directory, name)) for name in ("one", "two")}
        self.config: dict[str, Any] = {
            "admin": {"address": free_address()},
            "workers": 2,
            "access_log": {"path": str(self.log), "format": "json"},
            "timeouts": {"udp_idle": "1s", "drain_streams": "2s"},
            "listeners": [
                {"name": "dns", "address": self.address, "protocol": "udp", "service": "dns"},
                {"name": "dns-tcp", "address": self.address, "protocol": "tcp", "service": "dns"},
            ],
            "services": {"dns": {"endpoints": self.endpoints("one", "two")}},
            **settings,
        }
        self.hive: Hivemesh = run_hivemesh(json.dumps(self.config), directory, self.config["admin"]["address"])
        stack.enter_context(self.hive)

    def endpoints(self, *names: str) -> list[dict[str, str]]:
        return [{"id": name, "address": self.servers[name].address} for name in names]

    def reload(self) -> None:
        self.hive.config_file.write_text(json.dumps(self.config))
        answer = self.hive.api("POST", "/v1/reload")
        assert answer.status == 200, answer.text  # type: ignore[attr-defined]

    def who(self, *options: str) -> str:
        found = dig(self.address, "who.test", "TXT", *options)
        return found[0].strip('"') if found else ""

    def entries(self) -> list[dict[str, Any]]:
        lines = self.log.read_text().split("\n")[:-1] if self.log.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["protocol"] == "udp"]

    def metric(self, name: str, labels: str) -> float:
        text: str = self.hive.api("GET", "/metrics").text  # type: ignore[attr-defined]
        (value,) = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{name}{{{labels}}}")]
        return float(value)


@pytest.fixture
def resolver(tmp_path: Path) -> Iterator[Callable[..., Resolver]]:
    with ExitStack() as stack:
        yield lambda **settings: Resolver(tmp_path, stack, **settings)


def test_queries_are_answered_by_both_servers(resolver) -> None:
    dns = resolver()
    assert {dns.who() for _ in range(20)} == {"one", "two"}
    assert dig(dns.address, "n7.test") == ["10.0.0.7"]
    eventually(lambda: len(dns.entries()) == 21, "a line for each session")
    entry = dns.entries()[0]
    assert entry["flags"] == "SI"
    assert (entry["datagrams_in"], entry["datagrams_out"]) == (1, 1)
    assert {entry["endpoint"] for entry in dns.entries()} == {server.address for server in dns.servers.values()}


def test_tcp_and_udp_share_the_address(resolver) -> None:
    dns = resolver()
    assert dns.who("+tcp") in ("one", "two")
    assert dns.who() in ("one", "two")


def test_an_answer_larger_than_a_frame_arrives(resolver) -> None:
    dns = resolver()
    found = dig(dns.address, "large.test", "TXT", "+bufsize=4096")
    assert [len(text) for text in found] == [252] * 10


def test_a_server_that_died_costs_one_query_of_a_client(resolver) -> None:
    dns = resolver()
    dns.servers["one"].kill()
    assert {dns.who("+tries=4") for _ in range(6)} == {"two"}
    assert dns.metric("hivemesh_upstream_connect_failures_total", 'endpoint="one",service="dns"') > 0


def test_no_query_is_lost_by_reloads(resolver) -> None:
    dns = resolver()
    for _ in range(10):
        dns.config["services"]["dns"]["endpoints"] = dns.endpoints("two")
        dns.reload()
        assert dns.who() == "two"
        dns.config["services"]["dns"]["endpoints"] = dns.endpoints("one", "two")
        dns.reload()
        assert {dns.who() for _ in range(4)} <= {"one", "two"}


def test_dnsperf_loses_nothing(resolver, tmp_path: Path) -> None:
    dns = resolver()
    result = dnsperf(dns.address, tmp_path, "-n", "100", "-c", "20", "-q", "50", "-T", "1")
    assert result == {"sent": 5000, "completed": 5000, "lost": 0}
    received = dns.metric("hivemesh_downstream_datagrams_received_total", 'listener="dns"')
    assert received == dns.metric("hivemesh_downstream_datagrams_sent_total", 'listener="dns"') == 5000


def test_a_worker_that_is_killed_is_replaced_and_others_answer_meanwhile(resolver) -> None:
    dns = resolver()
    workers = json.loads(dns.hive.api("GET", "/v1/workers").text)  # type: ignore[attr-defined]
    victim = next(worker["pid"] for worker in workers if worker["worker"] == 0)
    os.kill(victim, signal.SIGKILL)
    assert all(dns.who("+tries=3") for _ in range(10))


def test_fewer_workers_serve_every_client(resolver) -> None:
    dns = resolver()
    dns.config["workers"] = 1
    dns.reload()
    assert all(dns.who() for _ in range(20))


def test_the_program_ends_in_time_and_frees_the_port(resolver) -> None:
    dns = resolver()
    assert dns.who()
    assert dns.hive.stop() == 0
    assert dns.who() == ""
    assert [entry["flags"] for entry in dns.entries()] in (["SI"], ["dr"])
