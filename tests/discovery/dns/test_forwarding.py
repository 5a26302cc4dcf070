"""What resolvers are sent and in which order, whose answer counts, and who waits for whom."""

from __future__ import annotations

import dns.flags
import dns.message
import pytest

from discovery.dns.forwarding import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    MAX_FAILURES,
    MAX_WAITING,
    Joined,
    Resolvers,
    UnderWay,
    loops,
    network_of,
    write_query,
)
from discovery.dns.messages import Query, read_query
from discovery.model import DnsSettings


def query(name: str = "a.test", **options: object) -> Query:
    return read_query(dns.message.make_query(name, "A", **options).to_wire())  # type: ignore[arg-type]


def order(resolvers: Resolvers, now: float) -> list[str]:
    return [resolver.address for resolver in resolvers.order(now)]


@pytest.mark.parametrize("dnssec", [True, False])
@pytest.mark.parametrize("edns", [True, False])
def test_a_query_is_written_as_dnspython_reads_it(dnssec: bool, edns: bool) -> None:
    asked = query("Some.NAME.test", want_dnssec=dnssec, flags=dns.flags.RD | dns.flags.CD)
    sent = dns.message.from_wire(write_query(4711, asked, edns))
    assert (sent.id, sent.question[0].name.to_text()) == (4711, "some.name.test.")
    assert sent.flags == dns.flags.RD | dns.flags.AD | dns.flags.CD
    assert sent.edns == (0 if edns else -1)
    if edns:
        assert (sent.payload, bool(sent.ednsflags & dns.flags.DO), sent.options) == (1232, dnssec, ())


def test_resolvers_are_asked_in_the_order_they_are_written_in() -> None:
    assert order(Resolvers(["a", "b", "a", "c"]), 0.0) == ["a", "b", "c"]


def test_one_that_fails_goes_to_the_end_and_is_tried_now_and_then() -> None:
    resolvers = Resolvers(["a", "b"])
    first = resolvers.order(0.0)[0]
    for _ in range(MAX_FAILURES - 1):
        resolvers.failed(first, 0.0)
    assert order(resolvers, 0.0) == ["a", "b"]
    resolvers.failed(first, 0.0)
    assert (order(resolvers, 0.0), resolvers.down) == (["b", "a"], 1)
    assert order(resolvers, FIRST_PAUSE) == ["a", "b"]  # one question tries it
    assert order(resolvers, FIRST_PAUSE) == ["b", "a"]  # and the next does not
    resolvers.succeeded(first)
    assert (order(resolvers, FIRST_PAUSE), resolvers.down) == (["a", "b"], 0)


def test_the_pause_doubles_up_to_a_limit() -> None:
    resolvers = Resolvers(["a"])
    (one,) = resolvers.order(0.0)
    now, pauses = 0.0, []
    for _ in range(MAX_FAILURES - 1):
        resolvers.failed(one, now)
    for _ in range(8):
        resolvers.failed(one, now)
        pauses.append(one.paused_until - now)
        now = one.paused_until
    assert pauses == [FIRST_PAUSE, 2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_questions_that_fail_together_are_one_pause() -> None:
    resolvers = Resolvers(["a"])
    (one,) = resolvers.order(0.0)
    for _ in range(1000):
        resolvers.failed(one, 0.0)
    assert one.paused_until == FIRST_PAUSE


def test_when_all_are_down_all_are_asked() -> None:
    resolvers = Resolvers(["a", "b"])
    for resolver, at in zip(resolvers.order(0.0), (0.5, 0.0), strict=True):
        for _ in range(MAX_FAILURES):
            resolvers.failed(resolver, at)
    assert order(resolvers, 0.6) == ["b", "a"]  # first who is to be tried first


def test_clients_wait_for_the_first_who_asked() -> None:
    under_way = UnderWay(2)
    waiter = (query(), lambda wire: None)
    assert [under_way.join(key, waiter) for key in (b"a", b"a", b"b", b"c")] == [
        Joined.FIRST,
        Joined.WAITING,
        Joined.FIRST,
        Joined.FULL,
    ]
    assert under_way.take(b"a") == [waiter, waiter]
    assert under_way.join(b"a", waiter) is Joined.WAITING  # still under way
    assert under_way.end(b"a") == [waiter]
    assert under_way.join(b"a", waiter) is Joined.FIRST


def test_one_client_begins_so_many_and_others_have_room() -> None:
    under_way = UnderWay(5, of_one=2)
    waiter = (query(), lambda wire: None)

    def join(key: bytes, client: bytes) -> Joined:
        return under_way.join(key, waiter, client)

    assert [join(key, b"x") for key in (b"a", b"b", b"c")] == [Joined.FIRST, Joined.FIRST, Joined.FULL]
    assert join(b"a", b"x") is Joined.WAITING
    assert join(b"c", b"y") is Joined.FIRST
    assert join(b"c", b"x") is Joined.WAITING  # that question is another's
    assert [join(key, b"") for key in (b"d", b"e", b"f")] == [Joined.FIRST, Joined.FIRST, Joined.FULL]
    under_way.end(b"a")
    assert [join(key, b"x") for key in (b"g", b"h")] == [Joined.FIRST, Joined.FULL]


def test_a_client_is_a_network() -> None:
    assert network_of(b"192.0.2.1") == network_of(b"192.0.2.254") != network_of(b"192.0.3.1")
    assert network_of(b"2001:db8:1:2::1") == network_of(b"2001:db8:1:3::1") != network_of(b"2001:db8:1:100::1")
    assert network_of(b"fe80::1%eth0") == network_of(b"fe80::2")
    assert network_of(b"") == b""


def test_not_everybody_may_wait() -> None:
    under_way = UnderWay(1)
    waiter = (query(), lambda wire: None)
    for _ in range(MAX_WAITING):
        under_way.join(b"a", waiter)
    assert under_way.join(b"a", waiter) is Joined.FULL


@pytest.mark.parametrize(
    ("listening", "forward", "own"),
    [
        ("127.0.0.1:53", "127.0.0.1:53", True),
        ("127.0.0.1:53", "127.0.0.1:54", False),
        ("127.0.0.1:53", "127.0.0.2:53", False),
        ("0.0.0.0:53", "127.0.0.53:53", True),
        ("[::]:53", "[::1]:53", True),
        ("[::]:53", "0.0.0.0:53", True),
        ("0.0.0.0:53", "10.0.0.1:53", False),
    ],
)
def test_a_resolver_that_is_this_server_is_known(listening: str, forward: str, own: bool) -> None:
    settings = DnsSettings(addresses=(listening,), forward=(forward, "10.9.9.9:53"))
    assert loops(settings) == ([forward] if own else [])
