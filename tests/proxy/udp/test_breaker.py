"""Circuit breakers and datagrams: refused is an error, the first answer of a session is a success."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from breakers import end_ejection, endpoint, state, trip
from datagrams import address_of, udp_socket
from udp_playbook import UdpBook, service

from discovery.policies import CircuitBreaker
from mesh.breaker import CLOSED, HALF_OPEN, OPEN
from proxy.stats import slots

TWO = CircuitBreaker(consecutive_errors=2, half_open_requests=1)


@pytest.fixture
def origin() -> Iterator[socket.socket]:
    with udp_socket() as sock:
        yield sock


def dead_address() -> str:
    with udp_socket() as sock:
        return address_of(sock)


def test_sessions_that_are_refused_open_it_and_then_datagrams_are_dropped() -> None:
    with UdpBook(service("dns", dead_address(), circuit_breaker=TWO)) as book:
        for count in (1, 2):
            book.client().send(b"x")
            book.until(lambda count=count: endpoint(book).slot.total(slots.CONNECT_FAILURES) == count, "the refusal")
        assert state(book) == OPEN
        book.client().send(b"x")
        book.until(lambda: book.listener_cell(slots.OVERFLOWS) == 1, "the datagram was dropped")
        assert not book.sessions()


def test_the_first_answer_of_a_session_is_a_success(origin: socket.socket) -> None:
    with UdpBook(service("dns", origin, circuit_breaker=TWO)) as book:
        trip(book)
        end_ejection(book)
        client = book.client()
        client.send(b"x")
        book.until(lambda: state(book) == HALF_OPEN, "the probe")
        assert endpoint(book).slot.total(slots.PROBES) == 1
        book.client().send(b"x")
        book.until(lambda: book.listener_cell(slots.OVERFLOWS) == 1, "no second one")
        sender = origin.recvfrom(100)[1]
        origin.sendto(b"y", sender)
        book.until(lambda: state(book) == CLOSED, "closed by its answer")
        assert len(book.sessions()) == 1


def test_a_session_without_an_answer_says_nothing_and_gives_its_place_back(origin: socket.socket) -> None:
    with UdpBook(service("dns", origin, circuit_breaker=TWO)) as book:
        trip(book)
        end_ejection(book)
        book.client().send(b"x")
        book.until(lambda: endpoint(book).slot.total(slots.PROBES) == 1, "the probe")
        for session in book.sessions():
            session.end("", "", False)
        assert endpoint(book).slot.total(slots.PROBES) == 0
        assert state(book) == HALF_OPEN
