"""A real Prometheus finds its targets with hivemesh, by http_sd and as Consul, and loses what is deregistered.

Debian's Prometheus knows nothing of Consul; there only http_sd is tried, and what Prometheus asks Consul is asked by
tests/proxy/admin/consul/test_clients.py.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import yaml
from instance import Instance
from ports import free_address, split_address
from program import ROOT, Program, installed
from waiting import eventually

EXAMPLES = ROOT / "examples/prometheus"
# Prometheus passes news of its targets on every 5 seconds.
LIMIT = 30.0

pytestmark = pytest.mark.skipif(
    installed("prometheus") is None or installed("promtool") is None, reason="Prometheus is not installed"
)


def get(address: str, path: str) -> Any:
    connection = HTTPConnection(*split_address(address), timeout=10)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def check_config(path: Path) -> str:
    """What promtool complains about."""
    promtool = installed("promtool")
    assert promtool is not None
    command = [promtool, "check", "config", str(path)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return "" if checked.returncode == 0 else checked.stdout + checked.stderr


def kinds() -> list[str]:
    """The examples that this Prometheus is built for."""
    is_built_in = "consul_sd_configs not found" not in check_config(EXAMPLES / "consul_sd.yaml")
    return ["consul_sd", "http_sd"] if is_built_in else ["http_sd"]


class Prometheus(Program):
    """With the configurations of examples/prometheus, as one, and with `admin` in the place of theirs."""

    def __init__(self, directory: Path, admin: str) -> None:
        jobs = []
        for name in kinds():
            text = (EXAMPLES / f"{name}.yaml").read_text().replace("127.0.0.1:9900", admin)
            for job in yaml.safe_load(text)["scrape_configs"]:
                jobs.append({**job, "job_name": f"{name}-{job['job_name']}"})
        config = directory / "prometheus.yaml"
        text = yaml.safe_dump({"scrape_configs": jobs})
        config.write_text(text.replace("refresh_interval: 1s", "refresh_interval: 100ms").replace(": 5s", ": 200ms"))
        self.address = free_address()
        path = installed("prometheus")
        assert path is not None
        command = [
            path,
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={self.address}",
            "--scrape.discovery-reload-interval=100ms",
        ]
        super().__init__(command, directory, self.is_ready, "prometheus")

    def is_ready(self) -> bool:
        try:
            return "data" in get(self.address, "/api/v1/targets?state=active")
        except (OSError, ValueError):
            return False

    def targets(self, job: str) -> dict[str, dict[str, str]]:
        """Labels by address."""
        found = get(self.address, "/api/v1/targets?state=active")["data"]["activeTargets"]
        return {
            target["discoveredLabels"]["__address__"]: target["labels"]
            for target in found
            if target["scrapePool"] == job
        }


@pytest.fixture
def proxy(hive) -> Instance:
    return hive("127.0.0.1:1", program=True)


@pytest.fixture
def prometheus(proxy: Instance, tmp_path: Path) -> Iterator[Prometheus]:
    with Prometheus(tmp_path, proxy.admin) as running:
        yield running


def put(proxy: Instance, path: str, body: object = None) -> None:
    answer = proxy.program.api("PUT", path, json.dumps(body).encode() if body is not None else None)
    assert answer.status == 200, answer.text  # type: ignore[attr-defined]


def test_prometheus_sees_what_is_registered_and_follows_a_deregistration(proxy, prometheus) -> None:
    first = {"ID": "shop-1", "Name": "shop", "Address": "127.0.0.1", "Port": 9101, "Meta": {"version": "v1"}}
    second = {"ID": "shop-2", "Name": "shop", "Address": "127.0.0.1", "Port": 9102, "Check": {"TTL": "1h"}}
    put(proxy, "/v1/agent/service/register", first)
    put(proxy, "/v1/agent/service/register", second)
    put(proxy, "/v1/agent/check/pass/service:shop-2")
    jobs = [f"{kind}-services" for kind in kinds()]

    def both_see(*addresses: str) -> bool:
        return all(set(prometheus.targets(job)) == set(addresses) for job in jobs)

    eventually(lambda: both_see("127.0.0.1:1", "127.0.0.1:9101", "127.0.0.1:9102"), "three targets", LIMIT)
    for job in jobs:
        labels = prometheus.targets(job)["127.0.0.1:9101"]
        assert (labels["service"], labels["version"]) == ("shop", "v1")

    put(proxy, "/v1/agent/service/deregister/shop-1")
    put(proxy, "/v1/agent/check/fail/service:shop-2")
    eventually(lambda: both_see("127.0.0.1:1"), "only the file's endpoint is left", LIMIT)
    assert set(prometheus.targets("http_sd-hivemesh")) == {proxy.admin}


def test_metrics_pass_promtool(proxy) -> None:
    promtool = installed("promtool")
    assert promtool is not None
    put(proxy, "/v1/services/shop/endpoints/shop-1", {"address": "127.0.0.1:9101"})
    metrics = proxy.program.api("GET", "/metrics").text
    checked = subprocess.run([promtool, "check", "metrics"], input=metrics, capture_output=True, text=True, timeout=30)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize("name", kinds() if installed("promtool") else [])
def test_the_examples_are_valid(name: str) -> None:
    assert check_config(EXAMPLES / f"{name}.yaml") == ""
