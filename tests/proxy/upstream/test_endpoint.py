"""The pool of one endpoint: last in, first out; who may have an idle connection; what is counted."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from discovery.model import Endpoint, EndpointState, PoolPolicy, Service
from proxy.kernel.cells import Table
from proxy.kernel.netio import Reactor
from proxy.stats import slots
from proxy.upstream.endpoint import EndpointRuntime, PooledStream, ServiceRuntime
from proxy.upstream.habits import BELIEVED_FOR

SECOND = 1_000_000
ENDPOINT = Endpoint(id="a", address="127.0.0.1:9")


class Idle(PooledStream):
    """A connection that tells its pool when it is closed, as the driver does."""

    def __init__(self, pool: EndpointRuntime) -> None:
        super().__init__()
        self.pool = pool

    def on_closed(self) -> None:
        self.pool.closed(self)


class Pool:
    """An endpoint with real connections, whose other ends are here."""

    def __init__(self) -> None:
        fd = os.memfd_create("statistics")
        os.ftruncate(fd, slots.table_size(1, 4))
        self.table = Table(fd, 1, 4)
        os.close(fd)
        self.reactor = Reactor()
        self.peers: dict[PooledStream, socket.socket] = {}
        self.service = ServiceRuntime(Service(name="app"), self.table.slot(0, 1), self.table.shared(1))
        self.endpoint = EndpointRuntime(
            self.service, ENDPOINT, PoolPolicy(), self.table.slot(0, 2), self.table.shared(2)
        )

    def configure(self, **policy: float) -> EndpointRuntime:
        self.endpoint.update(ENDPOINT, PoolPolicy(**policy))
        return self.endpoint

    def open(self) -> PooledStream:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        stream = Idle(self.endpoint)
        stream.attach(self.reactor, ours.detach())
        self.endpoint.opened()
        self.peers[stream] = theirs
        return stream

    def idle(self, now: int = 0) -> PooledStream:
        stream = self.open()
        assert self.endpoint.give(stream, now)
        return stream

    def counts(self) -> tuple[int, int, int]:
        """Connections ever, open, idle."""
        cells = (slots.CONNECTIONS_TOTAL, slots.CONNECTIONS_ACTIVE, slots.POOL_IDLE)
        total, active, idle = (self.table.total(2, cell) for cell in cells)
        return total, active, idle


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.endpoint.retire()
    assert pool.counts()[2] == 0
    for stream, theirs in pool.peers.items():
        stream.close()
        theirs.close()
    assert pool.counts()[1] == 0
    assert pool.endpoint.open == 0
    assert pool.reactor.open_streams == 0


def test_the_last_one_used_is_the_next_one(pool: Pool) -> None:
    first, second = pool.idle(), pool.idle()
    assert pool.counts() == (2, 2, 2)
    assert pool.endpoint.take(True, 1) is second
    assert pool.endpoint.take(True, 1) is first
    assert pool.endpoint.take(True, 1) is None
    assert pool.counts() == (2, 2, 0)


def test_no_more_than_max_idle_are_kept(pool: Pool) -> None:
    endpoint = pool.configure(max_idle=2)
    pool.idle(), pool.idle()
    assert not endpoint.give(pool.open(), 0)
    assert pool.counts() == (3, 3, 2)


@pytest.mark.parametrize("policy", [{"max_idle": 0}, {"idle_timeout": 0.0}])
def test_keeping_can_be_turned_off(pool: Pool, policy: dict[str, float]) -> None:
    endpoint = pool.configure(**policy)
    assert not endpoint.give(pool.open(), 0)


def test_what_has_idled_too_long_is_closed_instead(pool: Pool) -> None:
    endpoint = pool.configure(idle_timeout=10.0)
    old, young = pool.idle(0), pool.idle(5 * SECOND)
    assert endpoint.take(True, 12 * SECOND) is young
    assert endpoint.take(True, 12 * SECOND) is None
    assert old.fd == -1
    assert pool.counts() == (2, 1, 0)


def test_a_connection_that_closed_meanwhile_is_gone(pool: Pool) -> None:
    first, second = pool.idle(), pool.idle()
    second.close()
    assert pool.counts() == (2, 1, 1)
    assert pool.endpoint.take(True, 1) is first


def test_a_request_that_cannot_be_repeated_gets_a_young_and_quiet_one(pool: Pool) -> None:
    stream = pool.idle(0)
    assert pool.endpoint.take(False, SECOND // 2) is stream
    pool.endpoint.give(stream, 0)
    # Too old for it, and still good for others.
    assert pool.endpoint.take(False, SECOND) is None
    assert pool.counts() == (1, 1, 1)
    assert pool.endpoint.take(True, SECOND) is stream
    pool.endpoint.give(stream, 0)
    pool.peers[stream].close()
    assert pool.endpoint.take(False, 1) is None


def test_what_is_young_depends_on_what_was_learned(pool: Pool) -> None:
    pool.endpoint.hear_keep_alive(b"timeout=1", 0.0)
    stream = pool.idle(0)
    assert pool.endpoint.take(False, 600_000) is None
    assert pool.endpoint.take(False, 400_000) is stream


def test_what_an_endpoint_says_shortens_the_keeping(pool: Pool) -> None:
    endpoint = pool.configure(idle_timeout=60.0)
    endpoint.hear_keep_alive(b"timeout=10", 0.0)
    assert endpoint.keep_for == pytest.approx(9.0)
    pool.idle(0)
    assert endpoint.take(True, 9 * SECOND + 1) is None


def test_what_an_endpoint_does_shortens_the_keeping(pool: Pool) -> None:
    endpoint = pool.configure(idle_timeout=60.0)
    endpoint.see_idle_close(20.0, 100.0)
    assert endpoint.keep_for == 60.0
    endpoint.see_idle_close(20.0, 130.0)
    assert endpoint.keep_for == pytest.approx(18.0)


def test_what_was_learned_is_forgotten_in_time(pool: Pool) -> None:
    endpoint = pool.configure(idle_timeout=60.0)
    endpoint.see_idle_close(20.0, 100.0)
    endpoint.see_idle_close(20.0, 130.0)
    forgotten = int(130.0 + BELIEVED_FOR) * SECOND
    stream = pool.idle(forgotten - 1)
    assert endpoint.keep_for == pytest.approx(18.0)
    assert endpoint.take(True, forgotten) is stream
    assert endpoint.keep_for == 60.0
    endpoint.give(stream, forgotten)
    assert endpoint.take(True, forgotten + 59 * SECOND) is stream


def test_full_means_no_idle_connection_and_no_room(pool: Pool) -> None:
    endpoint = pool.configure(max_connections=2)
    first, second = pool.open(), pool.open()
    assert endpoint.full
    endpoint.give(first, 0)
    assert not endpoint.full
    assert endpoint.take(True, 1) is first
    assert endpoint.full
    second.close()
    assert not endpoint.full
    pool.configure(max_connections=1)
    assert endpoint.full
    pool.configure(max_connections=0)
    assert not endpoint.full


def test_room_is_made_by_the_connection_that_idled_longest(pool: Pool) -> None:
    endpoint = pool.configure(max_connections=2)
    oldest, newer = pool.idle(0), pool.idle(1)
    assert endpoint.make_room()
    assert (oldest.fd, newer.fd >= 0) == (-1, True)
    busy = pool.open()
    endpoint.take(True, 2)
    assert not endpoint.make_room()
    busy.close()
    assert endpoint.make_room()


def test_an_endpoint_that_was_removed_keeps_nothing(pool: Pool) -> None:
    idle, busy = pool.idle(), pool.open()
    pool.endpoint.retire()
    assert not pool.endpoint.usable
    assert idle.fd == -1 and busy.fd >= 0
    assert not pool.endpoint.give(busy, 0)
    assert pool.counts() == (2, 1, 0)


@pytest.mark.parametrize("state", list(EndpointState))
def test_only_healthy_endpoints_are_usable(pool: Pool, state: EndpointState) -> None:
    pool.endpoint.update(Endpoint(id="a", address=ENDPOINT.address, state=state, weight=7, backup=True), PoolPolicy())
    assert pool.endpoint.usable == (state is EndpointState.HEALTHY)
    assert (pool.endpoint.weight, pool.endpoint.backup) == (7, True)


def test_what_was_learned_survives_a_new_configuration(pool: Pool) -> None:
    endpoint = pool.configure(idle_timeout=60.0)
    endpoint.hear_keep_alive(b"timeout=10", 0.0)
    pool.configure(idle_timeout=50.0)
    assert endpoint.keep_for == pytest.approx(9.0)
