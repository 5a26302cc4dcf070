"""What each state of an endpoint means for traffic, whatever the protocol: only a healthy one is given anything new,
and no state takes away what an endpoint has begun."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from datagrams import address_of, udp_socket
from playbook import Origin, Playbook
from tcp_playbook import TcpBook
from udp_playbook import UdpBook

from discovery.model import AccessLog, Endpoint, EndpointState, LogFormat, Service, Settings
from proxy.stats import slots

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
NOT_USABLE = [state for state in EndpointState if state is not EndpointState.HEALTHY]


def app(address: str, state: EndpointState, name: str = "app") -> Service:
    return Service(name=name, endpoints=(Endpoint(id="a", address=address, state=state),))


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as one:
        yield one


def logged(path: Path) -> Settings:
    return Settings(access_log=AccessLog(path=str(path), format=LogFormat.JSON))


@pytest.mark.parametrize("state", NOT_USABLE)
def test_a_request_is_answered_503_when_no_endpoint_is_usable(
    origin: Origin, state: EndpointState, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with Playbook(app(origin.address, state), origins=(origin,), settings=logged(log), log=log) as book:
        client = book.client()
        client.send(GET)
        assert client.response().status == 503
        assert [entry["flags"] for entry in book.log_entries()] == ["UH"]


@pytest.mark.parametrize("state", NOT_USABLE)
def test_an_endpoint_that_leaves_that_state_is_used(origin: Origin, state: EndpointState) -> None:
    with Playbook(app(origin.address, state), origins=(origin,)) as book:
        client = book.client()
        client.send(GET)
        assert client.response().status == 503
        book.apply((app(origin.address, EndpointState.HEALTHY),))
        client.send(GET)
        origin.accept().answer()
        assert client.response().status == 200


@pytest.mark.parametrize("state", NOT_USABLE)
def test_what_it_has_begun_it_finishes_and_what_is_idle_is_closed(origin: Origin, state: EndpointState) -> None:
    with Playbook(app(origin.address, EndpointState.HEALTHY), origins=(origin,)) as book:
        first, second = book.client(), book.client()
        first.send(GET)
        second.send(GET)
        idle, busy = origin.accept(), origin.accept()
        idle.answer()
        assert first.response().status == 200
        busy.head()
        (runtime,) = book.plane.tables.services["app"].endpoints.values()

        book.apply((app(origin.address, state),))

        assert idle.is_ended_by_peer()
        busy.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        assert second.response().body == b"hello"
        assert busy.is_ended_by_peer()
        assert runtime.open == 0
        book.apply((app(origin.address, EndpointState.HEALTHY),))
        assert list(book.plane.tables.services["app"].endpoints.values()) == [runtime]


@pytest.mark.parametrize("state", NOT_USABLE)
def test_a_connection_is_reset_when_no_endpoint_is_usable(origin: Origin, state: EndpointState) -> None:
    with TcpBook(app(origin.address, state, "db"), origins=(origin,)) as book:
        client = book.client()
        assert client.is_ended_by_peer()
        assert book.flags() == ["UH"]


@pytest.mark.parametrize("state", NOT_USABLE)
def test_a_datagram_is_dropped_when_no_endpoint_is_usable(state: EndpointState, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with udp_socket() as origin, UdpBook(app(address_of(origin), state, "dns"), settings=logged(log), log=log) as book:
        book.client().send(b"question")
        book.until(lambda: book.listener_cell(slots.DATAGRAMS_UNROUTED) == 1, "it is dropped")
        assert book.sessions() == []
        assert [entry["flags"] for entry in book.log_entries()] == ["UH"]
