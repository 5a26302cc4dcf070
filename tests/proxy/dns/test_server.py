"""The DNS server of a data plane: it answers by the services in force, and hands its sockets over."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import pytest
from dns_playbook import ADDRESS, TCP, UDP, DnsBook, service, unhealthy
from waiting import readable

from discovery.model import Listener, Node, Protocol
from proxy.stats import slots

NAME = "web.service.hivemesh"
QUERY = dns.message.make_query(NAME, "A").to_wire()
FOREIGN = dns.message.make_query("example.com", "A").to_wire()
WEB = service("web", "10.0.0.1:80", "10.0.0.2:80", domain="web.example")
FORWARDING = {"forward": ("127.0.0.1:5",)}


def test_names_of_services_are_answered_with_their_endpoints() -> None:
    with DnsBook(WEB, service("db", "[fd00::1]:5432")) as book:
        for _ in range(2):
            assert book.addresses(NAME) == book.addresses("web.example") == ["10.0.0.1", "10.0.0.2"]
            assert book.addresses("db.service.hivemesh", "AAAA") == ["fd00::1"]
            assert book.addresses("db.service.hivemesh") == []
        assert book.ask("x.service.hivemesh").rcode() == dns.rcode.NXDOMAIN
        assert book.ask("example.com").rcode() == dns.rcode.REFUSED
        assert book.cell("dns/udp", slots.REQUESTS) == book.cell(f"listener/{UDP}", slots.DATAGRAMS_OUT) == 10


def test_a_change_of_a_service_is_answered_at_once() -> None:
    with DnsBook(WEB) as book:
        assert book.addresses(NAME) == ["10.0.0.1", "10.0.0.2"]
        first, second = WEB.endpoints
        book.apply(service("web", endpoints=(first, unhealthy(second))))
        assert book.addresses(NAME) == ["10.0.0.1"]
        assert book.ask("web.example").rcode() == dns.rcode.REFUSED  # it has no domain any more
        book.apply()
        assert book.ask(NAME).rcode() == dns.rcode.NXDOMAIN
        book.apply(WEB)
        assert book.addresses(NAME) == ["10.0.0.1", "10.0.0.2"]


def test_a_domain_goes_over_to_the_service_that_has_it_now() -> None:
    with DnsBook(WEB, service("other", "10.0.0.9:80")) as book:
        assert len(book.addresses("web.example")) == 2
        book.apply(service("web", "10.0.0.1:80"), service("other", "10.0.0.9:80", domain="web.example"))
        assert book.addresses("web.example") == ["10.0.0.9"]


def test_a_domain_below_another_takes_its_names() -> None:
    with DnsBook(WEB) as book:
        assert book.ask("all.web.example").rcode() == 0
        book.apply(WEB, service("all", "10.0.0.9:80", domain="all.web.example"))
        assert book.addresses("all.web.example") == ["10.0.0.9"]
        book.apply(WEB)
        assert book.addresses("all.web.example") == ["10.0.0.1", "10.0.0.2"]


def test_nodes_are_answered() -> None:
    with DnsBook(WEB, nodes=(Node(name="n1", address="10.1.1.1"),)) as book:
        assert book.addresses("n1.node.hivemesh") == ["10.1.1.1"]
        book.nodes = (Node(name="n1", address="10.1.1.2"),)
        book.apply(WEB)
        assert book.addresses("n1.node.hivemesh") == ["10.1.1.2"]


def test_settings_take_effect_at_a_reload() -> None:
    many = service("many", *[f"10.0.{n >> 8}.{n & 255}:80" for n in range(100)])
    with DnsBook(many) as book:
        name = "many.service.hivemesh"
        assert book.ask(name, use_edns=0, payload=4096).flags & dns.flags.TC
        book.apply(many, udp_size=4096, ttl=77.0)
        answer = book.ask(name, use_edns=0, payload=4096)
        assert len(answer.answer[0]) == 100 and answer.answer[0].ttl == 77
        assert answer.payload == 4096
        book.apply(many, zone="other")
        assert book.ask(name).rcode() == dns.rcode.REFUSED
        assert book.ask("many.service.other").rcode() == 0


def test_a_limit_of_rate_takes_effect_at_a_reload() -> None:
    with DnsBook(WEB) as book:
        client = book.client()
        for rate, limited in ((0, False), (1, True), (0, False)):
            book.apply(WEB, rate_limit=rate)
            before = book.cell("dns/udp", slots.DNS_RATE_LIMITED)
            for _ in range(4):
                client.send(QUERY)
            book.settle()
            assert (book.cell("dns/udp", slots.DNS_RATE_LIMITED) > before) is limited


def test_everything_is_the_same_over_tcp() -> None:
    with DnsBook(WEB) as book:
        client = book.tcp()
        client.send(QUERY)
        answer = dns.message.from_wire(client.message())
        assert sorted(record.address for record in answer.answer[0]) == ["10.0.0.1", "10.0.0.2"]
        assert book.cell("dns/tcp", slots.REQUESTS) == book.cell("dns/tcp", slots.CONNECTIONS_TOTAL) == 1
        assert book.cell("dns/udp", slots.REQUESTS) == 0


# --- forwarding -------------------------------------------------------------------------------------------------------


def test_other_names_are_forwarded_and_fitted_to_who_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with DnsBook(WEB, dns=FORWARDING, monkeypatch=monkeypatch) as book:
        record = b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4\x0a\0\0\1"
        for query, records, size in (
            (dns.message.make_query("ExamPle.com", "A"), 2, 2),
            (dns.message.make_query("example.com", "A"), 50, 0),
            (dns.message.make_query("example.com", "A", use_edns=0, payload=1232), 50, 50),
            (dns.message.make_query("example.com", "A", use_edns=0, payload=4096), 80, 0),
        ):
            client = book.client()
            client.send(query.to_wire())
            book.until(lambda: book.resolver.asked, "the question")
            assert book.cell("dns/udp", slots.ACTIVE) == 1
            book.resolver.answer(0, record * records)
            answer = dns.message.from_wire(book.receive(client))
            assert query.is_response(answer)
            assert sum(len(rrset) for rrset in answer.answer) == min(size, 1)  # all records are the same
            assert bool(answer.flags & dns.flags.TC) is (size == 0)
            assert answer.edns == query.edns
        assert book.cell("dns/udp", slots.DNS_TRUNCATED) == 2
        assert book.addresses(NAME) == ["10.0.0.1", "10.0.0.2"]


def test_an_answer_that_the_forwarder_has_at_once_is_sent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with DnsBook(WEB, dns=FORWARDING, monkeypatch=monkeypatch) as book:
        book.resolver.at_once = b""
        assert book.ask("example.com").rcode() == 0
        assert book.cell("dns/udp", slots.ACTIVE) == 0


def test_forwarding_begins_and_ends_at_a_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    with DnsBook(WEB, monkeypatch=monkeypatch) as book:
        book.resolver.at_once = b""
        assert book.ask("example.com").rcode() == dns.rcode.REFUSED
        book.apply(WEB, **FORWARDING)
        assert book.resolver.settings.forward
        assert book.ask("example.com").rcode() == 0
        book.apply(WEB, forward=())
        assert book.ask("example.com").rcode() == dns.rcode.REFUSED


# --- sockets that come and go -----------------------------------------------------------------------------------------


def test_a_socket_that_is_handed_over_answers_what_has_come_and_reads_no_more() -> None:
    with DnsBook(WEB) as book:
        client = book.client()
        client.send(QUERY)
        book.plane.unlisten(UDP)
        assert len(book.receive(client)) > len(QUERY)
        client.send(QUERY)
        assert book.has_nothing(client)
        assert readable([book.udp_socket.fileno()])  # it is whoever reads from now on
        book.listen()
        assert len(book.receive(client)) > len(QUERY)


def test_a_socket_that_is_handed_over_stays_for_answers_that_are_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    with DnsBook(WEB, dns=FORWARDING, monkeypatch=monkeypatch) as book:
        client = book.client()
        client.send(FOREIGN)
        book.until(lambda: book.resolver.asked, "the question")
        book.plane.unlisten(UDP)
        assert book.plane.reactor.open_streams == 2
        book.resolver.answer()
        assert len(book.receive(client)) == len(FOREIGN)
        assert book.plane.reactor.open_streams == 1


def test_a_drain_waits_for_the_answers_of_resolvers(monkeypatch: pytest.MonkeyPatch) -> None:
    with DnsBook(WEB, dns=FORWARDING, monkeypatch=monkeypatch) as book:
        client = book.client()
        client.send(FOREIGN)
        book.until(lambda: book.resolver.asked, "the question")
        book.drain()
        book.settle()
        assert not book.drained
        book.resolver.answer()
        assert len(book.receive(client)) == len(FOREIGN)
        book.until(lambda: book.drained, "drained")


def test_a_drain_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    with DnsBook(WEB, dns=FORWARDING, monkeypatch=monkeypatch) as book:
        book.client().send(FOREIGN)
        book.until(lambda: book.resolver.asked, "the question")
        book.drain(0.1)
        book.until(lambda: book.drained, "drained")
        book.resolver.answer()


def test_dns_comes_and_goes_at_a_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    with DnsBook(WEB, monkeypatch=monkeypatch) as book:
        assert len(book.addresses(NAME)) == 2
        tcp = book.tcp()
        tcp.send(QUERY)
        tcp.message()
        book.apply(WEB, listeners=())
        assert tcp.ended() == b""
        assert book.resolver.closed and book.plane.dns is None
        assert book.plane.reactor.open_streams == 0
        book.plane.unlisten(UDP)
        book.plane.unlisten(TCP)
        book.apply(WEB, service("late", "10.0.0.5:80"))
        book.listen()
        assert book.addresses(NAME) == ["10.0.0.1", "10.0.0.2"]
        assert book.addresses("late.service.hivemesh") == ["10.0.0.5"]


def test_questions_that_wait_when_dns_goes_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with DnsBook(WEB, dns=FORWARDING, monkeypatch=monkeypatch) as book:
        tcp = book.tcp()
        tcp.send(FOREIGN)
        book.client().send(FOREIGN)
        book.until(lambda: len(book.resolver.asked) == 2, "both questions")
        rows = [book.table.slot(0, book.numbers[key]) for key in ("dns/udp", "dns/tcp")]
        assert [row.get(slots.ACTIVE) for row in rows] == [1, 1]
        book.apply(WEB, listeners=())
        assert [row.get(slots.ACTIVE) for row in rows] == [0, 0]
        for _ in range(2):
            book.resolver.answer()
        assert [row.get(slots.ACTIVE) for row in rows] == [0, 0]


def test_several_sockets_answer_from_one_table() -> None:
    with DnsBook(WEB) as book:
        book.listen(1)  # as a stand-in for another worker: both may read it
        for _ in range(4):
            assert len(book.addresses(NAME)) == 2
        other = Listener(name="dns/udp/1", address="127.0.0.1:54", protocol=Protocol.DNS_UDP)
        book.apply(WEB, listeners=(Listener(name=UDP, address=ADDRESS, protocol=Protocol.DNS_UDP), other))
        assert len(book.addresses(NAME)) == 2


def test_a_bug_of_the_zone_is_told_and_costs_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with DnsBook(WEB) as book:
        dns_server = book.plane.dns
        assert dns_server is not None
        answer = dns_server.zone.answer
        bug = RuntimeError("oops")

        def fail(name: bytes, qtype: int) -> None:
            raise bug

        monkeypatch.setattr(type(dns_server.zone), "answer", lambda self, name, qtype: fail(name, qtype))
        assert book.ask(NAME).rcode() == dns.rcode.SERVFAIL
        monkeypatch.setattr(type(dns_server.zone), "answer", lambda self, name, qtype: answer(name, qtype))
        assert len(book.addresses(NAME)) == 2
        assert book.bugs == [bug]
        book.bugs.clear()
