"""Connections of one client go to one endpoint where the service says so, as its requests do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from tcp_playbook import Client, Origin, TcpBook, service

from discovery.model import EndpointState, PoolPolicy, Service
from discovery.policies import Affinity, BrokenAffinity, KeyKind
from proxy.stats import words

MakeOrigin = Callable[[], Origin]
BY_ADDRESS = Affinity(kind=KeyKind.CLIENT_IP)


def three(make_origin: MakeOrigin, affinity: Affinity = BY_ADDRESS, **given: Any) -> tuple[Service, tuple[Origin, ...]]:
    origins = tuple(make_origin() for _ in range(3))
    return service("db", *origins, affinity=affinity, **given), origins


def connect(book: TcpBook, source: str) -> Client:
    client = Client(book.address, source)
    client.book = book
    book.clients.append(client)
    book.settle()
    return client


def reached(origins: tuple[Origin, ...]) -> int:
    [found] = [number for number, origin in enumerate(origins) if origin.has_connection_waiting()]
    return found


def state(of: Service, number: int, wanted: EndpointState) -> Service:
    endpoints = list(of.endpoints)
    endpoints[number] = msgspec.structs.replace(endpoints[number], state=wanted)
    return msgspec.structs.replace(of, endpoints=tuple(endpoints))


def test_a_client_has_one_endpoint(make_origin: MakeOrigin) -> None:
    whole, origins = three(make_origin)
    with TcpBook(whole, origins=origins) as book:
        places: dict[str, set[int]] = {}
        for _ in range(2):
            for number in range(2, 42):  # with fewer, an endpoint may have none of them by chance
                source = f"127.0.0.{number}"
                connect(book, source)
                places.setdefault(source, set()).add(reached(origins))
        assert all(len(found) == 1 for found in places.values())
        assert set.union(*places.values()) == {0, 1, 2}


def test_a_client_whose_endpoint_is_down_goes_elsewhere_and_that_is_said(make_origin: MakeOrigin) -> None:
    whole, origins = three(make_origin)
    with TcpBook(whole, origins=origins) as book:
        connect(book, "127.0.0.2").close()
        home = reached(origins)
        origins[home].connections[-1].close()
        book.gone()
        book.apply((state(whole, home, EndpointState.UNHEALTHY),))
        connect(book, "127.0.0.2")
        assert reached(origins) != home
        assert book.table.shared(book.numbers["service/db"]).load(words.AFFINITY_BROKEN) == 1


def test_a_strict_client_is_refused(make_origin: MakeOrigin) -> None:
    whole, origins = three(make_origin, msgspec.structs.replace(BY_ADDRESS, broken=BrokenAffinity.FAIL))
    with TcpBook(whole, origins=origins) as book:
        connect(book, "127.0.0.2").close()
        home = reached(origins)
        origins[home].connections[-1].close()
        book.gone()
        book.apply((state(whole, home, EndpointState.UNHEALTHY),))
        client = connect(book, "127.0.0.2")
        assert client.is_ended_by_peer() and client.was_reset


def test_a_full_endpoint_is_waited_for(make_origin: MakeOrigin) -> None:
    whole, origins = three(make_origin, pool=PoolPolicy(max_connections=1))
    with TcpBook(whole, origins=origins) as book:
        first = connect(book, "127.0.0.2")
        home = reached(origins)
        connect(book, "127.0.0.2")
        assert not any(origin.has_connection_waiting() for origin in origins)
        first.close()
        origins[home].connections[-1].close()
        book.settle()
        assert reached(origins) == home
