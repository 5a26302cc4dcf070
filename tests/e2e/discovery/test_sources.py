"""Services from a watched directory, and endpoints that are names: traffic follows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from dns_origin import Dnsmasq, dns_is_installed
from http_origin import HttpOrigin
from instance import Instance
from ports import free_address
from waiting import eventually


@pytest.fixture
def origins() -> Iterator[list[HttpOrigin]]:
    with ExitStack() as stack:
        yield [stack.enter_context(HttpOrigin(name)) for name in ("one", "two")]


def answers(proxy: Instance, host: str) -> str:
    response = proxy.client().get(headers=[("host", host)])
    return response.text if response.status == 200 else str(response.status)


def problems(proxy: Instance) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(proxy.program.api("GET", "/v1/problems").text)
    return found


def test_a_file_is_dropped_changed_broken_and_removed(hive, origins: list[HttpOrigin], tmp_path: Path) -> None:
    one, two = origins
    services = tmp_path / "services"
    services.mkdir()
    file = services / "web.yaml"
    file.write_text(f"{{ name: web, domain: web.test, endpoints: [ {{ address: '{one.address}' }} ] }}")
    proxy = hive(program=True, routes=[], registry={"directory": str(services)})

    assert answers(proxy, "web.test") == "one"  # from the first moment

    (services / "api.json").write_text(
        json.dumps({"services": {"api": {"domain": "api.test", "endpoints": [{"address": two.address}]}}})
    )
    eventually(lambda: answers(proxy, "api.test") == "two", "the new file is in force")

    file.write_text(f"{{ name: web, domain: web.test, endpoints: [ {{ address: '{two.address}' }} ] }}")
    eventually(lambda: answers(proxy, "web.test") == "two", "the changed file is in force")

    file.write_text("{ name: web, endpoints: [ { adress: '127.0.0.1:1' } ] }")
    [problem] = eventually(lambda: problems(proxy), "the mistake is told")
    assert f"{file}:1:29: endpoints[0].adress: unknown key, did you mean 'address'?" in problem["message"]
    assert answers(proxy, "web.test") == "two"

    file.unlink()
    eventually(lambda: answers(proxy, "web.test") == "404", "the removed file is not in force")
    assert answers(proxy, "api.test") == "two"
    assert problems(proxy) == []


@pytest.mark.skipif(not dns_is_installed(), reason="needs dnsmasq, dig and dnsperf")
def test_traffic_follows_a_name(hive, origins: list[HttpOrigin], tmp_path: Path) -> None:
    address = free_address()

    def zone(origin: HttpOrigin) -> Dnsmasq:
        host, port = origin.address.split(":")
        records = f"--host-record=n.test,{host}", f"--srv-host=_web._tcp.test,n.test,{port}", "--local=/test/"
        return Dnsmasq(tmp_path, "zone", address, hosts=0, options=records)

    one, two = origins
    first = zone(one)
    try:
        app = {"domain": "web.test", "endpoints": [{"id": "a", "address": "srv:_web._tcp.test"}]}
        proxy = hive(program=True, routes=[], app=app, registry={"resolvers": [address]})
        assert answers(proxy, "web.test") == "one"  # from the first moment
    finally:
        first.stop()
    [problem] = eventually(lambda: problems(proxy), "nobody knows the name any more")
    assert problem["message"].startswith(f"_web._tcp.test: {address} cannot be asked: connection refused")
    assert answers(proxy, "web.test") == "one"

    second = zone(two)
    try:
        eventually(lambda: answers(proxy, "web.test") == "two", "the name stands for another endpoint")
        eventually(lambda: problems(proxy) == [], "and that is no problem")

        proxy.config["services"]["app"]["endpoints"] = [{"id": "a", "address": f"n.test:{one.address.split(':')[1]}"}]
        proxy.reload()
        eventually(lambda: answers(proxy, "web.test") == "one", "the new configuration has another name")
    finally:
        second.stop()
