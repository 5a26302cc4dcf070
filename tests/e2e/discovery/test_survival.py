"""What was registered and who is healthy survive the agent, an upgrade and a restart, and traffic does not notice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from http_origin import HttpOrigin
from ports import free_address, split_address
from processes import Hive, Load, fail_to_start, listener
from waiting import eventually


@pytest.fixture
def origin() -> Iterator[HttpOrigin]:
    with HttpOrigin("one") as origin:
        yield origin


def config(store: str, **more: Any) -> dict[str, Any]:
    return {
        "admin": {"address": free_address()},
        "listeners": [listener("web", {"name": "all", "service": "app"})],
        # Far from a second check: who is healthy after a restart was not checked again.
        "services": {"app": {"health_check": {"protocol": "tcp", "interval": "1h"}}},
        "registry": {"store": store},
        **more,
    }


def call(hive: Hive, method: str, path: str, body: object = None) -> Any:
    connection = HTTPConnection(*split_address(hive.config["admin"]["address"]), timeout=10)
    try:
        connection.request(method, path, None if body is None else json.dumps(body).encode())
        response = connection.getresponse()
        text = response.read()
        assert response.status < 300, (response.status, text)
        return json.loads(text) if text else None
    finally:
        connection.close()


def register(hive: Hive, origin: HttpOrigin) -> None:
    call(hive, "PUT", "/v1/services/app/endpoints/e1", {"address": origin.address})
    call(hive, "PUT", "/v1/services/app/endpoints/e2", {"address": origin.address, "ttl": "1h"})
    call(hive, "POST", "/v1/services/app/endpoints/e2/drain")
    eventually(lambda: states(hive) == {"e1": "healthy", "e2": "draining"}, "it is checked")
    hive.answers("one")


def states(hive: Hive) -> dict[str, str]:
    try:
        found = call(hive, "GET", "/v1/services/app/endpoints")
    except OSError:
        return {}  # between two agents
    return {each["id"]: each["state"] for each in found}


@pytest.mark.parametrize(("store", "event"), [("sqlite", "killed"), ("sqlite", "upgraded"), ("memory", "upgraded")])
def test_registrations_and_health_survive_an_agent(tmp_path: Path, origin: HttpOrigin, store: str, event: str) -> None:
    where = "memory:" if store == "memory" else f"sqlite:{tmp_path}/registry.db"
    with Hive(tmp_path, config(where)) as hive:
        register(hive, origin)
        agent = hive.children()["agent"]
        with Load(hive.config["listeners"][0]["address"], threads=2) as load:
            load.goes_on()
            if event == "killed":
                os.kill(agent, signal.SIGKILL)
                hive.await_event("started", 2)
            else:
                hive.signal(signal.SIGUSR2)
                hive.await_event("former agent exited")
            load.goes_on()
            eventually(lambda: states(hive) == {"e1": "healthy", "e2": "draining"}, "all is there")
            call(hive, "PUT", "/v1/services/app/endpoints/e3", {"address": origin.address})
            load.goes_on()
        assert load.failures == []
        assert not [entry for entry in hive.entries() if entry.get("to") == "unhealthy"]


def test_registrations_survive_the_program(tmp_path: Path, origin: HttpOrigin) -> None:
    settings = config(f"sqlite:{tmp_path}/registry.db")
    with Hive(tmp_path, settings) as hive:
        register(hive, origin)
    with Hive(tmp_path, settings) as hive:
        eventually(lambda: states(hive) == {"e1": "healthy", "e2": "draining"}, "all is there, and checked anew")
        hive.answers("one")


def test_what_a_directory_said_survives_an_agent_and_the_directory(tmp_path: Path, origin: HttpOrigin) -> None:
    directory = tmp_path / "services"
    directory.mkdir()
    service = {"name": "app", "endpoints": [{"id": "d1", "address": origin.address}]}
    (directory / "app.json").write_text(json.dumps(service))
    settings = config("memory:", services={"other": {}})
    settings["registry"]["directories"] = [str(directory)]
    settings["listeners"] = [{"name": "web", "address": free_address()}]
    service["domain"] = "app.test"
    (directory / "app.json").write_text(json.dumps(service))
    with Hive(tmp_path, settings) as hive:
        assert states(hive) == {"d1": "healthy"}, "a start waits for its directories"
        shutil.rmtree(directory)
        os.kill(hive.children()["agent"], signal.SIGKILL)
        hive.await_event("started", 2)
        assert states(hive) == {"d1": "healthy"}
        eventually(lambda: any("cannot be read" in each for each in hive.problems()), "it is told")


def test_a_refused_file_changes_nothing_and_an_accepted_one_leaves_the_api_its_say(
    tmp_path: Path, origin: HttpOrigin
) -> None:
    with Hive(tmp_path, config("memory:")) as hive, socket.create_server(("127.0.0.1", 0)) as taken:
        register(hive, origin)
        before = call(hive, "GET", "/v1/services/app")
        app = hive.config["services"]["app"]
        app["endpoints"] = [{"id": "e1", "address": "127.0.0.1:1"}]
        port = taken.getsockname()[1]
        hive.config["listeners"].append({"name": "more", "address": f"127.0.0.1:{port}"})
        hive.write()
        hive.await_event("reload failed")

        assert call(hive, "GET", "/v1/services/app") == before
        hive.answers("one")

        hive.config["listeners"].pop()
        hive.write()
        hive.await_event("reload succeeded")
        assert "service app: endpoint e1 of the file is overridden by the api" in hive.problems()
        assert states(hive) == {"e1": "healthy", "e2": "draining"}
        hive.answers("one")


def test_a_store_that_cannot_be_used_is_one_sentence_and_no_start(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(b"something else " * 500)
    ended = fail_to_start(tmp_path, config(f"sqlite:{path}"))
    assert ended.returncode != 0
    assert f"hivemesh: registry.store: {path} cannot be used: file is not a database" in ended.stderr
    assert "Traceback" not in ended.stderr
