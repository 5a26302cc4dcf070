"""Circuit breakers and TCP connections: whether an endpoint can be connected to is what counts."""

from __future__ import annotations

from breakers import end_ejection, endpoint, state, trip
from tcp_playbook import Origin, TcpBook, service

from discovery.policies import CircuitBreaker
from mesh.breaker import CLOSED, OPEN
from proxy.stats import slots, words

TWO = CircuitBreaker(consecutive_errors=2, half_open_requests=2)


def closed_address() -> str:
    origin = Origin()
    address = origin.address
    origin.close()
    return address


def test_failed_connects_open_it_and_the_next_connection_is_reset_at_once_with_uo() -> None:
    with TcpBook(service("db", closed_address(), circuit_breaker=TWO)) as book:
        for _ in range(3):
            assert book.client().is_ended_by_peer()
        assert state(book) == OPEN
        assert [entry["flags"] for entry in book.log_entries()] == ["UF", "UF", "UO"]
        assert book.log_entries()[-1]["flag_details"] == "the circuit breaker of every healthy endpoint is open"


def test_connections_made_are_successes_and_close_a_half_open_one(origin: Origin) -> None:
    with TcpBook(service("db", origin, circuit_breaker=TWO), origins=(origin,)) as book:
        book.pair(origin)
        assert endpoint(book).slot.total(slots.ATTEMPTS) == 1
        trip(book)
        end_ejection(book)
        book.pair(origin)
        book.pair(origin)
        assert state(book) == CLOSED


def test_a_half_open_endpoint_that_refuses_is_open_again(origin: Origin) -> None:
    with TcpBook(service("db", closed_address(), circuit_breaker=TWO)) as book:
        trip(book)
        end_ejection(book)
        assert book.client().is_ended_by_peer()
        assert state(book) == OPEN
        assert endpoint(book).shared.load(words.EJECTIONS + 2) == 1
