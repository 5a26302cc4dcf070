"""Health checks decide where requests go: the whole program in front of real backends that break and heal."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc_origin import Call, serving
from instance import Instance
from nginx_origin import Nginx, nginx_is_installed
from tls_origin import make_certificate, openssl_is_installed
from waiting import eventually

Hive = Callable[..., Instance]
SOON = {"interval": "1s", "timeout": "1s", "transition_interval": "100ms"}


def states(instance: Instance, service: str = "app") -> dict[str, int]:
    """How many endpoints of `service` are in each state, without those that are 0."""
    metrics = instance.program.api("GET", "/metrics").text  # type: ignore[attr-defined]
    found = re.findall(rf'^hivemesh_endpoints{{service="{service}",state="(\w+)"}} (\d+)', metrics, re.MULTILINE)
    return {state: int(count) for state, count in found if int(count)}


def becomes(instance: Instance, service: str = "app", **wanted: int) -> None:
    eventually(lambda: states(instance, service) == wanted, f"{service} has {wanted}")


@contextmanager
def nginxes(folder: Path, *names: str) -> Iterator[list[Nginx]]:
    """Each says its name at /files/who, and is well while it has /files/health."""
    running: list[Nginx] = []
    try:
        for name in names:
            files = folder / name / "files"
            files.mkdir(parents=True)
            (files / "who").write_text(name)
            (files / "health").write_text("ok\n")
            running.append(Nginx(folder / name))
        yield running
    finally:
        for one in running:
            one.stop()


def who(instance: Instance, count: int = 8) -> set[str]:
    """Who answers `count` requests."""
    client = instance.client()
    found = set()
    for _ in range(count):
        answer = client.get("/files/who")
        assert answer.status == 200
        found.add(answer.text)
    return found


@pytest.mark.skipif(not nginx_is_installed(), reason="nginx is not installed")
def test_a_backend_that_breaks_gets_no_requests_until_it_is_well_again(hive: Hive, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with nginxes(tmp_path, "a", "b") as (first, second):
        check = {"protocol": "http", "path": "/files/health", **SOON}
        instance = hive(first, second, app={"health_check": check}, program=True)
        becomes(instance, healthy=2)
        assert who(instance) == {"a", "b"}

        health = tmp_path / "a" / "files" / "health"
        health.unlink()
        becomes(instance, healthy=1, unhealthy=1)
        assert who(instance) == {"b"}

        health.write_text("ok\n")
        becomes(instance, healthy=2)
        assert who(instance) == {"a", "b"}

        first.stop()
        second.stop()
        becomes(instance, unhealthy=2)
        assert instance.client().get().status == 503


def test_an_endpoint_gets_no_request_before_its_first_success(hive: Hive, silent_address: str) -> None:
    """It accepts connections, but does not answer."""
    check = {"protocol": "http", "interval": "10s", "timeout": "9s"}
    instance = hive(silent_address, app={"health_check": check}, program=True)
    assert states(instance) == {"checking": 1}
    answer = instance.client().get()
    assert answer.status == 503


@pytest.mark.skipif(not openssl_is_installed(), reason="openssl is not installed")
def test_every_protocol_finds_out_who_is_well(hive: Hive, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "web.local")
    tmp_path.chmod(0o755)
    certificate.chmod(0o644)
    descriptors = tmp_path / "descriptors"
    descriptors.touch()
    descriptors.chmod(0o666)
    with Peers(certificate, key) as peers:
        grpc = {"protocol": "grpc", **SOON}
        https = {"protocol": "https", "host": "web.local", **SOON}
        script = (
            f'ls /proc/self/fd > {descriptors}; test "$HIVEMESH_SERVICE" = command && test "$HIVEMESH_ENDPOINT" = e1'
        )
        checks: dict[str, tuple[list[str], dict[str, Any], dict[str, int]]] = {
            "tcp": ([peers.https], {"protocol": "tcp", **SOON}, {"healthy": 1}),
            "verified": ([peers.https], {**https, "ca_file": str(certificate)}, {"healthy": 1}),
            "refused": ([peers.https], https, {"unhealthy": 1}),
            "careless": ([peers.https], {**https, "verify": False}, {"healthy": 1}),
            "plain": ([peers.grpc], https, {"unhealthy": 1}),
            "grpc": ([peers.grpc], grpc, {"healthy": 1}),
            "nogrpc": ([peers.grpc], {**grpc, "grpc_service": "none"}, {"unhealthy": 1}),
            "command": ([peers.grpc], {"protocol": "command", "command": ["sh", "-c", script], **SOON}, {"healthy": 1}),
        }
        services = {
            name: {
                "endpoints": [{"id": f"e{number}", "address": address} for number, address in enumerate(places, 1)],
                "health_check": check,
            }
            for name, (places, check, _) in checks.items()
        }
        instance = hive(peers.grpc, services=services, program=True)
        for name, (_, _, wanted) in checks.items():
            becomes(instance, name, **wanted)
        # Standard ones, and the folder that ls reads.
        assert descriptors.read_text().split() == ["0", "1", "2", "3"]


def test_a_program_that_hangs_is_ended_with_all_that_it_started(hive: Hive, tmp_path: Path) -> None:
    """And when hivemesh stops, one that is under way ends with it."""
    pids = tmp_path / "pids"
    pids.touch()
    tmp_path.chmod(0o755)
    pids.chmod(0o666)
    script = f"trap '' TERM HUP INT; (trap '' TERM HUP; echo $$ >> {pids}; sleep 100 & echo $! >> {pids}; wait) & wait"
    check = {"protocol": "command", "command": ["sh", "-c", script], "interval": "100ms", "timeout": "100ms"}
    instance = hive("127.0.0.1:1", app={"health_check": check}, program=True)
    becomes(instance, unhealthy=1)
    first = eventually(lambda: pids.read_text().split()[:2], "the program has run")
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in first), f"processes {first} are gone")
    instance.program.stop()
    every = pids.read_text().split()
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in every), f"processes {every} are gone")


class Peers:
    """An HTTPS server and a gRPC server on a loop of their own. The latter is SERVING as a whole, and knows no other
    service."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.https = self.grpc = ""
        self._tls = (certificate, key)
        self._loop = asyncio.new_event_loop()
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Peers:
        self._thread.start()
        assert self._is_ready.wait(10)
        return self

    def __exit__(self, *unused: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        import ssl

        self._stop = asyncio.Event()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*self._tls)
        secure = await asyncio.start_server(_answer, "127.0.0.1", 0, ssl=tls)
        call = await asyncio.start_server(serving(_decide), "127.0.0.1", 0)  # type: ignore[arg-type]
        self.https = f"127.0.0.1:{secure.sockets[0].getsockname()[1]}"
        self.grpc = f"127.0.0.1:{call.sockets[0].getsockname()[1]}"
        self._is_ready.set()
        await self._stop.wait()
        secure.close()
        call.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _decide(call: Call) -> None:
    if call.message == b"\0\0\0\0\0":
        call.answer(b"\x08\x01")
    else:
        call.refuse("5")


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()
