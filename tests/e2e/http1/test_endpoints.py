"""Which endpoint a request goes to: in turn, around dead ones, by weight; and endpoints that come and go."""

from __future__ import annotations

import socket
from collections import Counter

from http_origin import HttpOrigin
from instance import endpoints
from raw_origin import RawOrigin
from waiting import eventually


def test_endpoints_take_turns(hive) -> None:
    with HttpOrigin("one") as one, HttpOrigin("two") as two, HttpOrigin("three") as three:
        client = hive(one, two, three).client()
        names = [client.get().text for _ in range(9)]
        assert Counter(names) == {"one": 3, "two": 3, "three": 3}
        assert names[:3] == names[3:6] == names[6:9]


def test_dead_endpoint_is_stepped_around(hive, refused_address: str) -> None:
    with HttpOrigin("alive") as alive:
        proxy = hive(refused_address, alive)
        client = proxy.client()
        assert [client.get().text for _ in range(6)] == ["alive"] * 6
        entry = proxy.logged(attempts=2)
        assert (entry["status"], entry["endpoint"]) == (200, alive.address)


def test_share_of_a_dead_endpoint_goes_to_all_others(hive, refused_address: str) -> None:
    with HttpOrigin("one") as one, HttpOrigin("two") as two:
        client = hive(one, two, refused_address).client()
        assert Counter(client.get().text for _ in range(20)) == {"one": 10, "two": 10}


def test_post_steps_around_a_dead_endpoint_too(hive, refused_address: str) -> None:
    """A connection that was never made has carried nothing, so sending again is safe for every method."""
    with HttpOrigin("alive") as alive:
        client = hive(refused_address, alive).client()
        for _ in range(4):
            client.ask("POST", "/echo", body=b"once")
            assert client.response().json["body"] == "once"
        assert len(alive.seen) == 4


def test_only_dead_endpoints_is_502(hive, refused_address: str) -> None:
    proxy = hive(refused_address)
    client = proxy.client()
    assert client.get().status == 502
    assert proxy.logged(status=502)["flags"] == "UF"
    assert client.get().status == 502  # the client's connection stays usable


def test_endpoint_with_weight_zero_takes_nothing(hive) -> None:
    with HttpOrigin("active") as active, HttpOrigin("parked") as parked:
        client = hive(active, {"address": parked.address, "weight": 0}).client()
        assert {client.get().text for _ in range(6)} == {"active"}


def test_endpoint_with_a_free_connection_is_preferred_to_one_that_is_full(
    hive, origin: RawOrigin, second_origin: RawOrigin
) -> None:
    proxy = hive(origin, second_origin, app={"pool": {"max_connections": 1}}, timeouts={"connect": "500ms"})
    proxy.client().ask(target="/long")
    full = eventually(
        lambda: next((one for one in (origin, second_origin) if one.has_connection_waiting()), None), "a connection"
    )
    free = second_origin if full is origin else origin
    free.serve()
    client = proxy.client()
    assert [client.get(f"/{number}").status for number in range(6)] == [200] * 6
    assert len(free.requests) == 6
    assert proxy.waiting() == 0


def test_backup_serves_only_when_no_other_can(hive, refused_address: str) -> None:
    with HttpOrigin("primary") as primary, HttpOrigin("backup") as backup:
        spare = {"address": backup.address, "backup": True}
        client = hive(primary, spare).client()
        assert {client.get().text for _ in range(4)} == {"primary"}
        client = hive(refused_address, spare).client()
        assert client.get().text == "backup"


def test_service_without_endpoints_is_503(hive) -> None:
    proxy = hive(app={"endpoints": []})
    client = proxy.client()
    assert client.get().status == 503
    assert proxy.logged(status=503)["flags"] == "UH"


def test_removed_endpoint_gets_no_new_requests_and_finishes_the_old(hive, origin: RawOrigin) -> None:
    with HttpOrigin("new") as new:
        proxy = hive(origin)
        client, other = proxy.client(), proxy.client()
        client.ask(target="/long")
        upstream = origin.accept()
        upstream.request()

        proxy.config["services"]["app"]["endpoints"] = endpoints({"id": "other", "address": new.address})
        proxy.reload()
        assert {other.get().text for _ in range(4)} == {"new"}

        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        assert client.response().body == b"done"
        assert upstream.is_ended_by_peer()  # not kept: nothing will be sent there again
        assert client.get().text == "new"


def test_added_endpoint_takes_its_share(hive) -> None:
    with HttpOrigin("one") as one, HttpOrigin("two") as two:
        proxy = hive(one)
        client = proxy.client()
        assert {client.get().text for _ in range(3)} == {"one"}
        proxy.config["services"]["app"]["endpoints"] = endpoints(one, two)
        proxy.reload()
        assert {client.get().text for _ in range(4)} == {"one", "two"}


def test_unix_socket_endpoint(hive, tmp_path) -> None:
    path = tmp_path / "origin.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        client = hive(f"unix:{path}").client()
        client.ask(target="/over-unix")
        listener.settimeout(10)
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(65536).startswith(b"GET /over-unix HTTP/1.1\r\n")
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix")
            assert client.response().text == "unix"
