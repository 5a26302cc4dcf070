"""An endpoint that fails requests is seen to be out until it is well: by DNS, the API, commands, metrics and events."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dns.message
import pytest
from ports import free_address, free_port, split_address
from program import Hivemesh, run_hivemesh
from waiting import eventually

WEB = "web.service.hivemesh"
BAD, GOOD = "127.0.0.1", "127.0.0.2"


class Backend(ThreadingHTTPServer):
    """Answers everything with `status`, but its health check with 200."""

    daemon_threads = True

    def __init__(self, host: str) -> None:
        super().__init__((host, 0), Answer)
        self.status = 200
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def address(self) -> str:
        return "{}:{}".format(*self.server_address[:2])

    def handle_error(self, request: object, client_address: object) -> None:
        """The proxy ends connections whenever it likes; that is no failure of the test."""

    def __exit__(self, *unused: object) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Backend

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Mesh:
    """Two workers; `web` has a backend on each of two addresses, `checked` the bad one alone, with a health check."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.bad, self.good = (stack.enter_context(Backend(host)) for host in (BAD, GOOD))
        self.dns_port = free_port()
        self.proxy = free_address()
        admin = free_address()
        breaker = {"consecutive_errors": 5, "half_open_requests": 2, "success_rate": False}
        check = {"protocol": "http", "path": "/health", "interval": "1s"}
        config = {
            "admin": {"address": admin},
            "workers": 2,
            "dns": {"address": f"127.0.0.1:{self.dns_port}"},
            "listeners": [
                {
                    "name": "front",
                    "address": self.proxy,
                    "routes": [
                        {"name": "checked", "match": {"path_prefix": "/checked"}, "service": "checked"},
                        {"name": "web", "service": "web"},
                    ],
                }
            ],
            "services": {
                "web": {
                    "endpoints": [
                        {"id": "bad", "address": self.bad.address},
                        {"id": "good", "address": self.good.address},
                    ],
                    "mesh": {"circuit_breaker": {**breaker, "base_ejection_time": "3s"}},
                },
                "checked": {
                    "endpoints": [{"id": "only", "address": self.bad.address}],
                    "health_check": check,
                    "mesh": {"circuit_breaker": {**breaker, "base_ejection_time": "5m"}},
                },
            },
        }
        self.hive: Hivemesh = run_hivemesh(json.dumps(config), directory, admin)
        stack.enter_context(self.hive)
        host, port = split_address(self.proxy)
        self.client = HTTPConnection(host, port, timeout=10)
        stack.callback(self.client.close)

    def get(self, path: str = "/") -> int:
        self.client.request("GET", path)
        answer = self.client.getresponse()
        answer.read()
        return answer.status

    def addresses(self, name: str = WEB) -> list[str]:
        """What DNS answers; each question comes from another port, so both workers are asked in the long run."""
        query = dns.message.make_query(name, "A")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(10)
            sock.sendto(query.to_wire(), ("127.0.0.1", self.dns_port))
            answer = dns.message.from_wire(sock.recv(4096))
        assert query.is_response(answer)
        return sorted(record.address for rrset in answer.answer for record in rrset)

    def endpoint(self, service: str, id: str) -> Any:
        text: str = self.hive.api("GET", f"/v1/services/{service}/endpoints/{id}").text
        return json.loads(text)["endpoint"]

    def follow(self, index: int) -> tuple[int, list[str]]:
        """Wait until `web` is other than it was at this index: the new one, and who takes requests."""
        answer = self.hive.api("GET", f"/v1/services/web/endpoints?passing&index={index}&wait=9s")
        return int(answer.headers["X-Hivemesh-Index"]), [each["id"] for each in json.loads(answer.text)]

    def metric(self, pattern: str) -> str:
        text: str = self.hive.api("GET", "/metrics").text
        return next(iter(re.findall(rf"^{pattern} (\S+)$", text, re.MULTILINE)), "")

    def events(self, name: str, endpoint: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.hive.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name and line.get("endpoint") == endpoint]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with ExitStack() as stack:
        yield Mesh(tmp_path_factory.mktemp("mesh"), stack)


def test_an_ejected_endpoint_is_gone_everywhere_and_comes_back(mesh: Mesh) -> None:
    for _ in range(8):
        assert mesh.addresses() == [BAD, GOOD]
    index = mesh.follow(0)[0]
    mesh.bad.status = 503
    statuses = [mesh.get() for _ in range(10)]
    assert statuses.count(503) == 5
    # Each of these is the very next answer of a worker: there is nothing to wait for.
    assert [mesh.addresses() for _ in range(16)] == [[GOOD]] * 16
    assert mesh.addresses(f"all.{WEB}") == [BAD, GOOD]
    index, passing = mesh.follow(index)
    assert passing == ["good"]
    bad = mesh.endpoint("web", "bad")
    assert (bad["state"], bad["breaker"]["state"], bad["breaker"]["ejections"]) == ("ejected", "open", 1)
    assert 0 < bad["breaker"]["left"] <= 3.3
    assert "ejected" in mesh.hive.command("endpoints", "web").stdout
    assert mesh.metric('hivemesh_circuit_state{endpoint="bad",service="web"}') == "1.0"
    assert mesh.metric('hivemesh_endpoints{service="web",state="ejected"}') == "1.0"
    assert {mesh.get() for _ in range(6)} == {200}

    mesh.bad.status = 200
    eventually(lambda: mesh.endpoint("web", "bad")["breaker"]["state"] == "half-open", "the ejection is over")
    assert mesh.addresses() == [GOOD]
    index, passing = mesh.follow(index)
    assert passing == ["bad", "good"]
    eventually(lambda: mesh.get() == 200 and mesh.addresses() == [BAD, GOOD], "it has passed its trial")
    assert mesh.metric('hivemesh_circuit_state{endpoint="bad",service="web"}') == "0.0"
    assert mesh.metric(r'hivemesh_ejections_total{endpoint="bad",reason="consecutive_errors",service="web"}') == "1.0"
    [ejected] = mesh.events("endpoint ejected", "bad")
    assert (ejected["service"], ejected["reason"], ejected["ejections"]) == ("web", "consecutive_errors", 1)
    assert len(mesh.events("endpoint half-open", "bad")) == 1
    eventually(lambda: len(mesh.events("endpoint recovered", "bad")) == 1, "the recovery is told once")


def test_a_health_check_that_succeeds_has_requests_try_and_nobody_waits_when_it_is_unejected(mesh: Mesh) -> None:
    name = "checked.service.hivemesh"
    eventually(lambda: mesh.addresses(name) == [BAD], "the first check has succeeded")
    mesh.bad.status = 503
    assert [mesh.get("/checked") for _ in range(5)] == [503] * 5
    assert mesh.endpoint("checked", "only")["breaker"]["ejections"] == 1
    eventually(lambda: mesh.endpoint("checked", "only")["breaker"]["state"] == "half-open", "a check has succeeded")
    [told] = mesh.events("endpoint half-open", "only")
    assert told["reason"] == "health check succeeded"
    assert mesh.addresses(name) == [BAD]  # there is no other

    assert mesh.get("/checked") == 503  # its trial: out again, for longer
    assert mesh.endpoint("checked", "only")["breaker"]["ejections"] == 2
    done = mesh.hive.command("uneject", "checked/only")
    assert (done.returncode, done.stdout) == (0, "checked/only takes requests again\n")
    assert mesh.addresses(name) == [BAD]
    mesh.bad.status = 200
    assert mesh.get("/checked") == 200
