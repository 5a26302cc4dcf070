"""The real program: it starts, obeys signals, survives its parts, and says what is wrong with its file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from http_origin import HttpOrigin
from instance import Instance
from program import ROOT
from raw_client import RawClient
from raw_origin import RawOrigin
from waiting import eventually


def children_of(pid: int) -> dict[int, str]:
    """Process ids and command lines of the children of `pid`."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        found[int(child)] = command
    return found


def refuses(proxy: Instance) -> bool:
    try:
        proxy.client()
    except ConnectionRefusedError:
        return True
    return False


@pytest.fixture
def web():
    with HttpOrigin("web") as origin:
        yield origin


def test_program_serves_and_ends_on_sigterm(hive, web) -> None:
    proxy = hive(web, program=True)
    assert proxy.client().get().text == "web"
    assert proxy.program.api("GET", "/livez").status == 200
    assert proxy.program.stop() == 0
    with pytest.raises(ConnectionRefusedError):
        proxy.client()


def test_sigterm_lets_open_requests_finish(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, program=True)
    idle = proxy.client()
    idle.ask(target="/short")
    upstream = origin.accept()
    upstream.answer()
    idle.response()
    client = proxy.client()
    client.ask(target="/long")  # on the same upstream connection
    upstream.request()
    proxy.program.signal(signal.SIGTERM)
    # The worker closes what is idle when it begins to drain; the agent may say so a moment earlier.
    assert idle.is_ended_by_peer()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
    response = client.response()
    assert (response.text, response.header("connection")) == ("done", "close")
    assert proxy.program.wait() == 0


def test_second_sigint_ends_at_once(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, program=True, timeouts={"drain": "60s"})
    client = proxy.client()
    client.ask(target="/never")
    origin.accept().request()
    proxy.program.signal(signal.SIGINT)
    eventually(lambda: not proxy.program.is_ready(), "it says that it is not ready any more")
    proxy.program.signal(signal.SIGINT)
    assert proxy.program.wait(5) is not None
    assert client.is_ended_by_peer()


def test_sighup_reloads_the_file_under_open_connections(hive, web, origin: RawOrigin) -> None:
    origin.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew")
    proxy = hive(web, program=True)
    client = proxy.client()
    assert client.get().text == "web"
    proxy.config["services"]["app"]["endpoints"] = [{"id": "new", "address": origin.address}]
    proxy.program.config_file.write_text(proxy.config_text())
    proxy.program.signal(signal.SIGHUP)
    eventually(lambda: client.get().text == "new", "the new endpoint answers, on the old connection")


def test_wrong_file_is_refused_and_the_old_one_stays(hive, web) -> None:
    proxy = hive(web, program=True)
    proxy.program.config_file.write_text('{"listeners": [], "servces": {}}')
    answer = proxy.program.api("POST", "/v1/reload")
    assert 400 <= answer.status < 500
    assert "servces" in answer.text
    assert proxy.client().get().text == "web"


def test_killed_worker_is_replaced(hive, web) -> None:
    proxy = hive(web, program=True)
    assert proxy.client().get().text == "web"
    [worker] = [pid for pid, command in children_of(proxy.program.pid).items() if "worker" in command]
    os.kill(worker, signal.SIGKILL)

    def answers_again() -> bool:
        client = proxy.client()
        client.ask()
        try:
            return client.response().text == "web"
        except (AssertionError, OSError):
            return False

    eventually(answers_again, "a new worker answers")
    assert worker not in children_of(proxy.program.pid)


def test_killed_agent_stops_no_traffic(hive, web) -> None:
    proxy = hive(web, program=True)
    client = proxy.client()
    assert client.get().text == "web"
    [agent] = [pid for pid, command in children_of(proxy.program.pid).items() if "agent" in command]
    os.kill(agent, signal.SIGKILL)
    for _ in range(20):
        assert client.get().text == "web"
    eventually(proxy.program.is_ready, "a new agent answers")
    assert proxy.client().get().text == "web"


@pytest.mark.parametrize("workers", [0, 2])
def test_number_of_workers(hive, web, workers: int) -> None:
    proxy = hive(web, program=True, workers=workers)
    assert {proxy.client().get().text for _ in range(8)} == {"web"}
    running = [command for command in children_of(proxy.program.pid).values() if "worker" in command]
    assert len(running) == workers
    assert proxy.program.stop() == 0


def test_listener_on_a_unix_socket(hive, web, tmp_path) -> None:
    proxy = hive(web, program=True)
    path = tmp_path / "web.sock"
    proxy.config["listeners"].append(
        {"name": "local", "address": f"unix:{path}", "protocol": "http", "routes": [{"name": "all", "service": "app"}]}
    )
    proxy.reload()
    with RawClient(f"unix:{path}") as client:
        assert client.get().text == "web"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30
    )


def test_wrong_file_ends_the_start_with_its_problems(tmp_path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("listeners:\n  - name: web\n    adress: 127.0.0.1:1\n")
    done = run("run", "-c", str(file))
    assert done.returncode == 1
    assert f"{file}:3:5: " in done.stderr + done.stdout
    assert "address" in done.stderr + done.stdout  # did you mean
    assert "Traceback" not in done.stderr


def test_address_in_use_is_said_in_one_sentence(hive, web, tmp_path) -> None:
    proxy = hive(web, program=True)
    file = tmp_path / "same.json"
    file.write_text(proxy.config_text())
    done = run("run", "-c", str(file))
    assert done.returncode != 0
    assert proxy.admin in done.stderr or proxy.address in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [("services",), ("endpoints",), ("routes",), ("stats",), ("endpoints", "app")])
def test_commands_show_a_running_instance(hive, web, arguments: tuple[str, ...]) -> None:
    proxy = hive(web, program=True)
    proxy.client().get()
    done = proxy.program.command(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "app" in done.stdout


def test_commands_say_when_there_is_no_instance(refused_address: str) -> None:
    done = run("--admin", f"http://{refused_address}", "services")
    assert done.returncode == 3
    assert refused_address in done.stderr
    assert "Traceback" not in done.stderr
