"""Datagrams go to the endpoint of their sender's session and back, many at a time, or are counted as lost."""

from __future__ import annotations

import errno
import gc
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from datagrams import Field, address_of, udp_socket
from hypothesis import given, settings
from hypothesis import strategies as st
from turning import open_descriptors

from proxy.kernel.datagrams import Batch, DatagramServer, DatagramSession, client_of
from proxy.kernel.netio import Address, Reactor
from proxy.stats import slots

PLACES = 64  # of a batch
LARGEST = 65_507  # payload of UDP over IPv4


@contextmanager
def field(host: str = "127.0.0.1", **given: object) -> Iterator[Field]:
    made = Field(host, **given)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_datagram_goes_to_the_endpoint_and_its_answer_to_the_client(host: str) -> None:
    with field(host) as f:
        client = f.client()
        client.send(b"question")
        data, source = f.receive_from(f.endpoint)
        f.endpoint.sendto(data + b"?", source)
        assert f.receive(client) == b"question?"
        (session,) = f.server.opened
        assert (session.client(), session.client_port()) == (host.encode(), client.getsockname()[1])
        assert client_of(session.key) == (session.client(), session.client_port())


def test_a_client_keeps_its_session_and_another_gets_its_own() -> None:
    with field() as f:
        one, two = f.client(), f.client()
        sources = []
        for client in (one, two, one, two, one):
            client.send(b"x")
            sources.append(f.receive_from(f.endpoint)[1])
        assert len(f.server.opened) == len(set(sources)) == 2
        assert sources[0] == sources[2] == sources[4]


def test_datagrams_keep_their_bounds_even_empty_ones() -> None:
    with field() as f:
        client = f.client()
        for data in (b"", b"a", b"", b"bc"):
            client.send(data)
        assert [f.receive(f.endpoint) for _ in range(4)] == [b"", b"a", b"", b"bc"]
        source = ("127.0.0.1", f.server.opened[0].client_port())
        assert source == client.getsockname()


def test_more_than_a_batch_at_once_is_passed_on_in_order_both_ways() -> None:
    count = 3 * PLACES + 7
    with field() as f:
        client = f.client()
        for number in range(count):
            client.send(b"%d" % number)
        got = [f.receive_from(f.endpoint) for _ in range(count)]
        assert [data for data, _ in got] == [b"%d" % number for number in range(count)]
        for data, source in got:
            f.endpoint.sendto(data, source)
        assert [f.receive(client) for _ in range(count)] == [b"%d" % number for number in range(count)]


def test_many_clients_at_once_get_their_own_answers() -> None:
    with field() as f:
        clients = [f.client() for _ in range(2 * PLACES + 5)]
        for number, client in enumerate(clients):
            client.send(b"%d" % number)
        for _ in clients:
            data, source = f.receive_from(f.endpoint)
            f.endpoint.sendto(data, source)
        assert [f.receive(client) for client in clients] == [b"%d" % number for number in range(len(clients))]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, LARGEST)), min_size=1, max_size=20))
def test_whatever_is_sent_arrives_unchanged(sent: list[tuple[int, int]]) -> None:
    with field() as f:
        clients = [f.client() for _ in range(3)]
        for number, size in sent:
            data = os.urandom(16) * (size // 16 + 1)
            clients[number].send(data[:size])
            got, source = f.receive_from(f.endpoint)
            assert got == data[:size]
            f.endpoint.sendto(got[::-1], source)
            assert f.receive(clients[number]) == data[:size][::-1]


def test_the_largest_datagrams_of_a_whole_batch_arrive() -> None:
    with field() as f:
        f.endpoint.setsockopt(socket.SOL_SOCKET, 33, 8 * 1024 * 1024)  # SO_RCVBUFFORCE
        client = f.client()
        for number in range(3):
            client.send(bytes([number]) * LARGEST)
        assert [f.receive(f.endpoint) for _ in range(3)] == [bytes([number]) * LARGEST for number in range(3)]


def test_what_is_larger_than_a_place_is_dropped_and_counted() -> None:
    with field(largest=1000) as f:
        client = f.client()
        client.send(b"x" * 1001)
        client.send(b"y" * 1000)
        data, source = f.receive_from(f.endpoint)
        assert data == b"y" * 1000
        f.endpoint.sendto(b"x" * 1001, source)
        f.endpoint.sendto(b"y", source)
        assert f.receive(client) == b"y"
        assert f.row.get(slots.DATAGRAMS_OVERSIZE) == 2


def test_everything_is_counted() -> None:
    with field() as f:
        service, endpoint, route = f.table.slot(0, 2), f.table.slot(0, 3), f.table.slot(0, 4)
        client = f.client()
        client.send(b"abc")
        _, source = f.receive_from(f.endpoint)
        (session,) = f.server.opened
        session.service_slot, session.endpoint_slot = service, endpoint
        session.route_slot = route
        client.send(b"de")
        f.receive(f.endpoint)
        f.endpoint.sendto(b"answer", source)
        f.receive(client)
        cells = (slots.DATAGRAMS_IN, slots.BYTES_IN, slots.DATAGRAMS_OUT, slots.BYTES_OUT)
        assert [f.row.get(cell) for cell in cells] == [2, 5, 1, 6]
        assert [route.get(cell) for cell in (slots.BYTES_IN, slots.BYTES_OUT)] == [2, 6]
        # Of an endpoint, "in" is what comes from it.
        assert [endpoint.get(cell) for cell in (slots.BYTES_IN, slots.BYTES_OUT)] == [6, 2]
        assert [service.get(cell) for cell in (slots.BYTES_IN, slots.BYTES_OUT)] == [6, 2]
        assert (session.datagrams_in, session.bytes_in, session.datagrams_out, session.bytes_out) == (2, 5, 1, 6)


def test_without_a_session_a_datagram_is_dropped() -> None:
    with field() as f:
        f.server.endpoint = None
        client = f.client()
        client.send(b"x")
        client.send(b"x")
        f.turning.until(lambda: len(f.server.refused) == 2, "both were asked about")
        assert client_of(f.server.refused[0]) == (b"127.0.0.1", client.getsockname()[1])
        assert f.server.sessions == {}


@pytest.mark.parametrize("asked", ["127.0.0.2", "127.0.0.3"])
def test_an_answer_leaves_from_the_address_that_was_asked(asked: str) -> None:
    with field(ours="0.0.0.0") as f:
        client = udp_socket("127.0.0.1")
        f.clients.append(client)
        client.sendto(b"x", (asked, f.port))
        _, source = f.receive_from(f.endpoint)
        f.endpoint.sendto(b"y", source)
        assert f.receive_from(client) == (b"y", (asked, f.port))


def test_a_client_that_asks_two_addresses_has_two_sessions() -> None:
    with field(ours="0.0.0.0") as f:
        client = udp_socket("127.0.0.1")
        f.clients.append(client)
        sources = []
        for asked in ("127.0.0.2", "127.0.0.3"):
            client.sendto(b"x", (asked, f.port))
            sources.append(f.receive_from(f.endpoint)[1])
        for source in sources:
            f.endpoint.sendto(b"y", source)
        assert {f.receive_from(client)[1][0] for _ in sources} == {"127.0.0.2", "127.0.0.3"}


def test_an_answer_over_ipv6_leaves_from_the_address_that_was_asked() -> None:
    with field("::1", ours="::") as f:
        client = f.client()
        client.send(b"x")
        _, source = f.receive_from(f.endpoint)
        f.endpoint.sendto(b"y", source)
        data, answered = f.receive_from(client)
        assert data == b"y"
        assert answered[:2] == ("::1", f.port)


def test_a_refused_datagram_is_told_to_its_session_and_the_next_one_begins_another() -> None:
    with field() as f:
        other = f.client()
        other.send(b"x")
        f.receive(f.endpoint)
        f.endpoint.close()
        client = f.client()
        client.send(b"x")
        f.turning.until(lambda: f.server.opened[-1].errors, "the refusal was told")
        assert f.server.opened[-1].errors == [errno.ECONNREFUSED]
        assert list(f.server.sessions.values()) == [f.server.opened[0]]

        f.endpoint = udp_socket()
        f.server.endpoint = address_of(f.endpoint)
        client.send(b"again")
        assert f.receive(f.endpoint) == b"again"
        assert len(f.server.opened) == 3


def test_a_client_that_is_gone_disturbs_nobody() -> None:
    with field() as f:
        gone, client = f.client(), f.client()
        gone.send(b"x")
        _, source = f.receive_from(f.endpoint)
        gone.close()
        for _ in range(3):
            f.endpoint.sendto(b"y", source)
        client.send(b"x")
        _, source = f.receive_from(f.endpoint)
        f.endpoint.sendto(b"y", source)
        assert f.receive(client) == b"y"


def test_what_cannot_be_sent_is_counted_and_the_rest_is_sent() -> None:
    with field("::1") as f:
        client = f.client()
        client.send(b"x")
        f.receive(f.endpoint)
        (session,) = f.server.opened
        # Nothing can be sent to port 0.
        key = bytearray(session.key)
        key[2:4] = b"\0\0"
        session.close()
        broken = DatagramSession()
        assert broken.open(f.server, bytes(key), Address(address_of(f.endpoint)), 0.0) == 0
        f.endpoint.sendto(b"y", ("::1", local_port(broken)))
        f.turning.until(lambda: f.row.get(slots.DATAGRAMS_NOT_SENT) == 1, "the datagram was counted as lost")
        client.send(b"x")
        _, source = f.receive_from(f.endpoint)
        f.endpoint.sendto(b"z", source)
        assert f.receive(client) == b"z"


def local_port(session: DatagramSession) -> int:
    with socket.socket(fileno=os.dup(session.fd)) as view:
        port: int = view.getsockname()[1]
        return port


def test_a_silent_session_is_told_and_one_that_is_used_is_not() -> None:
    with field(idle=0.2) as f:
        silent, used = f.client(), f.client()
        silent.send(b"x")
        _, source = f.receive_from(f.endpoint)

        def told() -> bool:
            used.send(b"x")
            f.receive(f.endpoint)
            return f.server.opened[0].timeouts == 1

        f.turning.until(told, "the silent session timed out")
        assert f.server.opened[1].timeouts == 0
        assert list(f.server.sessions.values()) == [f.server.opened[1]]
        f.endpoint.sendto(b"late", source)
        assert f.has_nothing(silent)


def test_answers_keep_a_session_alive() -> None:
    with field(idle=0.2) as f:
        kept, silent = f.client(), f.client()
        kept.send(b"x")
        _, source = f.receive_from(f.endpoint)
        silent.send(b"x")
        f.receive(f.endpoint)

        def told() -> bool:
            f.endpoint.sendto(b"y", source)
            f.receive(kept)
            return f.server.opened[1].timeouts == 1

        f.turning.until(told, "the silent session timed out")
        assert f.server.opened[0].timeouts == 0


def test_a_misplaced_session_is_asked_about_again() -> None:
    with field() as f:
        client = f.client()
        for _ in range(2):
            client.send(b"x")
            f.receive(f.endpoint)
        f.server.opened[0].misplaced = True
        f.server.opens = lambda key: f.server.sessions[key].close()
        client.send(b"x")
        f.receive(f.endpoint)
        assert len(f.server.opened) == 2
        assert list(f.server.sessions.values()) == [f.server.opened[1]]


def test_answers_leave_while_somebody_else_reads_the_socket() -> None:
    with field() as f:
        client = f.client()
        client.send(b"x")
        _, source = f.receive_from(f.endpoint)
        f.server.stop_reading()
        client.send(b"x")
        assert f.has_nothing(f.endpoint)
        f.endpoint.sendto(b"y", source)
        assert f.receive(client) == b"y"
        f.server.close()


def test_answers_after_the_server_is_closed_are_lost_and_counted() -> None:
    with field() as f:
        client = f.client()
        client.send(b"x")
        _, source = f.receive_from(f.endpoint)
        f.server.close()
        f.endpoint.sendto(b"y", source)
        f.turning.until(lambda: f.row.get(slots.DATAGRAMS_NOT_SENT) == 1, "the answer was counted")


def test_a_bug_with_one_client_does_not_end_the_listener() -> None:
    with field() as f:
        bugs: list[BaseException] = []
        f.reactor.on_bug = lambda stream, bug: bugs.append(bug)

        def fail(key: bytes) -> None:
            f.server.opens = lambda key: None
            raise RuntimeError("a bug")

        f.server.opens = fail
        client = f.client()
        client.send(b"lost")
        client.send(b"x")
        assert f.receive(f.endpoint) == b"x"
        assert [str(bug) for bug in bugs] == ["a bug"]


def test_an_endpoint_on_a_unix_socket_is_an_error() -> None:
    with field() as f:
        client = f.client()
        client.send(b"x")
        f.receive(f.endpoint)
        session = DatagramSession()
        assert session.open(f.server, f.server.opened[0].key, Address("unix:/x"), 1.0) == errno.EAFNOSUPPORT
        assert session.fd == -1


@pytest.mark.parametrize("key", [b"", b"x" * 39, b"x" * 41])
def test_a_key_is_nothing_else(key: bytes) -> None:
    with pytest.raises(ValueError, match="not the key"):
        client_of(key)
    with field() as f, pytest.raises(ValueError, match="not the key"):
        DatagramSession().open(f.server, key, Address("127.0.0.1:1"), 1.0)


def test_only_sockets_of_ip_serve_datagrams(tmp_path: object) -> None:
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, two:
        server = DatagramServer()
        with field() as f, pytest.raises(OSError, match="cannot serve datagrams"):
            server.serve(Batch(), Reactor(), two.fileno(), f.row)


def test_nothing_stays_open() -> None:
    gc.collect()
    before = open_descriptors()

    def serve_ten() -> None:
        with field() as f:
            for _ in range(10):
                f.client().send(b"x")
                f.receive(f.endpoint)
            assert f.reactor.open_streams == 11
        assert f.reactor.open_streams == 0
        assert f.server.sessions == {}

    serve_ten()
    gc.collect()
    assert open_descriptors() == before


def test_a_batch_takes_memory_only_for_what_was_received() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    with field() as f:
        before = resident()
        client = f.client()
        for _ in range(5 * PLACES):
            client.send(b"x" * 100)
            f.receive(f.endpoint)
        # 64 places of one page; 4.4 MiB of address space.
        assert resident() - before < 1024 * 1024
