"""Every form of name, with every type, in every state of the endpoints."""

from __future__ import annotations

import pytest
from dns_answers import Read, ask, resolve, zone

from discovery.delta import Identity, identity
from discovery.dns.selection import ALL_CLOSED, Circuits
from discovery.model import (
    DnsAnswer,
    DnsPolicy,
    DnsSettings,
    Endpoint,
    EndpointState,
    Listener,
    Node,
    Protocol,
    Route,
    Service,
    TrafficSplit,
)

SETTINGS = DnsSettings(addresses=("10.9.0.53:53", "[fd00::53]:53"), ttl=7, negative_ttl=3)
WEB = Service(
    name="web",
    domain="web.local",
    metadata={"team": "shop", "tier": "front"},
    endpoints=(
        Endpoint(id="a", address="10.0.0.1:80", version="v1", weight=3, node="n1"),
        Endpoint(id="b", address="10.0.0.2:81", version="v2.0", node="n2"),
        Endpoint(id="c", address="[fd00::3]:80", version="v2.0", node="n2"),
        Endpoint(id="d", address="10.0.0.4:80", version="v1", backup=True),
    ),
)
SOA = "SOA ns.hivemesh. hostmaster.hivemesh. 0 3600 600 86400 3"
HINFO = 'HINFO "RFC8482" ""'


def negative(rcode: str, apex: str) -> Read:
    return Read(rcode, True, [], [f"{apex} {SOA}"], [], {3})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web.local", ["10.0.0.1", "10.0.0.2"]),
        ("web.service.hivemesh", ["10.0.0.1", "10.0.0.2"]),
        ("v1.web.local", ["10.0.0.1"]),
        ("v1.web.service.hivemesh", ["10.0.0.1"]),
        ("v2-0.web.local", ["10.0.0.2"]),  # v2.0 would be two labels
        ("all.web.local", ["10.0.0.1", "10.0.0.2", "10.0.0.4"]),
        ("all.web.service.hivemesh", ["10.0.0.1", "10.0.0.2", "10.0.0.4"]),
        ("n1.node.hivemesh", ["10.0.0.1"]),
        ("n2.node.hivemesh", ["10.0.0.2"]),
        ("0a000001.addr.hivemesh", ["10.0.0.1"]),
        ("ns.hivemesh", ["10.9.0.53"]),
    ],
)
def test_a_name_has_its_addresses(name: str, expected: list[str]) -> None:
    found = resolve(zone(WEB, settings=SETTINGS), name)
    assert (found.rcode, found.authoritative, found.data, found.ttls) == ("NOERROR", True, expected, {7})
    assert found.authority == found.additional == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web.local", ["fd00::3"]),
        ("v2-0.web.service.hivemesh", ["fd00::3"]),
        ("n2.node.hivemesh", ["fd00::3"]),
        ("fd000000000000000000000000000003.addr.hivemesh", ["fd00::3"]),
        ("ns.hivemesh", ["fd00::53"]),
    ],
)
def test_a_name_has_its_ipv6_addresses(name: str, expected: list[str]) -> None:
    assert resolve(zone(WEB, settings=SETTINGS), name, "AAAA").data == expected


@pytest.mark.parametrize(
    ("name", "qtype", "apex"),
    [
        ("v1.web.local", "AAAA", "web.local"),
        ("v1.web.service.hivemesh", "AAAA", "hivemesh"),
        ("_web._tcp.web.local", "A", "web.local"),
        ("_tcp.web.local", "A", "web.local"),
        ("_tcp.web.local", "SRV", "web.local"),
        ("_tcp.service.hivemesh", "SRV", "hivemesh"),
        ("_web._tcp.service.hivemesh", "AAAA", "hivemesh"),
        ("hivemesh", "A", "hivemesh"),
        ("service.hivemesh", "A", "hivemesh"),
        ("node.hivemesh", "A", "hivemesh"),
        ("addr.hivemesh", "A", "hivemesh"),
        ("0a000001.addr.hivemesh", "AAAA", "hivemesh"),
        ("ns.hivemesh", "TXT", "hivemesh"),
        ("n1.node.hivemesh", "TXT", "hivemesh"),
        ("v1.web.local", "SOA", "web.local"),
        ("web.service.hivemesh", "SOA", "hivemesh"),
        ("v1.web.local", "NS", "web.local"),
        ("1.0.0.10.in-addr.arpa", "A", "1.0.0.10.in-addr.arpa"),
        *(
            ("web.local", qtype, "web.local")
            for qtype in ("CAA", "HTTPS", "SVCB", "MX", "CNAME", "DS", "DNSKEY", 65280)
        ),
    ],
)
def test_a_name_without_records_of_the_type_is_there_all_the_same(name: str, qtype: str, apex: str) -> None:
    assert resolve(zone(WEB, settings=SETTINGS), name, qtype) == negative("NOERROR", apex)


@pytest.mark.parametrize("qtype", ["A", "SRV", "ANY", "SOA", "NS", "TXT", 65280])
@pytest.mark.parametrize(
    ("name", "apex"),
    [
        ("v3.web.local", "web.local"),
        ("v2.web.local", "web.local"),
        ("a.web.local", "web.local"),
        ("_udp.web.local", "web.local"),
        ("_web._udp.web.local", "web.local"),
        ("_api._tcp.web.local", "web.local"),
        ("web._tcp.web.local", "web.local"),
        ("x.v1.web.local", "web.local"),
        ("x._web._tcp.web.local", "web.local"),
        ("a.b.c.d.e.web.local", "web.local"),
        ("api.service.hivemesh", "hivemesh"),
        ("v3.web.service.hivemesh", "hivemesh"),
        ("x.v1.web.service.hivemesh", "hivemesh"),
        ("_api._tcp.service.hivemesh", "hivemesh"),
        ("web._tcp.service.hivemesh", "hivemesh"),
        ("_._tcp.service.hivemesh", "hivemesh"),
        ("_web._udp.service.hivemesh", "hivemesh"),
        ("n3.node.hivemesh", "hivemesh"),
        ("x.n1.node.hivemesh", "hivemesh"),
        ("0a00000g.addr.hivemesh", "hivemesh"),
        ("0a0000.addr.hivemesh", "hivemesh"),
        ("x.ns.hivemesh", "hivemesh"),
        ("web.hivemesh", "hivemesh"),
    ],
)
def test_a_name_that_is_not_there(name: str, apex: str, qtype: str) -> None:
    assert resolve(zone(WEB, settings=SETTINGS), name, qtype) == negative("NXDOMAIN", apex)


@pytest.mark.parametrize("name", ["", "local", "example.com", "hivemesh.local", "9.0.0.10.in-addr.arpa", "arpa"])
def test_what_is_not_ours_is_left_to_others(name: str) -> None:
    for qtype in ("A", "PTR", "SOA", "ANY", "AXFR"):
        assert ask(zone(WEB, settings=SETTINGS), name, qtype) is None


# --- SRV ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["web.local", "_web._tcp.web.local", "web.service.hivemesh", "_web._tcp.service.hivemesh", "all.web.local"],
)
def test_srv_lists_endpoints_with_port_weight_and_priority_and_their_addresses(name: str) -> None:
    found = resolve(zone(WEB, settings=SETTINGS), name, "SRV")
    assert found.data == [
        "0 1 80 fd000000000000000000000000000003.addr.hivemesh.",
        "0 1 81 0a000002.addr.hivemesh.",
        "0 3 80 0a000001.addr.hivemesh.",
        "1 1 80 0a000004.addr.hivemesh.",
    ]
    assert found.answer[-1].endswith("0a000004.addr.hivemesh.")  # by priority
    assert sorted(found.additional) == [
        "0a000001.addr.hivemesh A 10.0.0.1",
        "0a000002.addr.hivemesh A 10.0.0.2",
        "0a000004.addr.hivemesh A 10.0.0.4",
        "fd000000000000000000000000000003.addr.hivemesh AAAA fd00::3",
    ]


def test_every_target_of_srv_is_a_name_of_its_own() -> None:
    asked = zone(WEB, settings=SETTINGS)
    for line in resolve(asked, "web.local", "SRV").data:
        target = line.split()[3]
        assert resolve(asked, target, "A").data or resolve(asked, target, "AAAA").data


def test_srv_of_one_version() -> None:
    assert resolve(zone(WEB), "v1.web.local", "SRV").data == [
        "0 3 80 0a000001.addr.hivemesh.",
        "1 1 80 0a000004.addr.hivemesh.",
    ]


def test_a_priority_that_was_written_wins() -> None:
    endpoints = (
        Endpoint(id="a", address="10.0.0.1:80", priority=10),
        Endpoint(id="b", address="10.0.0.2:80", priority=20, backup=True),
    )
    found = resolve(zone(Service(name="web", endpoints=endpoints)), "web.service.hivemesh", "SRV")
    assert [line.split()[0] for line in found.data] == ["10", "20"]


def test_weights_that_do_not_fit_keep_their_proportion() -> None:
    endpoints = tuple(
        Endpoint(id=str(weight), address=f"10.0.0.1:{port}", weight=weight)
        for port, weight in ((1, 1_000_000), (2, 500_000), (3, 1))
    )
    found = resolve(zone(Service(name="web", endpoints=endpoints)), "web.service.hivemesh", "SRV")
    assert [line.split()[1] for line in found.data] == ["1", "32767", "65535"]


def test_two_endpoints_of_one_address_and_port_are_one_target() -> None:
    endpoints = tuple(Endpoint(id=name, address="10.0.0.1:80", weight=2) for name in "ab")
    found = resolve(zone(Service(name="web", endpoints=endpoints)), "web.service.hivemesh", "SRV")
    assert found.data == ["0 4 80 0a000001.addr.hivemesh."]


def test_the_protocols_of_a_service_are_those_of_its_policy() -> None:
    dns = DnsPolicy(protocols=("udp", "sip"))
    asked = zone(WEB, Service(name="voice", domain="voice.local", endpoints=WEB.endpoints, dns=dns))
    for name in ("_voice._udp.voice.local", "_voice._sip.voice.local", "_voice._udp.service.hivemesh"):
        assert len(resolve(asked, name, "SRV").data) == 4
    assert resolve(asked, "_voice._tcp.voice.local", "SRV").rcode == "NXDOMAIN"
    assert resolve(asked, "_voice._tcp.service.hivemesh", "SRV").rcode == "NXDOMAIN"
    assert resolve(asked, "_udp.service.hivemesh", "SRV").rcode == "NOERROR"
    asked.remove("voice")
    assert resolve(asked, "_udp.service.hivemesh", "SRV").rcode == "NXDOMAIN"
    assert resolve(asked, "_tcp.service.hivemesh", "SRV").rcode == "NOERROR"


# --- TXT, SOA, NS, PTR, ANY -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["web.local", "web.service.hivemesh", "v1.web.local", "_web._tcp.web.local"])
def test_txt_says_the_metadata(name: str) -> None:
    assert resolve(zone(WEB), name, "TXT").data == ['"team=shop"', '"tier=front"']


def test_txt_that_is_too_long_for_one_string_is_several() -> None:
    service = Service(name="web", metadata={"k": "x" * 600, "e": "", "ü": "ö"})
    found = resolve(zone(service), "web.service.hivemesh", "TXT")
    assert '"e="' in found.data
    assert f'"k={"x" * 253}" "{"x" * 255}" "{"x" * 92}"' in found.data
    assert len(found.data) == 3


def test_txt_of_a_node_is_its_metadata() -> None:
    asked = zone()
    asked.nodes((Node(name="n1", metadata={"rack": "7"}),))
    assert resolve(asked, "n1.node.hivemesh", "TXT").data == ['"rack=7"']


@pytest.mark.parametrize("apex", ["web.local", "hivemesh"])
def test_each_domain_is_a_zone_with_soa_and_ns(apex: str) -> None:
    asked = zone(WEB, settings=SETTINGS)
    asked.version(2**32 + 41)
    soa = resolve(asked, apex, "SOA")
    assert (soa.data, soa.ttls) == (["ns.hivemesh. hostmaster.hivemesh. 41 3600 600 86400 3"], {7})
    ns = resolve(asked, apex, "NS")
    assert ns.data == ["ns.hivemesh."]
    assert ns.additional == ["ns.hivemesh A 10.9.0.53", "ns.hivemesh AAAA fd00::53"]
    assert resolve(asked, f"nothing.{apex}").authority[0].split()[4] == "41"


def test_a_nameserver_elsewhere_has_no_addresses_here() -> None:
    settings = DnsSettings(nameserver="ns.example.com", hostmaster="dns.example.com")
    asked = zone(WEB, settings=settings)
    found = resolve(asked, "web.local", "NS")
    assert (found.data, found.additional) == (["ns.example.com."], [])
    assert resolve(asked, "web.local", "SOA").data[0].startswith("ns.example.com. dns.example.com. ")


def test_a_server_on_every_address_gives_the_proxys_for_its_own() -> None:
    settings = DnsSettings(addresses=("0.0.0.0:53", "[::]:53"), proxy_addresses=("10.1.1.1",))
    assert resolve(zone(settings=settings), "ns.hivemesh").data == ["10.1.1.1"]
    assert resolve(zone(settings=DnsSettings(addresses=("0.0.0.0:53",))), "ns.hivemesh").data == []


@pytest.mark.parametrize(
    "name", ["web.local", "v1.web.local", "_tcp.web.local", "_web._tcp.web.local", "hivemesh", "n1.node.hivemesh"]
)
def test_any_is_answered_minimally(name: str) -> None:
    assert resolve(zone(WEB), name, "ANY").answer == [f"{name} {HINFO}"]


def test_zone_transfers_are_refused() -> None:
    for qtype in ("AXFR", "IXFR"):
        for name in ("web.local", "hivemesh", "nothing.web.local"):
            assert resolve(zone(WEB), name, qtype) == Read("REFUSED", False, [], [], [], set())


def test_of_two_nodes_with_one_address_the_first_by_name_is_named() -> None:
    asked = zone()
    for names in (("n1", "n2"), ("n2", "n1")):
        asked.nodes(tuple(Node(name=name, address="10.0.0.8") for name in names))
        assert resolve(asked, "8.0.0.10.in-addr.arpa", "PTR").data == ["n1.node.hivemesh."]


def test_an_address_is_known_by_its_services_or_its_node() -> None:
    api = Service(
        name="api", endpoints=(Endpoint(id="a", address="10.0.0.1:9"), Endpoint(id="b", address="10.0.0.8:9"))
    )
    asked = zone(WEB, api)
    asked.nodes((Node(name="N.8", address="10.0.0.8"), Node(name="n9", address="fd00::9")))
    reverse6 = "9" + ".0" * 27 + ".0.0.d.f.ip6.arpa"
    assert resolve(asked, "1.0.0.10.in-addr.arpa", "PTR").data == ["api.service.hivemesh.", "web.local."]
    assert resolve(asked, "8.0.0.10.in-addr.arpa", "PTR").data == ["n-8.node.hivemesh."]
    assert resolve(asked, reverse6, "PTR").data == ["n9.node.hivemesh."]
    assert resolve(asked, reverse6, "SOA").rcode == "NOERROR"
    assert ask(asked, "x." + reverse6, "PTR") is None
    assert ask(asked, "01.0.0.10.in-addr.arpa", "PTR") is None
    asked.remove("api")
    assert resolve(asked, "1.0.0.10.in-addr.arpa", "PTR").data == ["web.local."]
    asked.remove("web")
    assert ask(asked, "1.0.0.10.in-addr.arpa", "PTR") is None


# --- which endpoints ------------------------------------------------------------------------------------------------


State = tuple[EndpointState, bool, int]  # state, backup, weight


def of_states(*states: State, fail_open: bool | None = None) -> Service:
    endpoints = tuple(
        Endpoint(id=str(number), address=f"10.0.0.{number}:80", state=state, backup=backup, weight=weight)
        for number, (state, backup, weight) in enumerate(states, 1)
    )
    return Service(name="web", domain="web.local", endpoints=endpoints, dns=DnsPolicy(fail_open=fail_open))


UP, DOWN = EndpointState.HEALTHY, EndpointState.UNHEALTHY
CHECKING, EJECTED, DRAINING = EndpointState.CHECKING, EndpointState.EJECTED, EndpointState.DRAINING


@pytest.mark.parametrize(
    ("states", "addresses", "srv"),
    [
        ([(UP, False, 1), (DOWN, False, 1), (CHECKING, False, 1), (EJECTED, False, 1), (DRAINING, False, 1)], "1", "1"),
        ([(UP, False, 1), (UP, False, 0)], "1", "1"),
        ([(UP, False, 1), (UP, True, 1)], "1", "12"),
        ([(DOWN, False, 1), (UP, True, 1), (DOWN, True, 1)], "2", "2"),
        ([(DOWN, False, 1), (CHECKING, True, 1)], "", ""),
        ([], "", ""),
    ],
)
def test_only_usable_endpoints_are_listed(
    states: list[tuple[EndpointState, bool, int]], addresses: str, srv: str
) -> None:
    asked = zone(of_states(*states))
    assert resolve(asked, "web.local").data == [f"10.0.0.{last}" for last in addresses]
    assert sorted(line.split()[3][7] for line in resolve(asked, "web.local", "SRV").data) == list(srv)
    assert resolve(asked, "web.local").rcode == "NOERROR"
    assert resolve(asked, "all.web.local").data == [f"10.0.0.{number}" for number in range(1, len(states) + 1)]


@pytest.mark.parametrize(("settings", "policy", "expected"), [(True, None, 3), (True, False, 0), (False, True, 3)])
def test_fail_open_lists_what_is_out_for_its_health_alone(settings: bool, policy: bool | None, expected: int) -> None:
    states = [(DOWN, False, 1), (CHECKING, True, 1), (EJECTED, False, 1), (DRAINING, False, 1), (DOWN, False, 0)]
    asked = zone(of_states(*states, fail_open=policy), settings=DnsSettings(fail_open=settings))
    assert len(resolve(asked, "web.local").data) == expected
    assert len(resolve(asked, "web.local", "SRV").data) == expected


@pytest.mark.parametrize(
    ("is_open", "half_open", "states", "addresses", "srv"),
    [
        ("1", "", [(UP, False, 1), (UP, False, 1)], "2", "2"),
        ("", "1", [(UP, False, 1), (UP, False, 1)], "2", "2"),  # a half-open one only where there is nothing better
        ("1", "2", [(UP, False, 1), (UP, False, 1)], "2", "2"),
        ("", "12", [(UP, False, 1), (UP, False, 1)], "12", "12"),
        ("1", "2", [(UP, False, 1), (UP, False, 1), (UP, True, 1)], "3", "3"),  # a closed backup is
        ("12", "", [(UP, False, 1), (UP, False, 1)], "", ""),
        ("1", "2", [(UP, False, 1), (DOWN, False, 1)], "", ""),
        ("3", "", [(UP, False, 1), (UP, True, 1), (UP, True, 1)], "1", "12"),
    ],
)
def test_what_a_circuit_breaker_keeps_requests_from_is_not_listed(
    is_open: str, half_open: str, states: list[State], addresses: str, srv: str
) -> None:
    def numbered(numbers: str) -> list[Identity]:
        return [(number, f"10.0.0.{number}:80") for number in numbers]

    circuits = Circuits(7, {each: 1000 + int(each[0]) for each in numbered(is_open)}, numbered(half_open))
    asked = zone(of_states(*states), breakers=lambda name: circuits if name == "web" else ALL_CLOSED)
    for name in ("web.local", "web.service.hivemesh"):
        assert resolve(asked, name).data == [f"10.0.0.{last}" for last in addresses]
        assert resolve(asked, name).rcode == "NOERROR"
        assert sorted(line.split()[3][7] for line in resolve(asked, name, "SRV").data) == list(srv)
        for qtype in ("A", "AAAA", "SRV"):
            answer = ask(asked, name, qtype)
            assert answer is not None
            assert (answer.epoch, answer.until) == (7, 1000 + int(min(is_open)) if is_open else 0)
    assert resolve(asked, "all.web.local").data == [f"10.0.0.{number}" for number in range(1, len(states) + 1)]
    for name, qtype in (("all.web.local", "A"), ("web.local", "TXT"), ("web.local", "ANY")):
        answer = ask(asked, name, qtype)
        assert answer is not None
        assert (answer.epoch, answer.until) == (None, 0)


def test_fail_open_lists_what_its_breaker_keeps_out() -> None:
    circuits = Circuits(1, {("1", "10.0.0.1:80"): 5})
    asked = zone(of_states((UP, False, 1), (DOWN, False, 1), fail_open=True), breakers=lambda name: circuits)
    assert resolve(asked, "web.local").data == ["10.0.0.1", "10.0.0.2"]


def test_breakers_count_within_a_version() -> None:
    first, second = Endpoint(id="1", address="10.0.0.1:80", version="v1"), Endpoint(id="2", address="10.0.0.2:80")
    circuits = Circuits(1, {identity(first): 5})
    asked = zone(Service(name="web", domain="web.local", endpoints=(first, second)), breakers=lambda name: circuits)
    assert resolve(asked, "v1.web.local").data == []
    assert resolve(asked, "web.local").data == ["10.0.0.2"]


def test_one_address_is_listed_once_and_a_unix_socket_never() -> None:
    endpoints = (
        Endpoint(id="a", address="10.0.0.1:80"),
        Endpoint(id="b", address="10.0.0.1:81"),
        Endpoint(id="c", address="unix:/run/web.sock"),
    )
    asked = zone(Service(name="web", endpoints=endpoints))
    assert resolve(asked, "web.service.hivemesh").data == ["10.0.0.1"]
    assert len(resolve(asked, "web.service.hivemesh", "SRV").data) == 2


def test_a_version_that_only_the_split_names_is_there() -> None:
    service = Service(name="web", traffic_split=(TrafficSplit(version="v9"), TrafficSplit(version="x", service="api")))
    assert resolve(zone(service), "v9.web.service.hivemesh").rcode == "NOERROR"
    assert resolve(zone(service), "x.web.service.hivemesh").rcode == "NXDOMAIN"


def test_the_ttl_is_the_services() -> None:
    for ttl, expected in ((0.0, 0), (1.9, 1), (None, 7)):
        service = Service(name="web", endpoints=WEB.endpoints, dns=DnsPolicy(ttl=ttl), metadata={"a": "b"})
        for qtype in ("A", "AAAA", "SRV", "TXT", "ANY"):
            assert resolve(zone(service, settings=SETTINGS), "web.service.hivemesh", qtype).ttls == {expected}


# --- the proxy's address --------------------------------------------------------------------------------------------


def test_a_service_may_be_answered_with_the_proxys_address() -> None:
    service = Service(
        name="web",
        domain="web.local",
        endpoints=(Endpoint(id="a", address="10.0.0.1:80", version="v1", state=DOWN),),
        dns=DnsPolicy(answer=DnsAnswer.PROXY),
    )
    asked = zone(service, settings=DnsSettings(proxy_addresses=("10.1.0.1", "10.1.0.2", "fd00::1")))
    assert resolve(asked, "web.local").data == ["10.1.0.1", "10.1.0.2"]
    assert resolve(asked, "web.service.hivemesh", "AAAA").data == ["fd00::1"]
    assert resolve(asked, "v1.web.local").data == []  # who asks for a version means its endpoints
    assert resolve(asked, "all.web.local").data == ["10.0.0.1"]
    assert resolve(asked, "web.local", "SRV").data == []  # no listener leads there
    asked.listeners(
        (
            Listener(name="udp", address="0.0.0.0:53", protocol=Protocol.DNS_UDP, by_domain=True),
            Listener(name="other", address="0.0.0.0:1", routes=(Route(name="r", service="api"),)),
            Listener(name="http", address="[::]:8080", by_domain=True),
        )
    )
    assert resolve(asked, "_web._tcp.web.local", "SRV").data == [
        "0 1 8080 0a010001.addr.hivemesh.",
        "0 1 8080 0a010002.addr.hivemesh.",
        "0 1 8080 fd000000000000000000000000000001.addr.hivemesh.",
    ]


# --- names that meet ------------------------------------------------------------------------------------------------


def one(name: str, last: int, domain: str = "", version: str = "", node: str = "") -> Service:
    endpoint = Endpoint(id="a", address=f"10.0.0.{last}:80", version=version, node=node)
    return Service(name=name, domain=domain, endpoints=(endpoint,))


def test_the_longest_domain_wins() -> None:
    asked = zone(one("web", 1, "web.local", "v1"))
    assert resolve(asked, "v1.web.local").data == ["10.0.0.1"]
    assert asked.put(one("canary", 2, "v1.web.local", "v2")) == ("web",)
    assert resolve(asked, "v1.web.local").data == ["10.0.0.2"]
    assert resolve(asked, "v2.v1.web.local").data == ["10.0.0.2"]
    assert resolve(asked, "x.v1.web.local").authority[0].startswith("v1.web.local SOA ")
    asked.remove("canary")
    assert resolve(asked, "v1.web.local").data == ["10.0.0.1"]
    assert resolve(asked, "v2.v1.web.local").rcode == "NXDOMAIN"


def test_a_name_between_two_domains_is_there() -> None:
    asked = zone(one("web", 1, "web.local"), one("deep", 2, "a.b.web.local"))
    assert resolve(asked, "b.web.local").rcode == "NOERROR"
    assert resolve(asked, "c.web.local").rcode == "NXDOMAIN"
    asked.remove("deep")
    assert resolve(asked, "b.web.local").rcode == "NXDOMAIN"


@pytest.mark.parametrize(
    "domain",
    ["hivemesh", "service.hivemesh", "web.service.hivemesh", "node.hivemesh", "ns.hivemesh", "a.addr.hivemesh"],
)
def test_what_the_zone_needs_is_no_services_domain(domain: str) -> None:
    asked = zone(one("web", 1, node="n1"), one("thief", 9, domain))
    assert resolve(asked, "web.service.hivemesh").data == ["10.0.0.1"]
    assert resolve(asked, "n1.node.hivemesh").data == ["10.0.0.1"]
    assert resolve(asked, "ns.hivemesh").data == ["127.0.0.1"]
    assert resolve(asked, "hivemesh").data == []
    assert resolve(asked, "thief.service.hivemesh").data == ["10.0.0.9"]


def test_a_domain_elsewhere_in_the_zone_or_above_it_is() -> None:
    settings = DnsSettings(zone="mesh.local")
    asked = zone(one("web", 1, "web.mesh.local"), one("top", 2, "local"), settings=settings)
    assert resolve(asked, "web.mesh.local").data == ["10.0.0.1"]
    assert resolve(asked, "local").data == ["10.0.0.2"]
    assert resolve(asked, "top.service.mesh.local").data == ["10.0.0.2"]
    assert resolve(asked, "nothing.mesh.local").authority[0].startswith("mesh.local SOA ")
    assert resolve(asked, "nothing.local").authority[0].startswith("local SOA ")


def test_of_names_with_one_label_the_one_that_is_written_so_is_meant() -> None:
    asked = zone(one("A.B", 1))
    assert resolve(asked, "a-b.service.hivemesh").data == ["10.0.0.1"]
    assert asked.put(one("a:b", 2)) == ("A.B",)
    assert resolve(asked, "a-b.service.hivemesh").data == ["10.0.0.1"]
    assert asked.put(one("a-b", 3)) == ("A.B",)
    assert resolve(asked, "a-b.service.hivemesh").data == ["10.0.0.3"]
    asked.remove("a-b")
    assert resolve(asked, "a-b.service.hivemesh").data == ["10.0.0.1"]


def test_versions_named_like_reserved_labels_give_way() -> None:
    endpoints = (
        Endpoint(id="a", address="10.0.0.1:80", version="all"),
        Endpoint(id="b", address="10.0.0.2:80", version="_tcp"),
        Endpoint(id="c", address="10.0.0.3:80", version="V-1"),
        Endpoint(id="d", address="10.0.0.4:80", version="v.1"),
    )
    asked = zone(Service(name="web", domain="web.local", endpoints=endpoints))
    assert len(resolve(asked, "all.web.local").data) == 4
    assert resolve(asked, "_tcp.web.local").data == []
    assert resolve(asked, "v-1.web.local").data == ["10.0.0.3"]  # by the alphabet, as neither is its own label


def test_a_node_that_was_registered_wins_over_what_endpoints_say() -> None:
    asked = zone(one("web", 1, node="n1"))
    assert resolve(asked, "n1.node.hivemesh").data == ["10.0.0.1"]
    asked.nodes((Node(name="n1", address="10.7.7.7"), Node(name="n2")))
    assert resolve(asked, "n1.node.hivemesh").data == ["10.7.7.7"]
    assert resolve(asked, "n2.node.hivemesh").rcode == "NOERROR"
    asked.nodes(())
    assert resolve(asked, "n1.node.hivemesh").data == ["10.0.0.1"]
    assert resolve(asked, "n2.node.hivemesh").rcode == "NXDOMAIN"


# --- changes --------------------------------------------------------------------------------------------------------


def test_a_service_that_changes_is_answered_as_it_is_now() -> None:
    asked = zone(one("web", 1, "web.local", "v1", "n1"))
    assert asked.put(one("web", 2, "shop.local", "v2", "n2")) == ()
    assert ask(asked, "web.local") is None
    assert resolve(asked, "v2.shop.local").data == resolve(asked, "n2.node.hivemesh").data == ["10.0.0.2"]
    assert resolve(asked, "v1.shop.local").rcode == resolve(asked, "n1.node.hivemesh").rcode == "NXDOMAIN"
    asked.remove("web")
    assert ask(asked, "shop.local") is None
    assert resolve(asked, "web.service.hivemesh").rcode == resolve(asked, "n2.node.hivemesh").rcode == "NXDOMAIN"


def test_a_domain_that_goes_over_to_another_service_is_never_lost() -> None:
    asked = zone(one("a", 1, "one.local"), one("b", 2, "two.local"))
    assert asked.put(one("a", 1, "two.local")) == ("b",)
    asked.put(one("b", 2, "one.local"))
    assert resolve(asked, "two.local").data == ["10.0.0.1"]
    assert resolve(asked, "one.local").data == ["10.0.0.2"]


def test_another_zone_takes_all_names_along() -> None:
    asked = zone(WEB)
    asked.configure(DnsSettings(zone="mesh"), serial=5)
    assert ask(asked, "web.service.hivemesh") is None
    assert len(resolve(asked, "web.service.mesh").data) == 2
    assert resolve(asked, "web.local", "SOA").data[0].startswith("ns.mesh. hostmaster.mesh. 5 ")


def test_only_what_its_owner_decides_may_be_kept() -> None:
    asked = zone(WEB)
    for name in ("web.local", "v1.web.local", "_web._tcp.web.local", "web.service.hivemesh", "all.web.local"):
        for qtype in ("A", "AAAA", "SRV", "TXT", "ANY", "CAA"):
            answer = ask(asked, name, qtype)
            assert answer is not None
            assert (answer.cacheable, answer.owner) == (True, "web")
    for name, qtype in (("nothing.web.local", "A"), ("n1.node.hivemesh", "A"), ("1.0.0.10.in-addr.arpa", "PTR")):
        answer = ask(asked, name, qtype)
        assert answer is not None
        assert not answer.cacheable


def test_recursion_is_available_where_questions_are_forwarded() -> None:
    for forward, expected in (((), 0), (("127.0.0.1:53",), 0x80)):
        asked = zone(WEB, settings=DnsSettings(forward=forward))
        for name in ("web.local", "nothing.web.local"):
            answer = ask(asked, name)
            assert answer is not None
            assert answer.wire[2] == 0x84
            assert answer.wire[3] & 0x80 == expected
