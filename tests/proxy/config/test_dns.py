"""The DNS server and how services appear in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from discovery.config import Config
from discovery.model import DnsAnswer, DnsOrder, DnsPolicy, DnsSettings, Protocol
from proxy.config.effective import effective

Problems = Callable[..., list[str]]


def test_an_address_is_two_listeners(config: Callable[..., Config]) -> None:
    read = config("dns:\n  address: [ ':53', '[::1]:8600' ]\nlisteners: [ { name: web, address: ':80' } ]").snapshot
    made = [(each.name, each.address, each.protocol) for each in read.listeners]
    assert made == [
        ("web", "0.0.0.0:80", Protocol.HTTP),
        ("dns/udp/0", "0.0.0.0:53", Protocol.DNS_UDP),
        ("dns/tcp/0", "0.0.0.0:53", Protocol.DNS_TCP),
        ("dns/udp/1", "[::1]:8600", Protocol.DNS_UDP),
        ("dns/tcp/1", "[::1]:8600", Protocol.DNS_TCP),
    ]
    assert read.settings.dns == DnsSettings(addresses=("0.0.0.0:53", "[::1]:8600"))
    assert str(read.listeners[1].position) == "f:2"


def test_there_is_none_unless_it_is_asked_for(config: Callable[..., Config]) -> None:
    read = config("services: {}")
    assert read.snapshot.settings.dns.addresses == ()
    assert read.snapshot.listeners == ()
    assert "dns" not in effective(read)


def test_everything_about_it(config: Callable[..., Config]) -> None:
    read = config(
        "dns: { address: '127.0.0.1:53', zone: Corp.example, ttl: 0, negative_ttl_secs: 1, order: weighted,"
        " fail_open: true, nameserver: ns.a, hostmaster: 'dns@corp.example', proxy_address: [ 10.0.0.1, '::1' ],"
        " udp_size: 512, max_answers: 3, tcp_connections: 5, tcp_idle: 1s, tcp_pending: 6, rate_limit: 7,"
        " forward: [ 10.0.0.2, 'localhost:5353' ], forward_timeout: 1s, forward_pending: 8, cache_size: 0,"
        " cache_ttl: 1m, cache_negative_ttl: 1s, serve_stale: 0 }"
    )
    assert read.snapshot.settings.dns == DnsSettings(
        addresses=("127.0.0.1:53",),
        zone="corp.example",
        ttl=0.0,
        negative_ttl=1.0,
        order=DnsOrder.WEIGHTED,
        fail_open=True,
        nameserver="ns.a",
        hostmaster="dns.corp.example",
        proxy_addresses=("10.0.0.1", "::1"),
        udp_size=512,
        max_answers=3,
        tcp_connections=5,
        tcp_idle=1.0,
        tcp_pending=6,
        rate_limit=7,
        forward=("10.0.0.2:53", "127.0.0.1:5353"),
        forward_timeout=1.0,
        forward_pending=8,
        cache_size=0,
        cache_ttl=60.0,
        cache_negative_ttl=1.0,
        serve_stale=0.0,
    )
    shown = effective(read)["dns"]
    assert isinstance(shown, dict)
    assert shown["address"] == ["127.0.0.1:53"]
    assert shown["forward"] == ["10.0.0.2:53", "127.0.0.1:5353"]


def test_resolvers_may_be_none(config: Callable[..., Config]) -> None:
    assert config("dns: { address: ':53', forward: [] }").snapshot.settings.dns.forward == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("dns: {}", "dns.address: missing, expected host:port, :port or [v6]:port, or a list of them"),
        ("dns: { address: [] }", "dns.address: 0 entries, expected at least 1"),
        ("dns: { address: 'unix:/a' }", "dns.address: 'unix:/a' has no datagrams here, expected host:port, :port or"),
        (
            "dns: { address: 'dns.corp.example:53' }",
            "dns.address: 'dns.corp.example' is a name, and only endpoints may",
        ),
        ("dns: { address: [ ':53', ':53' ] }", "dns.address[1]: '0.0.0.0:53' is already the address of dns.address[0]"),
        ("dns: { address: ':53', forward: dns.corp.example }", "dns.forward: 'dns.corp.example' has no port, expected"),
        ("dns: { address: '[::1]:53', forward: '::1' }", "dns.forward: '[::1]:53' is where this server answers itself"),
        ("dns: { address: ':53', forward: 127.0.0.1 }", "dns.forward: '127.0.0.1:53' is where this server answers"),
        ("dns: { address: ':53', udp_size: 100 }", "dns.udp_size: '100' is out of range, expected 512 to 4KiB"),
        ("dns: { address: ':53', zone: '.' }", "dns.zone: '.' is not a host name"),
        ("dns: { address: ':53', order: fixed }", "dns.order: 'fixed' is not known, expected shuffle or weighted"),
        (
            "dns: { address: ':53', hostmaster: 'a.b@c' }",
            "dns.hostmaster: 'a.b@c' has a dot before the @, expected a mail",
        ),
        (
            "dns: { address: ':53', proxy_address: '10.0.0.1:80' }",
            "dns.proxy_address: '10.0.0.1:80' is not an IP address",
        ),
        ("dns: { address: ':53', tcp_idle: 0 }", "dns.tcp_idle: '0' is no time at all"),
        ("services: { a: { dns: { ttl: 5 } } }", "services.a.dns.ttl: '5' is not a duration"),
        (
            "services: { a: { dns: { protocols: _tcp } } }",
            "services.a.dns.protocols: '_tcp' is no protocol of a DNS name",
        ),
        (
            "services: { a: { dns_answer: both } }",
            "services.a.dns_answer: 'both' is not known, expected endpoints or prox",
        ),
        (
            "services: { a: { dns_answer: proxy } }",
            "services.a.dns_answer: 'proxy' is answered with the addresses of dns.proxy_address, and there are none,",
        ),
        (
            "dns: { address: ':8600' }\nlisteners: [ { name: web, address: ':8600' } ]",
            "listeners[0].address: '0.0.0.0:8600' is already the address of dns in line 1",
        ),
        (
            "dns: { address: ':8600' }\nlisteners: [ { name: a, address: ':8600', protocol: udp, service: s } ]\n"
            "services: { s: {} }",
            "listeners[0].address: '0.0.0.0:8600' is already the address of dns in line 1",
        ),
        (
            "listeners: [ { name: web, address: ':8600', protocol: dns_tcp } ]",
            "listeners[0].protocol: 'dns_tcp' is not known, expected http or tcp or udp or auto",
        ),
        ("listeners: [ { name: dns/udp/0, address: ':1' } ]", "listeners[0].name: 'dns/udp/0' is not a name"),
    ],
)
def test_what_dns_may_not_be_told(problems: Problems, text: str, problem: str) -> None:
    [found] = problems(text)
    assert found.split(": ", 1)[1].startswith(problem)


def test_a_service_in_dns(config: Callable[..., Config]) -> None:
    text = "dns: { address: ':53', proxy_address: 10.0.0.1 }\nservices:\n  a: { dns_answer: proxy }\n"
    text += "  b: { dns: { ttl: 1s, order: shuffle, fail_open: false, protocols: [ TCP, http ] } }\n"
    proxied, own = config(text).snapshot.services
    assert proxied.dns == DnsPolicy(answer=DnsAnswer.PROXY)
    assert own.dns == DnsPolicy(ttl=1.0, order=DnsOrder.SHUFFLE, fail_open=False, protocols=("tcp", "http"))


def test_a_zone_leaves_room_for_the_names_below_it(problems: Problems) -> None:
    assert problems(f"dns: {{ address: ':53', zone: {'a.' * 107}x }}") == []
    [found] = problems(f"dns: {{ address: ':53', zone: {'a.' * 107}xy }}")
    assert found.endswith("is too long for names below it, expected at most 215 characters")
