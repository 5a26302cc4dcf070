"""The commands that change who is where, and the one that asks DNS."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from admin_server import AdminServer
from dnslib import RR, A, DNSRecord  # type: ignore[import-untyped]
from fake_agent import FakeAgent
from waiting import eventually

from mesh.breaker import OPEN
from proxy.cli.main import cli

ROOT = Path(__file__).parents[3]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[AdminServer]:
    with AdminServer(FakeAgent()) as running:
        monkeypatch.setenv("HIVEMESH_ADMIN", running.url)
        monkeypatch.delenv("HIVEMESH_TOKEN", raising=False)
        yield running


class Cli:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """What a command that ends with this exit code prints."""
        assert cli(list(arguments)) == code
        captured = self._capsys.readouterr()
        return captured.out or captured.err


@pytest.fixture
def hivemesh(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def endpoint(server: AdminServer, service: str, id: str) -> Any:
    return server.get(f"/v1/services/{service}/endpoints/{id}").json


def test_register_and_deregister(hivemesh: Cli, server: AdminServer) -> None:
    options = "--version v1 --node n1 --weight 2 --ttl 30s --meta zone=a --meta empty= --check http=/up --interval 5s"
    out = hivemesh("register", "cart", "127.0.0.1:9100", "--id", "c1", *options.split())
    assert out == "registered cart/c1\n"
    found = endpoint(server, "cart", "c1")
    assert {key: found["endpoint"][key] for key in ("address", "version", "node", "weight", "metadata")} == {
        "address": "127.0.0.1:9100",
        "version": "v1",
        "node": "n1",
        "weight": 2,
        "metadata": {"zone": "a", "empty": ""},
    }
    assert found["endpoint"]["lease"]["ttl"] == 30
    assert (found["health_check"]["protocol"], found["health_check"]["path"]) == ("http", "/up")
    assert "cart" in hivemesh("endpoints", "cart")
    assert hivemesh("deregister", "cart", "c1") == "deregistered cart/c1\n"
    assert "has no endpoint c1" in hivemesh("deregister", "cart", "c1", code=1)


def test_an_id_is_made_from_the_address(hivemesh: Cli, server: AdminServer) -> None:
    assert hivemesh("register", "cart", "unix:/run/cart.sock") == "registered cart/unix:-run-cart.sock\n"
    assert json.loads(hivemesh("register", "cart", "[::1]:80", "--json"))["index"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--meta", "zone"], "is not NAME=VALUE"),
        (["--check", "icmp"], "is not a check"),
        (["--check", "tcp=1"], "is not a check"),
        (["--keep", "--ttl", "soon"], "is not a duration"),
        (["--keep", "--ttl", "0"], "above 0"),
    ],
)
def test_wrong_usage_of_register(hivemesh: Cli, server: AdminServer, arguments: list[str], said: str) -> None:
    assert said in hivemesh("register", "cart", "127.0.0.1:1", *arguments, code=2)


def test_every_mistake_of_a_registration_is_printed(hivemesh: Cli, server: AdminServer) -> None:
    out = hivemesh("register", "cart", "nowhere", "--ttl", "soon", code=1)
    assert "address: " in out
    assert "ttl: " in out


def test_a_single_mistake_is_printed_once(hivemesh: Cli, server: AdminServer) -> None:
    assert hivemesh("register", "cart", "nowhere", code=1).count("has no port") == 1


def test_a_registration_is_kept_up_until_it_is_interrupted(server: AdminServer) -> None:
    command = [sys.executable, "-m", "proxy", "register", "cart", "127.0.0.1:9100", "--id", "c1", "--keep"]
    process = subprocess.Popen(
        [*command, "--ttl", "600ms"], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "registered cart/c1, until Ctrl-C\n"
        # Two heartbeats and more: the lease has been begun anew since.
        first = server.agent.catalog.registry.described("cart").endpoints[0].expires
        assert first is not None
        eventually(lambda: (_expires(server) or 0) > first + 0.4, "heartbeats keep it")
        # One that was forgotten is told anew.
        server.delete("/v1/services/cart/endpoints/c1")
        eventually(lambda: _expires(server), "it is registered again")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stdout.read() == "deregistered cart/c1\n"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert server.get("/v1/services/cart").status == 404


def _expires(server: AdminServer) -> float | None:
    registry = server.agent.catalog.registry
    if registry.service("cart") is None:
        return None
    return registry.described("cart").endpoints[0].expires


def test_drain_and_its_undoing(hivemesh: Cli, server: AdminServer) -> None:
    assert hivemesh("drain", "api/api-1") == "api/api-1 drains\n"
    assert endpoint(server, "api", "api-1")["endpoint"]["state"] == "draining"
    assert hivemesh("drain", "api/api-1", "--undo") == "api/api-1 takes requests again\n"
    assert endpoint(server, "api", "api-1")["endpoint"]["state"] == "healthy"
    assert "is not SERVICE/ENDPOINT" in hivemesh("drain", "api", code=2)
    assert "has no endpoint" in hivemesh("drain", "api/nope", code=1)


def test_uneject(hivemesh: Cli, server: AdminServer) -> None:
    assert hivemesh("uneject", "api/api-1") == "api/api-1 was not ejected\n"
    server.agent.put_breaker("endpoint/api/api-1/127.0.0.1:9001", OPEN, until=100.0)
    assert hivemesh("uneject", "api/api-1") == "api/api-1 takes requests again\n"
    assert endpoint(server, "api", "api-1")["endpoint"]["state"] == "healthy"
    assert json.loads(hivemesh("uneject", "api/api-1", "--json")) == {"changed": False}
    assert "is not SERVICE/ENDPOINT" in hivemesh("uneject", "api", code=2)
    assert "has no endpoint" in hivemesh("uneject", "api/nope", code=1)


def test_nodes(hivemesh: Cli, server: AdminServer) -> None:
    header, line = hivemesh("nodes").splitlines()
    assert header.split() == ["NODE", "ADDRESS", "STATE", "HEALTHY", "ENDPOINTS"]
    assert line.split() == ["n1", "-", "present", "1", "1"]
    assert json.loads(hivemesh("nodes", "--json"))[0]["name"] == "n1"


# --- DNS ------------------------------------------------------------------------------------------------------------


class Resolver:
    """Answers questions for web.local, over UDP cut short if `cut`, and over TCP."""

    def __init__(self, cut: bool = False) -> None:
        self.cut = cut
        self.stream = socket.create_server(("127.0.0.1", 0))
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(self.stream.getsockname())
        self.address = "{}:{}".format(*self.stream.getsockname())
        self.threads = [threading.Thread(target=serve, daemon=True) for serve in (self._udp, self._tcp)]
        for thread in self.threads:
            thread.start()

    def answer(self, query: bytes, cut: bool) -> bytes:
        record = DNSRecord.parse(query)
        reply = record.reply()
        if record.q.qname != "web.local":
            reply.header.rcode = 3
        elif cut:
            reply.header.tc = 1
        else:
            reply.add_answer(RR("web.local", 1, ttl=5, rdata=A("10.0.0.1")))
        return bytes(reply.pack())

    def _udp(self) -> None:
        try:
            while True:
                query, client = self.datagrams.recvfrom(65535)
                self.datagrams.sendto(self.answer(query, self.cut), client)
        except OSError:
            pass

    def _tcp(self) -> None:
        try:
            while True:
                sock, _ = self.stream.accept()
                with sock:
                    query = sock.recv(65535)
                    answer = self.answer(query[2:], False)
                    sock.sendall(len(answer).to_bytes(2, "big") + answer)
        except OSError:
            pass

    def __enter__(self) -> Resolver:
        return self

    def __exit__(self, *unused: object) -> None:
        for sock in (self.datagrams, self.stream):
            sock.shutdown(socket.SHUT_RDWR) if sock is self.stream else None
            sock.close()


@pytest.mark.parametrize(("cut", "arguments"), [(False, []), (True, []), (False, ["--tcp"])])
def test_dns_prints_what_is_answered(hivemesh: Cli, cut: bool, arguments: list[str]) -> None:
    with Resolver(cut) as resolver:
        out = hivemesh("dns", "web.local", "--server", resolver.address, *arguments).splitlines()
        assert out[0] == f"NOERROR from {resolver.address}, authoritative"
        assert out[2].split() == ["web.local.", "5", "A", "10.0.0.1"]
        found = json.loads(hivemesh("dns", "web.local", "a", "--server", resolver.address, "--json"))
        assert found["answers"] == [{"name": "web.local.", "ttl": 5, "type": "A", "value": "10.0.0.1"}]


def test_dns_fails_for_a_name_that_is_not_there(hivemesh: Cli) -> None:
    with Resolver() as resolver:
        assert hivemesh("dns", "no.local", "--server", resolver.address, code=1).startswith("NXDOMAIN from ")


def test_dns_needs_a_server_and_a_question(hivemesh: Cli, server: AdminServer) -> None:
    assert "serves no DNS" in hivemesh("dns", "web.local", code=2)
    assert "is not a record type" in hivemesh("dns", "web.local", "nope", code=2)
    assert "is not a domain name" in hivemesh("dns", "a" * 64, code=2)
    assert "is not HOST:PORT" in hivemesh("dns", "web.local", "--server", "x", code=2)
    with socket.socket() as refused:
        refused.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{refused.getsockname()[1]}"
        assert "did not answer: connection refused" in hivemesh("dns", "a.b", "--tcp", "--server", place, code=3)
