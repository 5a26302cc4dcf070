"""DNS goes by the circuit breakers: the words that whatever worker changes are what the next answer is made of."""

from __future__ import annotations

import time

import dns.rcode
from dns_playbook import DnsBook, service, unhealthy

from discovery.model import DnsAnswer, DnsPolicy, Service
from discovery.policies import CircuitBreaker
from mesh.breaker import CLOSED, HALF_OPEN, OPEN, OUTLIER_BIT, pack
from proxy.kernel.cells import Shared
from proxy.stats import slots
from proxy.stats.words import BREAKER_WORD, EPOCH_WORD

NAME = "web.service.hivemesh"
WEB = service("web", "10.0.0.1:80", "10.0.0.2:80", domain="web.example")
BOTH = ["10.0.0.1", "10.0.0.2"]
HOUR_MS = 3_600_000


class Breakers:
    """What another worker does to the words of a service."""

    def __init__(self, book: DnsBook, web: Service = WEB) -> None:
        self.book = book
        self.web = web

    def shared(self, key: str) -> Shared:
        return self.book.table.shared(self.book.numbers[key])

    def put(self, index: int, state: int, until_ms: int = 0) -> None:
        endpoint = self.web.endpoints[index]
        words = self.shared(slots.endpoint_key(self.web.name, endpoint.id, endpoint.address))
        before = words.load(BREAKER_WORD)
        assert words.swap(BREAKER_WORD, before, 0 if state == CLOSED else pack(state, OUTLIER_BIT, 1, 0, until_ms))
        self.shared(slots.service_key(self.web.name)).add(EPOCH_WORD, 1)

    def open(self, index: int, for_ms: int = HOUR_MS) -> None:
        self.put(index, OPEN, now_ms() + for_ms)


def now_ms() -> int:
    return int(time.monotonic() * 1000)


def test_an_ejected_endpoint_is_left_out_of_the_very_next_answer() -> None:
    with DnsBook(WEB) as book:
        breakers = Breakers(book)
        for name in (NAME, "web.example"):
            assert book.addresses(name) == BOTH
        breakers.open(0)
        for name in (NAME, "web.example"):
            assert book.addresses(name) == ["10.0.0.2"]
        assert book.addresses("all.web.example") == BOTH
        breakers.put(0, HALF_OPEN)
        assert book.addresses(NAME) == ["10.0.0.2"]
        breakers.put(0, CLOSED)
        assert book.addresses(NAME) == BOTH


def test_without_a_closed_breaker_half_open_ones_are_listed_and_open_ones_never() -> None:
    with DnsBook(WEB) as book:
        breakers = Breakers(book)
        breakers.open(0)
        breakers.open(1)
        answer = book.ask(NAME)
        assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
        assert answer.authority
        breakers.put(1, HALF_OPEN)
        assert book.addresses(NAME) == ["10.0.0.2"]
        book.apply(WEB, fail_open=True)
        breakers.open(1)
        assert book.addresses(NAME) == BOTH


def test_an_ejection_that_ends_by_itself_is_seen_without_anybody_saying_so() -> None:
    with DnsBook(WEB) as book:
        breakers = Breakers(book)
        breakers.open(1)
        breakers.open(0, for_ms=30)
        assert book.addresses(NAME) == []
        book.until(lambda: book.addresses(NAME) == ["10.0.0.1"], "the first is half-open")
        composed = book.cell("dns/udp", slots.DNS_UNCACHED)
        for _ in range(3):
            assert book.addresses(NAME) == ["10.0.0.1"]
        assert book.cell("dns/udp", slots.DNS_UNCACHED) == composed


def test_answers_are_kept_between_two_changes() -> None:
    with DnsBook(WEB) as book:
        breakers = Breakers(book)
        for state in (OPEN, HALF_OPEN, CLOSED):
            breakers.put(0, state, now_ms() + HOUR_MS)
            before = book.cell("dns/udp", slots.DNS_UNCACHED)
            for _ in range(4):
                book.addresses(NAME)
            assert book.cell("dns/udp", slots.DNS_UNCACHED) == before + 1


def test_breakers_are_followed_after_any_other_change() -> None:
    with DnsBook(WEB) as book:
        breakers = Breakers(book)
        other = service("other", "10.0.0.9:80", domain="all.web.example")
        first, second = WEB.endpoints
        third = service("web", *BOTH, "10.0.0.3:80").endpoints[2]
        for services, settings in (
            ((WEB, other), {}),  # takes names of the service away
            ((WEB,), {}),
            ((service("web", endpoints=(first, second, third)), other), {}),
            ((service("web", endpoints=(first, second, unhealthy(third))),), {}),
            ((WEB,), {"ttl": 9.0}),
            ((WEB,), {"zone": "hivemesh"}),
            ((service("web", circuit_breaker=CircuitBreaker(interval=3.0), endpoints=WEB.endpoints),), {}),
        ):
            book.apply(*services, **settings)
            before = book.addresses(NAME)
            assert "10.0.0.1" in before
            breakers.open(0)
            assert book.addresses(NAME) == before[1:]
            breakers.put(0, CLOSED)
            assert book.addresses(NAME) == before


def test_a_service_that_comes_back_is_followed_again() -> None:
    with DnsBook(WEB) as book:
        breakers = Breakers(book)
        breakers.open(0)
        assert book.addresses(NAME) == ["10.0.0.2"]
        book.apply()
        assert book.ask(NAME).rcode() == dns.rcode.NXDOMAIN
        book.apply(service("other", "10.0.0.7:80"))
        book.apply(WEB)
        for _ in range(2):
            breakers.put(0, CLOSED)
            assert book.addresses(NAME) == BOTH
            breakers.open(0)
            assert book.addresses(NAME) == ["10.0.0.2"]


def test_a_service_behind_the_proxys_address_is_answered_whatever_its_breakers_say() -> None:
    web = service("web", "10.0.0.1:80", dns=DnsPolicy(answer=DnsAnswer.PROXY))
    with DnsBook(web, dns={"proxy_addresses": ("10.5.5.5",)}) as book:
        breakers = Breakers(book, web)
        assert book.addresses(NAME) == ["10.5.5.5"]
        breakers.open(0)
        assert book.addresses(NAME) == ["10.5.5.5"]
