"""Via tells who forwarded, and stops a request that goes in circles."""

from __future__ import annotations

from instance import Instance
from raw_origin import RawOrigin


def test_via_names_protocol_and_instance(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask()
    via = origin.accept().answer().header("via")
    assert via.startswith("1.1 ")
    assert len(via.split(" ")) == 2
    assert client.response().status == 200


def test_via_is_appended_to_what_is_there(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask(headers={"Via": "1.0 fred, 1.1 other"})
    values = ", ".join(origin.accept().answer().all("via")).split(", ")
    assert values[:2] == ["1.0 fred", "1.1 other"]
    assert len(values) == 3
    assert client.response().status == 200


def test_request_that_comes_back_is_a_loop(hive, origin: RawOrigin) -> None:
    proxy: Instance = hive(origin)
    client = proxy.client()
    client.ask()
    upstream = origin.accept()
    via = upstream.answer().header("via")
    client.response()
    client.ask(target="/back", headers={"Via": via})
    assert client.response().status == 508
    assert upstream.has_nothing_to_read()
    assert proxy.logged(path="/back")["status"] == 508


def test_two_instances_in_a_row_are_no_loop(hive, origin: RawOrigin) -> None:
    inner = hive(origin)
    outer = hive(inner)
    client = outer.client()
    client.ask()
    values = ", ".join(origin.accept().answer().all("via")).split(", ")
    assert len(values) == len(set(values)) == 2
    assert client.response().status == 200


def test_instance_that_routes_to_itself_answers_508(hive, refused_address: str) -> None:
    proxy = hive(refused_address)
    proxy.config["services"]["app"]["endpoints"] = [{"id": "self", "address": proxy.address}]
    proxy.reload()
    assert proxy.client().get().status == 508
