"""The real program: what registers itself gets requests, checked first, and gets none once it has left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from http_origin import HttpOrigin
from instance import Instance
from ports import free_port
from program import ROOT
from waiting import eventually


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    instance = Instance(tmp_path_factory.mktemp("hive"), app={"endpoints": []}, program=True)
    yield instance
    instance.close()


def test_the_example_registers_itself_and_leaves(proxy: Instance) -> None:
    port = free_port()
    environment = {**os.environ, "HIVEMESH_ADMIN": f"http://{proxy.admin}", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "examples/register.py"), "app", str(port)]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: proxy.client().get().status == 200, "it gets requests")
        assert proxy.client().get().text == "hi\n"
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
    eventually(lambda: proxy.client().get().status == 503, "nobody is there any more")


def test_an_endpoint_gets_requests_after_its_first_check(proxy: Instance) -> None:
    with HttpOrigin("checked") as origin:
        check = ["--check", "http=/health", "--interval", "1s"]
        added = proxy.program.command("register", "app", origin.address, "--id", "c1", *check)
        assert (added.returncode, added.stdout) == (0, "registered app/c1\n")
        eventually(lambda: proxy.client().get().text == "checked", "it passed its check")
        told = json.loads(proxy.program.api("GET", "/v1/services/app/endpoints/c1").text)  # type: ignore[attr-defined]
        assert [line["state"] for line in told["history"]] == ["checking", "healthy"]
        assert (told["check"]["last_result"], told["check"]["failures"]) == ("success", 0)
        assert proxy.program.command("drain", "app/c1").returncode == 0
        eventually(lambda: proxy.client().get().status == 503, "it takes nothing new")
        assert proxy.program.command("deregister", "app", "c1").returncode == 0


def test_a_registration_survives_a_reload(proxy: Instance) -> None:
    with HttpOrigin("kept") as origin:
        put = proxy.program.api(
            "PUT", "/v1/services/app/endpoints/k1", json.dumps({"address": origin.address}).encode()
        )
        assert put.status == 200
        proxy.config["timeouts"] = {"connect": "4s"}
        proxy.reload()
        eventually(lambda: proxy.client().get().text == "kept", "it is still there")
        proxy.program.api("DELETE", "/v1/services/app/endpoints/k1")
