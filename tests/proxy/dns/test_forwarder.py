"""Questions that are not ours: fakes that fail in every way, hostile ones, and the resolvers that people run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest
import uvloop
from datagrams import small_table
from dns_origin import dig
from ports import free_port
from program import installed
from resolvers import FakeResolver, Reply, fake_resolver, real_resolver, records

from discovery.dns import forwarding
from discovery.model import DnsSettings
from proxy.dns.forwarder import GAUGES, MAX_STRAYS, Forwarder
from proxy.stats import slots

LIMIT = 20.0
SOA = "test. 60 SOA ns.test. host.test. 1 2 3 4 30"


class Asked:
    """A forwarder and its counters."""

    def __init__(self, settings: DnsSettings) -> None:
        self.table = small_table()
        self.row = self.table.slot(0, 1)
        self.forwarder = Forwarder(asyncio.get_running_loop(), settings, self.row)

    async def ask(self, name: str, rtype: str = "A", **options: object) -> dns.message.Message:
        query = dns.message.make_query(name, rtype, **options)  # type: ignore[arg-type]
        wire = await self.send(query.to_wire())
        answer = dns.message.from_wire(wire)
        assert query.is_response(answer)
        assert answer.edns == -1
        assert not answer.flags & (dns.flags.AA | dns.flags.TC)
        assert answer.flags & dns.flags.RA
        return answer

    async def send(self, query: bytes) -> bytes:
        done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.forwarder.ask(query, done.set_result)
        return await done

    def count(self, cell: int) -> int:
        return self.row.get(cell)

    def outcomes(self) -> dict[int, int]:
        return self.table.totals(1)[1]


async def _in_time(scenario: Callable[[Asked], Awaitable[None]], settings: DnsSettings) -> None:
    async with asyncio.timeout(LIMIT):
        asked = Asked(settings)
        try:
            await scenario(asked)
        finally:
            await asked.forwarder.close()
        assert asked.count(slots.ACTIVE) == 0
        assert [asked.count(cell) for cell in GAUGES] == [0, 0, 0]


def run(scenario: Callable[[Asked], Awaitable[None]], settings: DnsSettings) -> None:
    uvloop.run(_in_time(scenario, settings))


def with_fakes(
    scenario: Callable[..., Awaitable[None]],
    *replies: Reply,
    over_tcp: Reply | None = None,
    timeout: float = 0.3,
    pending: int = 1000,
) -> None:
    """Run `scenario(asked, *fakes)` with a resolver for each of `replies`, asked in that order."""

    async def whole() -> None:
        async with contextlib.AsyncExitStack() as stack:
            fakes = [await stack.enter_async_context(fake_resolver(reply, over_tcp)) for reply in replies]
            forward = tuple(fake.address for fake in fakes)
            settings = DnsSettings(forward=forward, forward_timeout=timeout, forward_pending=pending)
            await _in_time(lambda asked: scenario(asked, *fakes), settings)

    uvloop.run(whole())


def good(query: dns.message.Message) -> list[bytes]:
    return [records(query, f"{query.question[0].name} 60 A 10.0.0.1").to_wire()]


def silent(query: dns.message.Message) -> list[bytes]:
    return []


def of_rcode(rcode: str) -> Reply:
    return lambda query: [records(query, rcode=rcode).to_wire()]


def data(answer: dns.message.Message) -> list[str]:
    return sorted(str(record) for rrset in answer.answer for record in rrset)


def servfail(answer: dns.message.Message) -> bool:
    return answer.rcode() == dns.rcode.SERVFAIL


# --- an answer ----------------------------------------------------------------------------------------------------


def test_an_answer_is_passed_on_once_and_then_kept() -> None:
    async def scenario(asked: Asked, fake: FakeResolver) -> None:
        for name in ("WWW.example.Test", "www.EXAMPLE.test"):
            answer = await asked.ask(name)
            assert answer.question[0].name.to_text() == f"{name}."  # as the client spelt it
            assert data(answer) == ["10.0.0.1"]
        assert len(fake.queries) == 1
        assert fake.queries[0].question[0].name.to_text() == "www.example.test."
        assert (fake.queries[0].edns, fake.queries[0].payload) == (0, 1232)
        assert (asked.count(slots.DNS_CACHE_HITS), asked.count(slots.DNS_CACHE_MISSES)) == (1, 1)
        assert asked.count(slots.DNS_CACHE_ENTRIES) == 1
        assert asked.outcomes() == {slots.DNS_FORWARD_ANSWERED: 1}

    with_fakes(scenario, good)


def test_dnssec_is_asked_for_as_the_client_asks_and_ad_is_for_those_who_know_it() -> None:
    def authentic(query: dns.message.Message) -> list[bytes]:
        answer = records(query, "a.test. 60 A 10.0.0.1")
        answer.flags |= dns.flags.AD | dns.flags.AA
        return [answer.to_wire()]

    async def scenario(asked: Asked, fake: FakeResolver) -> None:
        assert not (await asked.ask("a.test")).flags & dns.flags.AD
        assert (await asked.ask("a.test", flags=dns.flags.RD | dns.flags.AD)).flags & dns.flags.AD
        assert (await asked.ask("a.test", want_dnssec=True)).flags & dns.flags.AD
        assert (await asked.ask("a.test", flags=dns.flags.RD | dns.flags.CD)).flags & dns.flags.CD
        assert [bool(query.ednsflags & dns.flags.DO) for query in fake.queries] == [False, True, False]
        assert [bool(query.flags & dns.flags.CD) for query in fake.queries] == [False, False, True]

    with_fakes(scenario, authentic)


def test_identical_questions_under_way_are_asked_once() -> None:
    async def scenario(asked: Asked, fake: FakeResolver) -> None:
        answers = await asyncio.gather(*(asked.ask("a.test") for _ in range(20)), asked.ask("b.test"))
        assert [len(answer.answer) for answer in answers] == [1] * 21
        assert len(fake.queries) == 2
        assert len({answer.id for answer in answers}) > 1

    with_fakes(scenario, good)


def test_every_question_goes_out_under_another_id_from_another_port() -> None:
    async def scenario(asked: Asked, fake: FakeResolver) -> None:
        for number in range(20):
            await asked.ask(f"n{number}.test")
        assert len({port for _, port in fake.clients}) > 15
        ids = [query.id for query in fake.queries]
        assert len(set(ids)) > 15
        assert ids != sorted(ids)

    with_fakes(scenario, good)


@pytest.mark.parametrize(("rcode", "authority"), [("NXDOMAIN", SOA), ("NOERROR", SOA)])
def test_what_is_not_there_is_kept_as_well(rcode: str, authority: str) -> None:
    async def scenario(asked: Asked, fake: FakeResolver) -> None:
        for _ in range(2):
            answer = await asked.ask("no.test")
            assert dns.rcode.to_text(answer.rcode()) == rcode
            assert answer.authority[0].ttl == 30  # MINIMUM
        assert len(fake.queries) == 1

    with_fakes(scenario, lambda query: [records(query, rcode=rcode, authority=authority).to_wire()])


def test_a_truncated_answer_is_asked_for_again_over_tcp() -> None:
    def truncated(query: dns.message.Message) -> list[bytes]:
        answer = records(query)
        answer.flags |= dns.flags.TC
        return [answer.to_wire()]

    def whole(query: dns.message.Message) -> list[bytes]:
        return [
            records(query, *(f"{query.question[0].name} 60 TXT {'x' * 250}{n:03}" for n in range(40))).to_wire(
                max_size=65_535
            )
        ]

    async def scenario(asked: Asked, fake: FakeResolver) -> None:
        assert len(data(await asked.ask("a.test", "TXT"))) == 40
        assert asked.count(slots.DNS_FORWARD_OVER_TCP) == 1
        await asked.ask("a.test", "TXT")
        assert len(fake.queries) == 2

    with_fakes(scenario, truncated, over_tcp=whole)


def test_a_truncated_answer_of_a_resolver_without_tcp_is_none() -> None:
    def truncated(query: dns.message.Message) -> list[bytes]:
        answer = records(query, "a.test. 60 A 10.6.6.6")
        answer.flags |= dns.flags.TC
        return [answer.to_wire()]

    async def scenario(asked: Asked, first: FakeResolver, second: FakeResolver) -> None:
        assert data(await asked.ask("a.test")) == ["10.0.0.1"]
        assert (len(first.queries), len(second.queries)) == (1, 1)

    with_fakes(scenario, truncated, good)


def test_a_lost_datagram_is_sent_again() -> None:
    seen: list[int] = []

    def second_time(query: dns.message.Message) -> list[bytes]:
        seen.append(query.id)
        return good(query) if len(seen) > 1 else []

    async def scenario(asked: Asked, fake: FakeResolver) -> None:
        assert data(await asked.ask("a.test")) == ["10.0.0.1"]
        assert seen[0] == seen[1]
        assert asked.count(slots.DNS_RESOLVER_FAILURES) == 0

    with_fakes(scenario, second_time)


def test_a_resolver_that_does_not_know_edns_is_asked_without() -> None:
    def old(query: dns.message.Message) -> list[bytes]:
        if query.edns < 0:
            return good(query)
        return [query.id.to_bytes(2, "big") + b"\x80\x81\0\1\0\0\0\0\0\0" + query.to_wire()[12:-11]]

    async def scenario(asked: Asked, fake: FakeResolver) -> None:
        assert data(await asked.ask("a.test")) == ["10.0.0.1"]
        assert [query.edns for query in fake.queries] == [0, -1]

    with_fakes(scenario, old)


# --- resolvers that fail ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad", [silent, *(of_rcode(rcode) for rcode in ("SERVFAIL", "REFUSED", "NOTIMP", "FORMERR", "YXDOMAIN"))]
)
def test_another_resolver_is_asked_when_one_has_no_answer(bad: Reply) -> None:
    async def scenario(asked: Asked, first: FakeResolver, second: FakeResolver) -> None:
        assert data(await asked.ask("a.test")) == ["10.0.0.1"]

    with_fakes(scenario, bad, good)


def test_a_server_that_resolves_for_nobody_is_passed_over() -> None:
    def referral(query: dns.message.Message) -> list[bytes]:
        answer = records(query, authority="test. 60 NS ns.test.")
        answer.flags &= ~dns.flags.RA
        return [answer.to_wire()]

    async def scenario(asked: Asked, first: FakeResolver, second: FakeResolver) -> None:
        assert data(await asked.ask("a.test")) == ["10.0.0.1"]

    with_fakes(scenario, referral, good)


def test_a_refused_connection_costs_no_time() -> None:
    async def scenario(asked: Asked) -> None:
        began = asyncio.get_running_loop().time()
        assert servfail(await asked.ask("a.test"))
        assert asyncio.get_running_loop().time() - began < 5
        assert asked.outcomes() == {slots.DNS_FORWARD_FAILED: 1}

    nobody = (f"127.0.0.1:{free_port()}", f"[::1]:{free_port()}")
    run(scenario, DnsSettings(forward=nobody, forward_timeout=10.0))


def test_a_failure_is_kept_so_that_others_need_not_wait_for_it() -> None:
    async def scenario(asked: Asked, fake: FakeResolver) -> None:
        assert servfail(await asked.ask("a.test"))
        count = len(fake.queries)
        assert servfail(await asked.ask("a.test"))
        assert len(fake.queries) == count
        assert asked.count(slots.DNS_CACHE_HITS) == 1

    with_fakes(scenario, silent)


def test_a_resolver_that_keeps_failing_is_asked_last() -> None:
    async def scenario(asked: Asked, first: FakeResolver, second: FakeResolver) -> None:
        for number in range(forwarding.MAX_FAILURES):
            await asked.ask(f"n{number}.test")
        count = len(first.queries)
        assert asked.count(slots.DNS_RESOLVERS_DOWN) == 1
        await asked.ask("last.test")
        assert len(first.queries) == count
        assert asked.count(slots.DNS_RESOLVER_FAILURES) == forwarding.MAX_FAILURES

    with_fakes(scenario, silent, good, timeout=0.05)


def test_a_stale_answer_is_better_than_none() -> None:
    answers = [lambda query: [records(query, "a.test. 1 A 10.0.0.1").to_wire()], silent]

    async def scenario(asked: Asked, fake: FakeResolver) -> None:
        assert data(await asked.ask("a.test")) == ["10.0.0.1"]
        fake.reply = answers[1]
        while not (answer := await asked.ask("a.test")).answer or answer.answer[0].ttl != 30:
            await asyncio.sleep(0.05)
        assert data(answer) == ["10.0.0.1"]
        assert asked.outcomes() == {slots.DNS_FORWARD_ANSWERED: 1, slots.DNS_FORWARD_STALE: 1}
        count = len(fake.queries)
        assert (await asked.ask("a.test")).answer[0].ttl == 30
        assert len(fake.queries) == count  # no resolver is bothered for a few seconds
        assert asked.count(slots.DNS_CACHE_STALE) == 2

    with_fakes(scenario, answers[0], timeout=0.05)


def test_a_client_is_not_kept_waiting_when_there_is_a_stale_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.dns.forwarder.STALE_AFTER", 0.02)

    async def scenario(asked: Asked, fake: FakeResolver) -> None:
        await asked.ask("a.test")
        fake.reply = silent
        began = asyncio.get_running_loop().time()
        while (await asked.ask("a.test")).answer[0].ttl != 30:
            await asyncio.sleep(0.05)
        assert asyncio.get_running_loop().time() - began < 5  # of ten

    with_fakes(scenario, lambda query: [records(query, "a.test. 1 A 10.0.0.1").to_wire()], timeout=10.0)


def test_more_questions_than_may_be_under_way_are_refused_at_once() -> None:
    async def scenario(asked: Asked, fake: FakeResolver) -> None:
        waiting = asyncio.create_task(asked.ask("a.test"))
        await asyncio.sleep(0)
        assert servfail(await asked.ask("b.test"))
        assert asked.count(slots.OVERFLOWS) == 1
        await waiting

    with_fakes(scenario, silent, pending=1, timeout=0.1)


def test_a_forwarder_that_asks_itself_asks_once() -> None:
    async def scenario(asked: Asked, fake: FakeResolver) -> None:
        def back(query: dns.message.Message) -> list[bytes]:
            wire = query.to_wire()
            asked.forwarder.ask(wire, lambda answer: None)
            return []

        fake.reply = back
        assert servfail(await asked.ask("a.test"))
        assert len(fake.queries) == 2  # it was sent again, because there was no answer

    with_fakes(scenario, silent, timeout=0.1)


def test_our_own_address_is_never_asked() -> None:
    port = free_port()

    async def scenario(asked: Asked) -> None:
        assert servfail(await asked.ask("a.test"))
        assert asked.count(slots.DNS_RESOLVER_FAILURES) == 0

    run(scenario, DnsSettings(addresses=(f"0.0.0.0:{port}",), forward=(f"127.0.0.1:{port}",)))


# --- hostile ones -------------------------------------------------------------------------------------------------


def test_what_is_no_answer_to_the_question_is_ignored() -> None:
    def strays(query: dns.message.Message) -> list[bytes]:
        def forged(**changes: int) -> dns.message.Message:
            answer = records(query, "a.test. 60 A 10.6.6.6")
            for field, value in changes.items():
                setattr(answer, field, value)
            return answer

        other = dns.message.make_query("b.test", "A")
        other.id = query.id
        other_type = dns.message.make_query("a.test", "AAAA")
        other_type.id = query.id
        return [
            forged(id=query.id ^ 1).to_wire(),
            forged(flags=dns.flags.RD).to_wire(),
            records(other, "b.test. 60 A 10.6.6.6").to_wire(),
            records(other_type, "a.test. 60 AAAA ::6").to_wire(),
            b"",
            b"garbage",
            query.to_wire(),
            forged().to_wire()[:-1],
            forged().to_wire() + b"x",
            *good(query),
        ]

    async def scenario(asked: Asked, fake: FakeResolver) -> None:
        assert data(await asked.ask("a.test")) == ["10.0.0.1"]

    with_fakes(scenario, strays)


def test_a_flood_of_strays_is_no_reason_to_read_for_ever() -> None:
    async def scenario(asked: Asked, first: FakeResolver, second: FakeResolver) -> None:
        assert data(await asked.ask("a.test")) == ["10.0.0.1"]
        assert asked.count(slots.DNS_RESOLVER_FAILURES) == 1

    with_fakes(scenario, lambda query: [b"garbage"] * MAX_STRAYS, good, timeout=15.0)


def test_an_answer_from_another_port_is_none() -> None:
    async def scenario(asked: Asked, fake: FakeResolver, other: FakeResolver) -> None:
        def from_elsewhere(query: dns.message.Message) -> list[bytes]:
            assert other.transport is not None
            other.transport.sendto(records(query, "a.test. 60 A 10.6.6.6").to_wire(), fake.clients[-1])
            return []

        fake.reply = from_elsewhere
        assert data(await asked.ask("a.test")) == ["10.0.0.1"]
        assert asked.count(slots.DNS_RESOLVER_FAILURES) == 1

    with_fakes(scenario, silent, good, timeout=0.1)


@pytest.mark.parametrize("answer", [[], [b""], [b"garbage"], [bytes(60_000)]])
def test_garbage_over_tcp_is_no_answer(answer: list[bytes]) -> None:
    def truncated(query: dns.message.Message) -> list[bytes]:
        cut = records(query)
        cut.flags |= dns.flags.TC
        return [cut.to_wire()]

    async def scenario(asked: Asked, fake: FakeResolver) -> None:
        assert servfail(await asked.ask("a.test"))

    with_fakes(scenario, truncated, over_tcp=lambda query: answer)


# --- queries that are not passed on -------------------------------------------------------------------------------


def test_without_recursion_nothing_is_said_of_other_names() -> None:
    async def scenario(asked: Asked, fake: FakeResolver) -> None:
        await asked.ask("a.test")
        assert (await asked.ask("a.test", flags=0)).rcode() == dns.rcode.REFUSED
        assert len(fake.queries) == 1

    with_fakes(scenario, good)


def test_without_resolvers_other_names_are_refused() -> None:
    async def scenario(asked: Asked) -> None:
        assert (await asked.ask("a.test")).rcode() == dns.rcode.REFUSED

    run(scenario, DnsSettings())


def test_what_is_no_query_is_answered_formerr_or_not_at_all() -> None:
    async def scenario(asked: Asked) -> None:
        query = dns.message.make_query("a.test", "A").to_wire()
        assert (await asked.send(query[:-1]))[:4] == query[:2] + b"\x80\x81"
        notify = bytes((query[2] | 0x20,))
        assert (await asked.send(query[:2] + notify + query[3:]))[3] & 0x0F == dns.rcode.NOTIMP
        said: list[bytes] = []
        for silence in (b"", query[:11], query[:2] + b"\x81" + query[3:], query[:2] + b"\x81" + query[3:-1]):
            asked.forwarder.ask(silence, said.append)
        assert said == []

    run(scenario, DnsSettings(forward=("127.0.0.1:1",)))


def test_other_resolvers_begin_with_nothing_and_other_settings_change_nothing() -> None:
    async def scenario(asked: Asked, fake: FakeResolver, other: FakeResolver) -> None:
        first = DnsSettings(forward=(fake.address,))
        asked.forwarder.configure(first)
        await asked.ask("a.test")
        asked.forwarder.configure(DnsSettings(forward=(fake.address,), ttl=60))
        await asked.ask("a.test")
        assert asked.count(slots.DNS_CACHE_HITS) == 1
        asked.forwarder.configure(DnsSettings(forward=(other.address,)))
        await asked.ask("a.test")
        assert (len(fake.queries), len(other.queries)) == (1, 1)

    with_fakes(scenario, good, good)


def test_a_forwarder_that_is_closed_answers_nobody() -> None:
    async def scenario(asked: Asked, fake: FakeResolver) -> None:
        said: list[bytes] = []
        asked.forwarder.ask(dns.message.make_query("a.test", "A").to_wire(), said.append)
        await asyncio.sleep(0)
        await asked.forwarder.close()
        assert said == []

    with_fakes(scenario, silent, timeout=10.0)


# --- the resolvers that people run --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dnsmasq", "unbound", "knotd"])
def test_real_resolvers_are_asked_and_their_answers_kept(kind: str, tmp_path: Path) -> None:
    if not installed(kind):
        pytest.skip(f"{kind} is not installed")

    async def scenario(asked: Asked) -> None:
        for _ in range(2):
            assert data(await asked.ask("web.real.test")) == ["10.1.0.1", "10.1.0.2"]
            assert (await asked.ask("web.real.test", "AAAA")).rcode() == dns.rcode.NOERROR
            assert (await asked.ask("no.real.test")).rcode() == dns.rcode.NXDOMAIN
            assert len(data(await asked.ask("large.real.test", "TXT"))) == 12
        assert asked.count(slots.DNS_CACHE_HITS) == 4
        assert asked.count(slots.DNS_FORWARD_OVER_TCP) == 1
        assert asked.outcomes() == {slots.DNS_FORWARD_ANSWERED: 4}

    with real_resolver(kind, tmp_path, lambda address: len(dig(address, "web.real.test")) == 2) as address:
        run(scenario, DnsSettings(forward=(address,), forward_timeout=5.0))
