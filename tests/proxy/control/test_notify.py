"""What a service manager hears: ready, reloading, stopping."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import Hive

from proxy.__main__ import run_options
from proxy.control.notify import Notifier

ROOT = Path(__file__).resolve().parents[3]
Start = Callable[..., Hive]


class Manager:
    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(40.0)

    def hears(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().split("\n"))


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


def test_a_program_tells_how_far_it_is(start: Start, manager: Manager, tmp_path: Path) -> None:
    hive = start(how={"env": {"NOTIFY_SOCKET": str(tmp_path / "notify")}})
    assert manager.hears()["READY"] == "1"

    for text in (None, "listeners: 1"):  # a good file and a bad one
        hive.write(text)
        before = time.monotonic_ns() // 1000
        hive.signal(signal.SIGHUP)
        reloading = manager.hears()
        assert reloading["RELOADING"] == "1"
        assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert manager.hears()["READY"] == "1"
    hive.write()

    hive.signal(signal.SIGUSR2)
    assert manager.hears() == {"STATUS": "in service, being upgraded"}
    assert manager.hears()["READY"] == "1"
    hive.await_event("former agent exited")

    hive.signal(signal.SIGTERM)
    assert manager.hears()["STOPPING"] == "1"
    assert hive.wait() == 0


def test_an_abstract_address_is_one() -> None:
    manager = Manager(address := f"@hivemesh-test-{time.monotonic_ns()}")
    try:
        Notifier({"NOTIFY_SOCKET": address}).stopping()
        assert manager.hears()["STOPPING"] == "1"
    finally:
        manager.socket.close()


def test_nobody_who_listens_is_no_reason_to_fail(tmp_path: Path) -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()


def test_the_unit_starts_it_with_options_that_there_are() -> None:
    unit = (ROOT / "examples/systemd/hivemesh.service").read_text()
    (command,) = (line.removeprefix("ExecStart=") for line in unit.splitlines() if line.startswith("ExecStart="))
    _, run, *options = command.split()

    assert run == "run"
    assert run_options(options) == ("/etc/hivemesh/hivemesh.yaml", "hivemesh")
    assert "Type=notify-reload" in unit
