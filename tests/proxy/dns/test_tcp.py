"""DNS over TCP: many questions on one connection, slow and broken clients, limits, and the end (RFC 7766)."""

from __future__ import annotations

import socket

import dns.flags
import dns.message
import dns.rcode
import pytest
from dns_playbook import TCP, DnsBook, service

from proxy.dns import tcp
from proxy.stats import slots

NAME = "web.service.hivemesh"
WEB = service("web", "10.0.0.1:80")
MANY = service("many", *[f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:80" for n in range(4000)])
FORWARDING = {"forward": ("127.0.0.1:5",)}
OTHER_WORKER = 1


def query(name: str = NAME, number: int = 1, qtype: str = "A", **given: object) -> bytes:
    return dns.message.make_query(name, qtype, id=number, **given).to_wire()  # type: ignore[arg-type]


def ids(*answers: bytes) -> list[int]:
    return [int.from_bytes(answer[:2], "big") for answer in answers]


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> DnsBook:
    return DnsBook(WEB, dns={**FORWARDING, "tcp_pending": 3, "tcp_connections": 3}, monkeypatch=monkeypatch)


def test_questions_sent_together_are_answered_in_order(book: DnsBook) -> None:
    with book:
        client = book.tcp()
        client.send(*[query(number=number) for number in range(1000)])
        assert ids(*[client.message() for _ in range(1000)]) == list(range(1000))
        assert book.cell("dns/tcp", slots.REQUESTS) == 1000
        assert sum(book.cell("dns/tcp", slots.BUCKETS + n) for n in range(16)) == 1000
        assert book.cell("dns/tcp", slots.BYTES_IN) == book.cell(f"listener/{TCP}", slots.BYTES_IN)
        assert book.cell("dns/tcp", slots.BYTES_OUT) == book.cell(f"listener/{TCP}", slots.BYTES_OUT) > 50_000
        assert book.cell("dns/tcp", slots.CONNECTIONS_ACTIVE) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_question_may_come_in_pieces(book: DnsBook, size: int) -> None:
    with book:
        client = book.tcp()
        data = b"".join(len(each).to_bytes(2, "big") + each for each in (query(number=1), query(number=2)))
        for start in range(0, len(data), size):
            client.raw(data[start : start + size])
            book.settle()
        assert ids(client.message(), client.message()) == [1, 2]


def test_an_answer_larger_than_any_datagram_is_whole(book: DnsBook) -> None:
    with book:
        book.apply(WEB, MANY)
        client = book.tcp()
        client.send(query("many.service.hivemesh"))
        answer = client.message()
        assert len(answer) > 60_000
        parsed = dns.message.from_wire(answer)
        assert len(parsed.answer[0]) == 4000 and not parsed.flags & dns.flags.TC


def test_forwarded_answers_come_when_they_are_there(book: DnsBook) -> None:
    with book:
        client = book.tcp()
        client.send(query("a.example", 1), query("b.example", 2), query(number=3))
        assert ids(client.message()) == [3]
        assert book.cell("dns/tcp", slots.ACTIVE) == 2
        book.resolver.answer(1)
        assert ids(client.message()) == [2]
        book.resolver.answer(0)
        assert ids(client.message()) == [1]


def test_an_answer_that_the_forwarder_has_at_once_is_sent_with_the_others(book: DnsBook) -> None:
    with book:
        book.resolver.at_once = b""
        client = book.tcp()
        client.send(query("a.example", 1), query(number=2), query("b.example", 3))
        assert sorted(ids(client.message(), client.message(), client.message())) == [1, 2, 3]


def test_what_came_after_a_message_that_is_none_is_nobodys_question(book: DnsBook) -> None:
    with book:
        for _ in range(10):
            bad = book.tcp()
            bad.raw(b"\0\0")
            bad.send(query(number=7))
            book.settle()
            bad.sock.close()
            client = book.tcp()
            client.send(query(number=1))
            assert ids(client.message()) == [1]
            client.sock.close()


def test_no_more_is_read_than_may_be_under_way(book: DnsBook) -> None:
    with book:
        client = book.tcp()
        client.send(*[query(f"n{number}.example", number) for number in range(5)], query(number=5))
        book.settle()
        assert len(book.resolver.asked) == 3
        book.resolver.answer(0)
        book.until(lambda: len(book.resolver.asked) == 3, "the fourth question")
        for _ in range(2):
            book.resolver.answer(0)
        book.until(lambda: len(book.resolver.asked) == 2, "the fifth question")
        for _ in range(2):
            book.resolver.answer(0)
        assert sorted(ids(*[client.message() for _ in range(6)])) == [0, 1, 2, 3, 4, 5]


def test_a_client_that_does_not_read_is_not_read_from(book: DnsBook) -> None:
    with book:
        book.apply(WEB, MANY)
        client = book.tcp()
        many = query("many.service.hivemesh")
        for number in range(20_000):
            try:
                client.sock.send((len(many).to_bytes(2, "big") + many) * 10)
            except BlockingIOError:
                break
            if number % 50 == 0:
                book.settle()
        else:
            raise AssertionError("everything was read")
        (connection,) = [stream for stream in book.plane.reactor.all_streams() if isinstance(stream, tcp.DnsConnection)]
        assert 0 < connection.pending() <= 2 * 65_537 + tcp.COLLECTED
        asked = book.cell("dns/tcp", slots.REQUESTS)
        assert ids(client.message()) == [1]
        # And it goes on when the client reads.
        book.until(
            lambda: client.read() and book.cell("dns/tcp", slots.REQUESTS) > asked + 20,
            "more questions",
            (client.sock.fileno(),),
        )


def test_a_client_that_never_reads_forwarded_answers_is_cut_off(book: DnsBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "MOST_WAITING", 1000)
    with book:
        client = book.tcp()
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(*[query(f"n{number}.example") for number in range(3)])
        book.until(lambda: len(book.resolver.asked) == 3, "the questions")
        (connection,) = [stream for stream in book.plane.reactor.all_streams() if isinstance(stream, tcp.DnsConnection)]
        while not connection.pending():
            connection.send_bytes(b"x" * 65_536)
        for _ in range(3):
            book.resolver.answer(0, b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4\x0a\0\0\1" * 100)
        assert connection.fd < 0


def test_a_client_that_has_finished_sending_gets_all_answers(book: DnsBook) -> None:
    with book:
        client = book.tcp()
        client.send(query("a.example", 1), query(number=2), query("b.example", 3))
        client.sock.shutdown(socket.SHUT_WR)
        assert ids(client.message()) == [2]
        book.settle()
        book.resolver.answer(0)
        book.resolver.answer(0)
        assert sorted(ids(client.message(), client.message())) == [1, 3]
        assert client.ended() == b""


def test_a_client_that_leaves_costs_nothing_more(book: DnsBook) -> None:
    with book:
        client = book.tcp()
        client.send(query("a.example", 1), query("b.example", 2))
        book.until(lambda: len(book.resolver.asked) == 2, "the questions")
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sock.close()
        book.until(lambda: not book.cell("dns/tcp", slots.CONNECTIONS_ACTIVE), "it is gone")
        book.resolver.answer(0)
        book.resolver.answer(0)
        assert book.cell("dns/tcp", slots.ACTIVE) == 0


@pytest.mark.parametrize("message", [b"", b"x" * 11, b"\0\1\x80\0" + bytes(8)])
def test_what_is_no_question_ends_the_connection(book: DnsBook, message: bytes) -> None:
    with book:
        client = book.tcp()
        client.send(query(number=1), message, query(number=2))
        client.ended()


def test_a_malformed_question_is_answered_and_the_connection_goes_on(book: DnsBook) -> None:
    with book:
        client = book.tcp()
        client.send(query(number=1)[:20], query(number=2))
        first = client.message()
        assert (len(first), first[3] & 15) == (12, dns.rcode.FORMERR)
        assert ids(client.message()) == [2]


def test_an_idle_connection_ends(book: DnsBook) -> None:
    with book:
        book.apply(WEB, tcp_idle=0.2)
        client, slow = book.tcp(), book.tcp()
        client.send(query())
        client.message()
        slow.raw(b"\0")  # half of a length is no question
        assert client.ended() == slow.ended() == b""


def test_a_connection_that_waits_for_a_resolver_is_not_idle(book: DnsBook) -> None:
    with book:
        book.apply(WEB, tcp_idle=0.1)
        client = book.tcp()
        client.send(query("a.example", 7))
        book.until(lambda: book.resolver.asked, "the question")
        (connection,) = [stream for stream in book.plane.reactor.all_streams() if isinstance(stream, tcp.DnsConnection)]
        for _ in range(2):
            connection.on_timeout()
        book.resolver.answer()
        assert ids(client.message()) == [7]
        assert client.ended() == b""


def test_a_client_that_stops_reading_ends_after_the_idle_time(book: DnsBook) -> None:
    with book:
        book.apply(WEB, MANY, tcp_idle=0.2)
        client = book.tcp()
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(*[query("many.service.hivemesh")] * 200)
        book.until(lambda: not book.cell("dns/tcp", slots.CONNECTIONS_ACTIVE), "it is gone")


# --- limits -----------------------------------------------------------------------------------------------------------


def test_one_connection_too_many_ends_the_one_that_was_idle_longest(book: DnsBook) -> None:
    with book:
        clients = [book.tcp() for _ in range(3)]
        for client in clients:
            client.send(query())
            client.message()
        clients[0].send(query())  # the first asks once more
        clients[0].message()
        fourth = book.tcp()
        fourth.send(query(number=4))
        assert ids(fourth.message()) == [4]
        assert clients[1].ended() == b""
        assert clients[0].has_nothing() and clients[2].has_nothing()
        assert book.cell(f"listener/{TCP}", slots.OVERFLOWS) == 1
        assert book.cell("dns/tcp", slots.CONNECTIONS_ACTIVE) == 3


def test_a_connection_waits_while_all_others_are_busy(book: DnsBook) -> None:
    with book:
        clients = [book.tcp() for _ in range(3)]
        for number, client in enumerate(clients):
            client.send(query(f"n{number}.example", number))
        book.until(lambda: len(book.resolver.asked) == 3, "the questions")
        fourth = book.tcp()
        fourth.send(query(number=4))
        assert fourth.has_nothing()
        book.resolver.answer(1)
        assert ids(clients[1].message()) == [1]
        assert ids(fourth.message()) == [4]
        assert clients[1].ended() == b""
        for _ in range(2):
            book.resolver.answer(0)


def test_connections_of_other_workers_count(book: DnsBook) -> None:
    with book:
        row = book.table.slot(OTHER_WORKER, book.numbers["dns/tcp"])
        row.add(slots.CONNECTIONS_ACTIVE, 3)
        client = book.tcp()
        client.send(query())
        assert client.has_nothing()
        row.add(slots.CONNECTIONS_ACTIVE, -3)
        assert ids(client.message()) == [1]


# --- the end ----------------------------------------------------------------------------------------------------------


def test_a_drain_ends_idle_connections_and_finishes_the_others(book: DnsBook) -> None:
    with book:
        idle, busy = book.tcp(), book.tcp()
        for client in (idle, busy):
            client.send(query())
            client.message()
        busy.send(query("a.example", 9))
        book.until(lambda: book.resolver.asked, "the question")
        book.drain()
        assert idle.ended() == b""
        assert not book.drained
        with pytest.raises(ConnectionRefusedError):
            book.tcp_socket.close()
            book.tcp()
        book.resolver.answer()
        assert ids(busy.message()) == [9]
        assert busy.ended() == b""
        book.until(lambda: book.drained, "drained")


def test_open_connections_go_on_when_the_socket_is_handed_over(book: DnsBook) -> None:
    with book:
        client = book.tcp()
        client.send(query(number=1))
        assert ids(client.message()) == [1]
        book.plane.unlisten(TCP)
        client.send(query(number=2))
        assert ids(client.message()) == [2]
