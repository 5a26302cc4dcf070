"""Floods of questions: names that nobody knows, asked by one client, leave room for the questions of others."""

from __future__ import annotations

import socket
from collections.abc import Callable

from dns_queries import query, wire_of
from instance import Instance
from ports import free_address, split_address
from waiting import eventually

from proxy.stats.slots import ACTIVE, OVERFLOWS

Hive = Callable[..., Instance]

SERVFAIL = 2
LIMIT = 20


def asking_from(source: str) -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.bind((source, 0))
    client.settimeout(10)
    return client


def test_random_names_of_one_client_do_not_use_up_the_forwarder(hive: Hive) -> None:
    """The resolver is silent, so everything that is passed on stays under way."""
    address = free_address()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver, socket.create_server(("127.0.0.1", 0)):
        resolver.bind(("127.0.0.1", 0))
        resolver.settimeout(10)
        proxy = hive(
            routes=[],
            listener={"protocol": "http"},
            services={"web": {"domain": "web.test", "endpoints": [{"address": "10.0.0.1:80"}]}},
            dns={
                "address": address,
                "forward": f"127.0.0.1:{resolver.getsockname()[1]}",
                "forward_timeout": "30s",
                "forward_pending": 1000,
                "forward_pending_per_client": LIMIT,
            },
        )
        server = split_address(address)
        flooder, other = asking_from("127.0.0.1"), asking_from("127.0.1.1")  # two networks of clients
        for number in range(10 * LIMIT):
            flooder.sendto(query(wire_of([b"n%d" % number, b"victim", b"test"]), number=number), server)
            # One at a time: what the socket has no room for would be lost, and is not what is looked at here.
            eventually(lambda: row(proxy, ACTIVE) + row(proxy, OVERFLOWS) >= number + 1, "it is dealt with")  # noqa: B023
        refused = [flooder.recv(512) for _ in range(9 * LIMIT)]
        assert {answer[3] & 15 for answer in refused} == {SERVFAIL}
        assert (row(proxy, ACTIVE), row(proxy, OVERFLOWS)) == (LIMIT, 9 * LIMIT)
        other.sendto(query(wire_of([b"good", b"test"]), number=7), server)
        asked = wire_of([b"good", b"test"])
        while asked not in resolver.recv(512):
            pass  # those of the flood that were passed on
        other.sendto(query(wire_of([b"web", b"test"]), number=8), server)
        answer = other.recv(512)
        assert answer[:2] == b"\0\x08" and answer[3] & 15 == 0  # names of ours are answered all the while
        flooder.close()
        other.close()


def row(proxy: Instance, cell: int) -> int:
    return proxy.inside.embedded.stats("dns/forward")[0][cell]
