"""Every socket has a worker that accepts on it, its own if possible."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.control.assignment import accepting, accepting_on_one

WORKERS = st.sets(st.integers(0, 7))


def test_each_worker_has_its_own_socket() -> None:
    assert accepting(3, {0, 1, 2}, {0, 1, 2}) == {0: [0], 1: [1], 2: [2]}


def test_siblings_share_the_sockets_of_the_dead() -> None:
    assert accepting(4, {2, 3}, {2, 3}) == {2: [0, 2], 3: [1, 3]}


def test_a_sibling_stands_in_until_the_replacement_is_in_service() -> None:
    assert accepting(2, {0, 1}, {0}) == {0: [0, 1], 1: [1]}


def test_when_nobody_is_in_service_connections_wait_for_the_socket_s_own_worker() -> None:
    assert accepting(2, {1}, set()) == {1: [1]}


def test_sockets_beyond_the_workers_are_those_of_the_workers_that_stayed() -> None:
    assert accepting(3, {0}, {0}) == {0: [0, 1, 2]}


def test_a_worker_without_a_socket_of_its_own_has_none() -> None:
    assert accepting(1, {0, 1}, {0, 1}) == {0: [0], 1: []}


def test_a_shared_socket_is_everyone_s() -> None:
    assert accepting_on_one({0, 2}) == {0: [0], 2: [2]}


@given(st.integers(0, 8), WORKERS, WORKERS)
def test_no_socket_is_without_a_worker_in_service_while_there_is_one(
    sockets: int, staying: set[int], ready: set[int]
) -> None:
    in_service = ready & staying

    assigned = accepting(sockets, staying, in_service)

    assert set(assigned) == staying
    for number in range(sockets):
        holders = [worker for worker, numbers in assigned.items() if number in numbers]
        assert len(holders) == len(set(holders)) <= 2
        if number in in_service:
            assert holders == [number]
        elif in_service:
            assert set(holders) & in_service
            assert number not in staying or number in holders
