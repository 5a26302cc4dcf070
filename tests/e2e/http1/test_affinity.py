"""Affinity over processes: a real cookie jar, two workers, an agent that dies, an upgrade, an endpoint that dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from http_origin import HttpOrigin
from ports import free_address, split_address
from processes import Hive, listener
from waiting import eventually


@pytest.fixture
def origins() -> Iterator[dict[str, HttpOrigin]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(HttpOrigin(name)) for name in "abc"}


def config(origins: dict[str, HttpOrigin], **app: Any) -> dict[str, Any]:
    endpoints = [{"id": name, "address": origin.address} for name, origin in origins.items()]
    check = {"protocol": "tcp", "interval": "1s", "timeout": "1s", "unhealthy_threshold": 1}
    return {
        "admin": {"address": free_address()},
        "workers": 2,
        "listeners": [listener("web", {"name": "all", "service": "app"})],
        "services": {"app": {"endpoints": endpoints, "health_check": check, **app}},
    }


class Curl:
    """curl with a cookie jar of its own; every call is a new connection, so either worker may get it."""

    def __init__(self, hive: Hive, jar: Path) -> None:
        self.url = f"http://{hive.config['listeners'][0]['address']}/"
        self.jar = jar

    def get(self) -> str:
        done = subprocess.run(
            ["curl", "-sS", "-m", "10", "-b", str(self.jar), "-c", str(self.jar), self.url],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def cookie(self) -> str:
        [line] = [line for line in self.jar.read_text().splitlines() if "\thm\t" in line]
        return line.rpartition("\t")[2]


def all_take_part(hive: Hive) -> None:
    """Each endpoint has been checked for the first time, and both workers know: none moves a client any more."""

    def states() -> set[str]:
        return {each["state"] for each in json.loads(hive.admin("GET", "/v1/services/app/endpoints")[1])}

    eventually(lambda: states() == {"healthy"} and len(per_worker(hive)) == 3, "all endpoints take requests")


def per_worker(hive: Hive, cookie: str = "", count: int = 40) -> Counter[str]:
    """Who answers on many connections."""
    found: Counter[str] = Counter()
    for _ in range(count):
        connection = HTTPConnection(*split_address(hive.config["listeners"][0]["address"]), timeout=10)
        connection.request("GET", "/", headers={"Cookie": cookie} if cookie else {})
        found[connection.getresponse().read().decode()] += 1
        connection.close()
    return found


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_a_cookie_holds_over_workers_agents_and_upgrades_and_moves_when_its_endpoint_dies(
    tmp_path: Path, origins: dict[str, HttpOrigin]
) -> None:
    with Hive(tmp_path, config(origins, affinity={"cookie": "hm"})) as hive:
        all_take_part(hive)
        curl = Curl(hive, tmp_path / "jar")
        first = curl.get()
        cookie = curl.cookie()
        pair = f"hm={cookie}"
        assert per_worker(hive, pair) == {first: 40}
        assert set(per_worker(hive)) == {"a", "b", "c"}

        os.kill(hive.children()["agent"], signal.SIGKILL)
        hive.await_event("started", 2)
        # The successor reads the file again, which says nothing of a secret, and puts what it says in force.
        hive.config["services"]["app"]["metadata"] = {"reloaded": "yes"}
        hive.write()
        hive.await_event("reload succeeded")
        assert per_worker(hive, pair) == {first: 40}

        hive.signal(signal.SIGUSR2)
        hive.await_event("former agent exited")
        assert per_worker(hive, pair) == {first: 40}
        assert curl.get() == first and curl.cookie() == cookie

        # The secret is told to nobody.
        shown = json.loads(hive.admin("GET", "/v1/config")[1])
        assert set(shown["secret"]) == {"*"}
        assert "secret" not in hive.log()

        origins[first].close()
        second = eventually(lambda: (got := curl.get()) in "abc" and curl.cookie() != cookie and got, "it is re-pinned")
        assert second != first
        assert per_worker(hive, f"hm={curl.cookie()}") == {second: 40}


def test_a_header_and_an_address_lead_to_one_endpoint_in_every_worker(
    tmp_path: Path, origins: dict[str, HttpOrigin]
) -> None:
    settings = config(origins, affinity={"header": "cookie"})  # any header will do
    with Hive(tmp_path, settings) as hive:
        all_take_part(hive)
        places = [per_worker(hive, f"user={number}", 8) for number in range(16)]  # all alike: 3 ** -15, by the ports
        assert all(len(found) == 1 for found in places)
        assert len({next(iter(found)) for found in places}) > 1
        hive.config["services"]["app"]["affinity"] = {"client_ip": True}
        hive.write()
        hive.await_event("reload succeeded")
        assert len(per_worker(hive)) == 1


def test_two_workers_split_as_the_weights_say(tmp_path: Path, origins: dict[str, HttpOrigin]) -> None:
    """Over HTTP and two workers a split is what its weights say."""
    settings = config(origins, traffic_split=[{"version": "v1", "weight": 80}, {"version": "v2", "weight": 20}])
    for endpoint, version in zip(settings["services"]["app"]["endpoints"], ("v1", "v2", "v2"), strict=True):
        endpoint["version"] = version
    with Hive(tmp_path, settings) as hive:
        all_take_part(hive)
        count = 2000
        found: Counter[str] = Counter()
        for _ in range(8):
            connection = HTTPConnection(*split_address(hive.config["listeners"][0]["address"]), timeout=10)
            for _ in range(count // 8):
                connection.request("GET", "/")
                found[connection.getresponse().read().decode()] += 1
            connection.close()
        for names, share in (("a", 0.8), ("bc", 0.2)):
            got = sum(found[name] for name in names)
            assert abs(got - count * share) < 5 * (count * share * (1 - share)) ** 0.5, found
