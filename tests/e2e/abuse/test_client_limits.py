"""What one client may have: connections and sessions at a time, and how many it may begin in a second.

Others are served all the while.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from dns_queries import query, wire_of
from instance import Instance
from ports import free_address, split_address
from raw_client import RawClient
from raw_origin import RawOrigin
from waiting import eventually

from proxy.preface.proxy_protocol import write_v1
from proxy.stats.slots import CONNECTIONS_ACTIVE
from proxy.stats.words import TOO_MANY_OF_CLIENT, TOO_OFTEN_OF_CLIENT

Hive = Callable[..., Instance]

ANSWER = [{"name": "local", "filters": [{"direct_response": {"status": 200, "body": "good"}}]}]
LIMIT = {"connections_per_client": 3}
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OTHER = "127.0.0.2"


def is_served(client: RawClient) -> bool:
    client.send(REQUEST)
    return client.response().status == 200


def is_reset(connect: Callable[[], RawClient]) -> bool:
    """The reset may come while the client is still connecting."""
    try:
        client = connect()
    except ConnectionResetError:
        return True
    return client.is_ended_by_peer() and client.was_reset


def get(proxy: Instance, source: str = "") -> RawClient | None:
    """A connection that has been served once; None: it was refused."""
    try:
        client = proxy.client(source)
        return client if is_served(client) else None
    except (OSError, AssertionError):
        return None


def denied(proxy: Instance, word: int, listener: str = "web") -> int:
    embedded = proxy.inside.embedded
    return embedded.table.shared(embedded._rollout.slots[f"listener/{listener}"]).load(word)


def may_have(proxy: Instance, count: int) -> bool:
    """Whether a client that has nothing gets so many connections now, and not one more. It has nothing afterwards."""
    clients = [get(proxy) for _ in range(count + 1)]
    served = [client for client in clients if client is not None]
    for client in served:
        client.close()
    return clients[:count] == served


def test_a_client_has_so_many_connections_and_others_have_theirs(hive: Hive) -> None:
    proxy = hive(routes=ANSWER, limits=LIMIT)
    mine = [proxy.client() for _ in range(3)]
    assert all(map(is_served, mine))
    assert is_reset(proxy.client)
    assert denied(proxy, TOO_MANY_OF_CLIENT) == 1
    assert is_served(proxy.client(OTHER))
    entry = proxy.logged(flags="UO")
    assert entry["flag_details"] == "limits.connections_per_client (3) is reached"
    mine[0].close()
    eventually(lambda: get(proxy), "there is room again")
    assert all(map(is_served, mine[1:]))


def test_a_client_that_has_left_may_come_again(hive: Hive) -> None:
    proxy = hive(routes=ANSWER, limits=LIMIT)
    for _ in range(3):
        eventually(lambda: may_have(proxy, 3), "all places are free again")


@pytest.mark.parametrize("protocol", ["tcp", "auto"])
def test_connections_of_every_protocol_count(hive: Hive, origin: RawOrigin, protocol: str) -> None:
    routes = ANSWER if protocol == "auto" else []
    proxy = hive(origin, listener={"protocol": protocol, "service": "app"}, routes=routes, limits=LIMIT)
    for _ in range(2):
        for client in [proxy.client() for _ in range(3)]:
            client.send(b"\0hello")
            upstream = origin.accept()
            assert upstream.read_exactly(6) == b"\0hello"
            upstream.close()
            assert client.is_ended_by_peer()
            client.close()
        eventually(lambda: proxy.inside.embedded.stats("listener/web")[0][CONNECTIONS_ACTIVE] == 0, "all have left")
        assert denied(proxy, TOO_MANY_OF_CLIENT) == 0
    for _ in range(3):
        proxy.client()
    assert is_reset(proxy.client)
    assert denied(proxy, TOO_MANY_OF_CLIENT) == 1


def test_a_client_that_a_proxy_names_counts_and_the_proxy_does_not(hive: Hive) -> None:
    proxy = hive(routes=ANSWER, limits=LIMIT, trusted_proxies=["127.0.0.1"], listener={"proxy_protocol": "receive"})

    def client_of(name: bytes) -> RawClient:
        client = proxy.client()
        client.send(write_v1((name, 4711), (b"198.51.100.7", 80)))
        return client

    mine = [client_of(b"192.0.2.1") for _ in range(3)]
    assert all(map(is_served, mine))
    assert is_reset(lambda: client_of(b"192.0.2.1"))
    assert is_served(client_of(b"192.0.2.2"))
    assert denied(proxy, TOO_MANY_OF_CLIENT) == 1


def test_sessions_of_datagrams_count(hive: Hive) -> None:
    packets = free_address()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        proxy = hive(
            limits={"connections_per_client": 2},
            listener={"name": "web", "protocol": "udp", "address": packets, "service": "app"},
            routes=[],
            services={"app": {"endpoints": [{"address": address}]}},
        )
        clients = []
        for source in ("127.0.0.1", "127.0.0.1", "127.0.0.1", OTHER):
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            client.bind((source, 0))
            client.sendto(source.encode(), split_address(packets))
            clients.append(client)
        assert sorted(server.recv(100) for _ in range(3)) == [b"127.0.0.1", b"127.0.0.1", OTHER.encode()]
        assert denied(proxy, TOO_MANY_OF_CLIENT) == 1
        for client in clients:
            client.close()


def test_connections_of_dns_count(hive: Hive) -> None:
    dns = free_address()
    proxy = hive(
        routes=ANSWER,
        limits=LIMIT,
        dns={"address": dns},
        services={"web": {"domain": "web.test", "endpoints": [{"address": "10.0.0.1:80"}]}},
    )
    question = query(wire_of([b"web", b"test"]))
    mine = [RawClient(dns) for _ in range(3)]
    for client in mine:
        client.send(len(question).to_bytes(2, "big") + question)
        assert client.read_exactly(2)
    assert is_reset(lambda: RawClient(dns))
    assert denied(proxy, TOO_MANY_OF_CLIENT, "dns/tcp/0") == 1
    mine[0].close()

    def has_room() -> bool:
        try:
            client = RawClient(dns)
            client.send(len(question).to_bytes(2, "big") + question)
        except OSError:
            return False
        return client.receive_more()

    eventually(has_room, "there is room again")


def test_a_client_begins_so_many_in_a_second(hive: Hive) -> None:
    """However fast the machine: the second has room for the rate, and what was left of it before."""
    proxy = hive(routes=ANSWER, limits={"connection_rate_per_client": 20})
    count = 200
    outcomes = [get(proxy) is not None for _ in range(count)]
    assert outcomes[:20] == [True] * 20
    refused = outcomes.count(False)
    assert refused == denied(proxy, TOO_OFTEN_OF_CLIENT)
    assert refused > 0
    assert is_served(proxy.client(OTHER))


def test_a_limit_that_a_reload_brings_or_takes_counts_from_then_on(hive: Hive) -> None:
    proxy = hive(routes=ANSWER)
    before = [proxy.client() for _ in range(5)]
    assert all(map(is_served, before))
    proxy.config["limits"] = LIMIT
    proxy.reload()
    mine = [get(proxy) for _ in range(4)]
    assert [client is not None for client in mine] == [True, True, True, False]
    assert all(map(is_served, before))
    del proxy.config["limits"]
    proxy.reload()
    assert all(is_served(proxy.client()) for _ in range(5))
