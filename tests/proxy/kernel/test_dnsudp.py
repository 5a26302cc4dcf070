"""The DNS server's socket: every question that comes is answered to its sender, from the address that was asked."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator

import dns.flags
import dns.message
import pytest
from datagrams import small_table, udp_socket
from dns_table import Table, of_addresses
from turning import LIMIT, Turning, open_descriptors

from proxy.kernel.dnsudp import DnsSocket, RateLimit
from proxy.kernel.netio import Reactor
from proxy.stats import slots

NAME = "web.hivemesh"
PLACES = 64  # of a batch


class Server(DnsSocket):
    """Keeps what it is to forward."""

    def __init__(self) -> None:
        self.forwarded: list[tuple[bytes, bytes]] = []
        self.bug: BaseException | None = None

    def forward(self, query: bytes, client: bytes) -> None:
        if self.bug is not None:
            raise self.bug
        self.forwarded.append((query, client))


class Field:
    """A server on a socket of its own, and the clients that a test asks it with."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.reactor = Reactor()
        self.bugs: list[BaseException] = []
        self.reactor.on_bug = lambda stream, bug: self.bugs.append(bug)
        self.turning = Turning(self.reactor)
        self.table = Table()
        self.table.names.add(NAME, of_addresses(NAME, "10.0.0.1", "10.0.0.2"))
        rows = small_table()
        self.listener, self.row = rows.slot(0, 1), rows.slot(0, 2)
        self.server = Server()
        listening = udp_socket(host)
        self.port: int = listening.getsockname()[1]
        self.host = host
        self.spare = listening.dup()
        self.server.serve(self.reactor, listening.detach(), self.table, self.listener, self.row)
        self.clients: list[socket.socket] = []

    def client(self, host: str = "") -> socket.socket:
        """A socket connected to the server's address: answers from elsewhere do not reach it."""
        to = host or self.host
        client = udp_socket(to)
        client.connect((to, self.port))
        self.clients.append(client)
        return client

    def receive(self, client: socket.socket) -> bytes:
        self.turning.until(lambda: _waits(client), "an answer", LIMIT, (client.fileno(),))
        return client.recv(70_000)

    def ask(self, client: socket.socket, name: str = NAME) -> dns.message.Message:
        query = dns.message.make_query(name, "A")
        client.send(query.to_wire())
        answer = dns.message.from_wire(self.receive(client))
        assert query.is_response(answer)
        return answer

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.spare.close()
        self.server.close()
        assert self.reactor.all_streams() == [] and self.reactor.open_streams == 0
        assert self.bugs == []


def _waits(client: socket.socket) -> bool:
    try:
        client.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    return True


@pytest.fixture
def field() -> Iterator[Field]:
    before = open_descriptors()
    made = Field()
    yield made
    made.close()
    del made.reactor.on_bug
    made.turning = made.reactor = made.server = None  # type: ignore[assignment]
    gc.collect()
    assert open_descriptors() <= before


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("0.0.0.0", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.77"),
        ("::", "::1"),
        ("::", "127.0.0.77"),
    ],
)
def test_the_answer_comes_from_the_address_that_was_asked(host: str, asked: str) -> None:
    field = Field(host)
    client = field.client(asked)
    for _ in range(2):
        assert len(field.ask(client).answer[0]) == 2
    field.close()


def test_more_than_a_batch_at_once_is_answered_to_everybody(field: Field) -> None:
    clients = [field.client() for _ in range(2 * PLACES + 7)]
    queries = [dns.message.make_query(NAME, "A") for _ in clients]
    for client, query in zip(clients, queries, strict=True):
        client.send(query.to_wire())
    for client, query in zip(clients, queries, strict=True):
        assert query.is_response(dns.message.from_wire(field.receive(client)))
    count = len(clients)
    assert field.listener.get(slots.DATAGRAMS_IN) == field.listener.get(slots.DATAGRAMS_OUT) == count
    assert field.row.get(slots.REQUESTS) == count
    assert sum(field.row.get(slots.BUCKETS + n) for n in range(16)) == count
    assert field.row.get(slots.BYTES_IN) == field.listener.get(slots.BYTES_IN) == sum(len(q.to_wire()) for q in queries)


def test_what_is_no_question_gets_a_short_answer_or_none(field: Field) -> None:
    client = field.client()
    client.send(b"")
    client.send(b"x" * 11)
    client.send(b"\0\1\x80" + b"\0" * 20)
    client.send(b"\0\2\0\0" + b"\xff" * 3000)  # larger than any question
    assert field.receive(client) == b"\0\2\x80\1" + b"\0" * 8
    assert field.row.get(slots.DNS_MALFORMED) == 4


def test_answers_become_larger_and_smaller_with_the_setting(field: Field) -> None:
    client = field.client()
    many = [f"10.0.{n >> 8}.{n & 255}" for n in range(300)]
    field.table.names.add("many.hivemesh", of_addresses("many.hivemesh", *many))
    for size, fits in ((1232, False), (8000, True), (512, False), (65_535, True)):
        field.table.udp_size = size
        query = dns.message.make_query("many.hivemesh", "A", use_edns=0, payload=65_535)
        client.send(query.to_wire())
        answer = dns.message.from_wire(field.receive(client))
        assert bool(answer.flags & dns.flags.TC) is not fits
        assert answer.payload == size


def test_a_forwarded_question_is_answered_later(field: Field) -> None:
    field.table.forwarding = True
    one, two = field.client(), field.client()
    query = dns.message.make_query("example.com", "A").to_wire()
    one.send(query)
    two.send(query)
    field.turning.until(lambda: len(field.server.forwarded) == 2, "both forwarded")
    for client, answer in ((two, b"to two"), (one, b"to one")):
        (key,) = {key for _, key in field.server.forwarded if key[2:4] == client.getsockname()[1].to_bytes(2, "big")}
        field.server.reply(key, answer, field.reactor.micros())
        assert field.receive(client) == answer
    assert [asked for asked, _ in field.server.forwarded] == [query, query]
    with pytest.raises(ValueError, match="not a client"):
        field.server.reply(b"", b"x", 0)


@pytest.mark.parametrize(("host", "asked"), [("0.0.0.0", "127.0.0.77"), ("::", "127.0.0.77"), ("::", "::1")])
def test_a_later_answer_comes_from_the_address_that_was_asked_as_well(host: str, asked: str) -> None:
    field = Field(host)
    field.table.forwarding = True
    client = field.client(asked)
    client.send(dns.message.make_query("example.com", "A").to_wire())
    field.turning.until(lambda: field.server.forwarded, "a question")
    field.server.reply(field.server.forwarded[0][1], b"answer", 0)
    assert field.receive(client) == b"answer"
    field.close()


def test_a_bug_costs_one_question(field: Field) -> None:
    field.table.forwarding = True
    field.server.bug = RuntimeError("oops")
    client = field.client()
    client.send(dns.message.make_query("example.com", "A").to_wire())
    assert len(field.ask(client).answer[0]) == 2
    assert field.bugs == [field.server.bug]
    field.bugs.clear()


def test_nothing_is_read_after_stop_reading_but_answers_still_leave(field: Field) -> None:
    client = field.client()
    field.table.forwarding = True
    client.send(dns.message.make_query("example.com", "A").to_wire())
    field.turning.until(lambda: field.server.forwarded, "a question")
    field.server.stop_reading()
    client.send(dns.message.make_query(NAME, "A").to_wire())
    field.turning.settle()
    assert field.row.get(slots.REQUESTS) == 1
    field.server.reply(field.server.forwarded[0][1], b"answer", 0)
    assert field.receive(client) == b"answer"
    assert len(field.spare.recv(1000)) > 12  # the other is still there, for whoever reads from now on


def test_a_network_gets_no_more_answers_than_the_limit_allows(field: Field) -> None:
    field.server.limit = RateLimit(5)
    clients = {host: field.client() for host in ("127.0.0.1", "127.0.0.200", "127.0.1.1")}
    for host, client in clients.items():
        client.close()
        again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        again.setblocking(False)
        again.bind((host, 0))
        again.connect(("127.0.0.1", field.port))
        clients[host] = again
        field.clients.append(again)
    for client in (clients["127.0.0.1"], clients["127.0.0.200"]):  # one network
        for _ in range(10):
            client.send(dns.message.make_query(NAME, "A", use_edns=0).to_wire())
    field.turning.until(lambda: field.row.get(slots.REQUESTS) == 20, "all questions")
    field.turning.settle()
    answers = []
    for client in (clients["127.0.0.1"], clients["127.0.0.200"]):
        while _waits(client):
            answers.append(dns.message.from_wire(client.recv(2000)))
    full = [answer for answer in answers if answer.answer]
    cut = [answer for answer in answers if answer.flags & dns.flags.TC]
    # A busy machine takes some of the second that refills the bucket.
    assert 5 <= len(full) <= 8
    assert len(full) + len(cut) == len(answers)
    limited = 20 - len(full)
    assert field.row.get(slots.DNS_RATE_LIMITED) == limited
    assert len(cut) in (limited // 2, limited - limited // 2)
    assert all(answer.edns == 0 and not answer.answer for answer in cut)
    assert len(field.ask(clients["127.0.1.1"]).answer) == 1  # another network


def test_questions_over_the_limit_are_not_forwarded(field: Field) -> None:
    field.table.forwarding = True
    field.server.limit = RateLimit(1)
    client = field.client()
    for _ in range(4):
        client.send(dns.message.make_query("example.com", "A").to_wire())
    field.turning.until(lambda: field.row.get(slots.REQUESTS) == 4, "all questions")
    assert 1 <= len(field.server.forwarded) <= 2
    if len(field.server.forwarded) == 1:
        assert dns.message.from_wire(field.receive(client)).flags & dns.flags.TC


def test_a_limit_of_nothing_is_none() -> None:
    with pytest.raises(ValueError, match="is none"):
        RateLimit(0)
