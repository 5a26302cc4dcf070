"""The keys of DNS: those of the server, and those of how a service appears in it.

`listeners_of` makes the listeners that the data plane opens for it, one of datagrams and one of connections for each
address. Their names have a slash, so that nobody else's can be the same.
"""

from __future__ import annotations

import re

import msgspec

from discovery.dns.forwarding import loops
from discovery.dns.rendering import MAX_ZONE
from discovery.model import DnsAnswer, DnsOrder, DnsPolicy, DnsSettings, Listener, Position, Protocol
from proxy.config.addresses import parse_datagram_address, parse_host_name, parse_ip, parse_resolver_address
from proxy.config.nodes import shown
from proxy.config.records import AnyKey, Fields, Key, Record, StructRecord
from proxy.config.shapes import Choice, Duration, Flag, Integer, Json, OneOrMore, Size, Text
from proxy.config.words import BoundBoth

MAX_ADDRESSES = 16
# RFC 1035 section 2.3.4 gives every client 512 bytes; above 4096 no resolver asks for more.
SMALLEST_UDP = 512
LARGEST_UDP = 4096
LARGEST_COUNT = 10_000_000
MAX_ANSWERS = 1000
MAX_PENDING = 65_535  # ids of a connection
MAX_PROTOCOLS = 8

DNS_NAMES = "dns/"  # what the names of its listeners begin with
UDP_NAME = f"{DNS_NAMES}udp/"  # and a number
TCP_NAME = f"{DNS_NAMES}tcp/"

_PROTOCOL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def _mailbox(text: str) -> str:
    """A mail address as a domain name (RFC 1035 section 8), or such a name."""
    local, at, domain = text.partition("@")
    if at and "." in local:
        raise ValueError(
            f"'{shown(text)}' has a dot before the @, expected a mailbox without one such as dns@corp.example"
        )
    return parse_host_name(f"{local}.{domain}" if at else text)


def _zone(text: str) -> str:
    """A domain that leaves room for the longest name below it."""
    zone = parse_host_name(text)
    if len(zone) > MAX_ZONE:
        raise ValueError(f"'{shown(text)}' is too long for names below it, expected at most {MAX_ZONE} characters")
    return zone


def _protocol(text: str) -> str:
    name = text.lower()
    if not _PROTOCOL.fullmatch(name):
        raise ValueError(f"'{shown(text)}' is no protocol of a DNS name, expected one such as tcp (without the _)")
    return name


# --- the server ---------------------------------------------------------------------------------------------------

ADDRESS = Key(
    "address",
    # The end of reading compares them with all other addresses.
    OneOrMore(BoundBoth("host:port, :port or [v6]:port", parse_datagram_address), MAX_ADDRESSES, unique=False),
    "where it answers, over UDP and TCP; 127.0.0.1:53 in production",
    required=True,
)
PROXY_ADDRESS = Key(
    "proxy_address",
    OneOrMore(Text("an IP address", parse_ip), MAX_ADDRESSES),
    "what is answered for services with dns_answer: proxy",
)
FORWARD = Key(
    "forward",
    OneOrMore(Text("an IP address, or host:port", parse_resolver_address), MAX_ADDRESSES, least=0),
    "resolvers asked for names that are not ours; none: such questions are refused",
)
_FIELDS = {ADDRESS.name: "addresses", PROXY_ADDRESS.name: "proxy_addresses"}  # of DnsSettings, where they differ


def _check_forward(fields: Fields) -> None:
    """Whoever asks himself answers never."""
    settings = DnsSettings(addresses=fields.get(ADDRESS, ()), forward=fields.get(FORWARD, ()))
    for address in loops(settings):
        fields.problem(f"'{address}' is where this server answers itself, expected another resolver", FORWARD)


class _DnsRecord(StructRecord[DnsSettings]):
    """Lists have the singular in the file, where there is mostly one."""

    def build_struct(self, fields: Fields) -> DnsSettings | None:
        _check_forward(fields)
        if fields.failed:
            return None
        values = {_FIELDS.get(name, name): value for name, value in fields.values.items()}
        return msgspec.convert(values, DnsSettings)

    def show_struct(self, value: DnsSettings) -> Json:
        shown: dict[str, Json] = {}
        for key in self.keys:
            held = getattr(value, _FIELDS.get(key.name, key.name))
            if held != "" and (held != () or key is FORWARD):
                shown[key.name] = key.shape.render(held)
        return shown


DNS = _DnsRecord(
    "DNS settings",
    DnsSettings,
    (
        ADDRESS,
        Key("zone", Text("a domain", _zone), "our own: <service>.service.<zone>, <node>.node.<zone>"),
        Key("ttl", Duration(zero="not kept"), "how long an answer may be kept; whole seconds, rounded down"),
        Key("negative_ttl", Duration(zero="not kept"), "how long it may be kept that there is no such name"),
        Key("order", Choice(DnsOrder), "of the addresses in an answer: shuffle, or the first drawn by weight"),
        Key("fail_open", Flag(), "with no usable endpoint: answer all of them instead of none"),
        Key("nameserver", Text("a host name", parse_host_name), "in SOA and NS; default: ns.<zone>"),
        Key("hostmaster", Text("a mail address", _mailbox), "in SOA; default: hostmaster.<zone>"),
        PROXY_ADDRESS,
        Key("udp_size", Size(SMALLEST_UDP, LARGEST_UDP), "largest answer over UDP, whatever a client offers"),
        Key("max_answers", Integer(0, MAX_ANSWERS), "records of one answer; 0 = as many as fit"),
        Key("tcp_connections", Integer(1, LARGEST_COUNT), "open at a time, all workers together"),
        Key("tcp_idle", Duration(), "no query on a connection; then it is closed"),
        Key("tcp_pending", Integer(1, MAX_PENDING), "queries of one connection under way"),
        Key(
            "rate_limit",
            Integer(0, LARGEST_COUNT),
            "answers over UDP per second to one client network (/24, /56) and worker; 0 = no limit",
        ),
        FORWARD,
        Key("forward_timeout", Duration(), "for one resolver; then the next is asked"),
        Key("forward_pending", Integer(1, LARGEST_COUNT), "different questions under way per worker; more fail"),
        Key(
            "forward_pending_per_client",
            Integer(0, LARGEST_COUNT),
            "of these, those of one client network (/24 of IPv4, /56 of IPv6); more fail; 0 = no limit",
        ),
        Key("cache_size", Integer(0, LARGEST_COUNT), "answers of resolvers kept per worker; 0 = none"),
        Key("cache_ttl", Duration(zero="not kept"), "longest that one is kept"),
        Key("cache_negative_ttl", Duration(zero="not kept"), "longest that it is kept that there is no such name"),
        Key("serve_stale", Duration(zero="never"), "how long after its end one is used while no resolver answers"),
    ),
)


def listeners_of(settings: DnsSettings, position: Position | None) -> tuple[Listener, ...]:
    made = []
    for index, address in enumerate(settings.addresses):
        for name, protocol in ((UDP_NAME, Protocol.DNS_UDP), (TCP_NAME, Protocol.DNS_TCP)):
            made.append(Listener(name=f"{name}{index}", address=address, protocol=protocol, position=position))
    return tuple(made)


# --- a service ----------------------------------------------------------------------------------------------------

SERVICE_TTL = Key("ttl", Duration(zero="not kept"), "how long an answer may be kept; default: dns.ttl")
SERVICE_ORDER = Key("order", Choice(DnsOrder), "of the addresses in an answer; default: dns.order")
SERVICE_FAIL_OPEN = Key("fail_open", Flag(), "with no usable endpoint: answer all of them; default: dns.fail_open")
PROTOCOLS = Key(
    "protocols",
    OneOrMore(Text("a protocol", _protocol), MAX_PROTOCOLS),
    "of its SRV names _<service>._<protocol>; default: tcp",
)
_POLICY: tuple[AnyKey, ...] = (SERVICE_TTL, SERVICE_ORDER, SERVICE_FAIL_OPEN, PROTOCOLS)

POLICY: Record[DnsPolicy] = StructRecord("DNS of a service", DnsPolicy, _POLICY)
ANSWER = Key("dns_answer", Choice(DnsAnswer), "what its names stand for: its endpoints, or the proxy's own addresses")


def show_policy(policy: DnsPolicy) -> dict[str, Json]:
    """What is set; the rest follows the server's settings."""
    shown = {}
    for key in _POLICY:
        value = getattr(policy, key.name)
        if value is not None:
            shown[key.name] = key.shape.render(value)
    return shown
