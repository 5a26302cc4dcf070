"""VictoriaMetrics, whose client of Consul is its own, finds its targets with hivemesh as it would with Consul."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from instance import Instance
from ports import free_address, split_address
from program import ROOT, Program, installed
from waiting import eventually

LIMIT = 30.0

pytestmark = pytest.mark.skipif(installed("victoria-metrics") is None, reason="VictoriaMetrics is not installed")


class VictoriaMetrics(Program):
    """With the example of Prometheus for Consul, and with `admin` in the place of its address."""

    def __init__(self, directory: Path, admin: str) -> None:
        config = directory / "scrape.yaml"
        text = (ROOT / "examples/prometheus/consul_sd.yaml").read_text()
        config.write_text(text.replace("127.0.0.1:9900", admin))
        self.address = free_address()
        path = installed("victoria-metrics")
        assert path is not None
        command = [
            path,
            f"-storageDataPath={directory / 'data'}",
            f"-httpListenAddr={self.address}",
            f"-promscrape.config={config}",
            "-promscrape.consulSDCheckInterval=200ms",
            "-promscrape.config.strictParse=false",  # the interval is Prometheus' alone
        ]
        super().__init__(command, directory, self.is_ready, "victoria-metrics")

    def is_ready(self) -> bool:
        try:
            self.targets()
        except (OSError, ValueError):
            return False
        return True

    def targets(self) -> dict[str, dict[str, str]]:
        """What was discovered, by address."""
        connection = HTTPConnection(*split_address(self.address), timeout=10)
        try:
            connection.request("GET", "/api/v1/targets")
            active = json.loads(connection.getresponse().read())["data"]["activeTargets"]
        finally:
            connection.close()
        return {target["discoveredLabels"]["__address__"]: target["discoveredLabels"] for target in active}


@pytest.fixture
def proxy(hive) -> Instance:
    return hive("127.0.0.1:1", program=True)


@pytest.fixture
def scraper(proxy: Instance, tmp_path: Path) -> Iterator[VictoriaMetrics]:
    with VictoriaMetrics(tmp_path, proxy.admin) as running:
        yield running


def put(proxy: Instance, path: str, body: object = None) -> None:
    answer = proxy.program.api("PUT", path, json.dumps(body).encode() if body is not None else None)
    assert answer.status == 200, answer.text  # type: ignore[attr-defined]


def test_it_sees_what_is_registered_and_follows_a_deregistration(proxy, scraper) -> None:
    registration = {"ID": "shop-1", "Name": "shop", "Address": "127.0.0.1", "Port": 9101, "Tags": ["prod"]}
    put(proxy, "/v1/agent/service/register", {**registration, "Meta": {"team": "a"}})
    eventually(lambda: "127.0.0.1:9101" in scraper.targets(), "the registered instance is a target", LIMIT)
    labels = scraper.targets()["127.0.0.1:9101"]
    assert (labels["__meta_consul_service"], labels["__meta_consul_service_id"]) == ("shop", "shop-1")
    assert (labels["__meta_consul_tags"], labels["__meta_consul_service_metadata_team"]) == (",prod,", "a")
    assert labels["__meta_consul_health"] == "passing"

    put(proxy, "/v1/agent/service/deregister/shop-1")
    eventually(lambda: "127.0.0.1:9101" not in scraper.targets(), "it is no target any more", LIMIT)
