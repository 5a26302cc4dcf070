"""Names that are followed: what the catalog is told, with a resolver that is told what to answer, and with dnsmasq."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import dnslib
import pytest
from dns_origin import Dnsmasq, dns_is_installed
from fake_resolver import FakeResolver, reply
from ports import free_port

from discovery.changes import FILE, Change, ChangeError, LimitReached, Resolved
from discovery.config import FollowedName, NameKind
from discovery.model import Endpoint
from discovery.sources.names import Machine, NameSource


def named(address: str = "h.test:80", service: str = "web", id: str = "e", **keys: object) -> FollowedName:
    if address.startswith("srv:"):
        kind, name, port = NameKind.SRV, address.removeprefix("srv:"), 0
    else:
        name, _, number = address.partition(":")
        kind, port = NameKind.ADDRESS, int(number)
    endpoint = Endpoint(id=id, address=address, **keys)  # type: ignore[arg-type]
    return FollowedName(service=service, endpoint=endpoint, kind=kind, name=name, port=port)


class Catalog:
    """What a source reported; `happened` is set by each report and problem."""

    def __init__(self) -> None:
        self.resolved: list[Resolved] = []
        self.problems: dict[str, str] = {}
        self.refusal: ChangeError | None = None
        self.happened = asyncio.Event()

    def report(self, change: Change) -> None:
        assert isinstance(change, Resolved)
        if self.refusal is not None:
            raise self.refusal
        self.resolved.append(change)
        self.happened.set()

    def problem(self, source: str, message: str | None) -> None:
        self.problems.pop(source, None)
        if message is not None:
            self.problems[source] = message
        self.happened.set()

    def addresses(self, service: str = "web", id: str = "e") -> list[str]:
        for change in reversed(self.resolved):
            if (change.service, change.id) == (service, id):
                return [endpoint.address for endpoint in change.endpoints]
        return []

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.happened.clear()
                await self.happened.wait()


class Records:
    """A zone that a test edits."""

    def __init__(self, *records: str) -> None:
        self.records = list(records)
        self.additional: list[str] = []
        self.rcode = 0

    def __call__(self, query: bytes, is_tcp: bool) -> Sequence[bytes]:
        asked = dnslib.DNSRecord.parse(query).q
        owner, kind = str(asked.qname).lower(), dnslib.QTYPE[asked.qtype]
        found = [text for text in self.records if text.split()[0] == owner and text.split()[3] in (kind, "CNAME")]
        return [reply(query, *found, rcode=self.rcode, additional=self.additional if kind == "SRV" else [])]


async def soon(delay: float) -> None:
    """A second takes a hundredth of it."""
    assert delay >= 1.0
    await asyncio.sleep(delay / 100)


class Bench:
    def __init__(self, zone: Records, hosts: str, directory: Path) -> None:
        (directory / "hosts").write_text(hosts)
        self.hosts = directory / "hosts"
        self.zone = zone
        self.catalog = Catalog()
        self.resolver = FakeResolver(zone)

    async def __aenter__(self) -> Bench:
        await self.resolver.__aenter__()
        self.names = NameSource(self.catalog, Machine([self.resolver.address], str(self.hosts)), sleep=soon)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.names.close()
        await self.resolver.__aexit__(None, None, None)

    async def follow(self, *names: FollowedName, source: str = FILE) -> None:
        self.names.follow(source, names)
        await self.names.settled()


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    return lambda *records, hosts="": Bench(Records(*records), hosts, tmp_path)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario()

    asyncio.run(main())


MakeBench = Callable[..., Bench]


def test_a_name_becomes_an_endpoint_for_each_address(bench: MakeBench) -> None:
    async def scenario() -> None:
        async with bench("h.test. 60 IN A 10.0.0.2", "h.test. 60 IN A 10.0.0.1", "h.test. 60 IN AAAA 2001:db8::1") as b:
            await b.follow(named(version="v1"))
            [change] = b.catalog.resolved
            assert (change.service, change.id, change.source) == ("web", "e", FILE)
            assert change.endpoints == tuple(
                Endpoint(id="e", address=address, version="v1")
                for address in ("10.0.0.1:80", "10.0.0.2:80", "[2001:db8::1]:80")
            )
            assert sorted(b.resolver.asked()) == ["h.test A", "h.test AAAA"]
            assert b.catalog.problems == {}

    run(scenario)


def test_it_is_followed_by_its_ttl(bench: MakeBench) -> None:
    async def scenario() -> None:
        async with bench("h.test. 0 IN A 10.0.0.1") as b:  # a second is the least
            await b.follow(named())
            b.zone.records = ["h.test. 60 IN A 10.0.0.2"]
            await b.catalog.until(lambda: b.catalog.addresses() == ["10.0.0.2:80"])
            assert len(b.catalog.resolved) == 2

    run(scenario)


def test_a_chain_of_aliases_is_followed_also_where_the_resolver_does_not(bench: MakeBench) -> None:
    async def scenario() -> None:
        chain = ["h.test. 60 IN CNAME i.test.", "i.test. 60 IN CNAME j.test.", "j.test. 60 IN A 10.0.0.1"]
        async with bench(*chain) as b:
            await b.follow(named())
            assert b.catalog.addresses() == ["10.0.0.1:80"]
            assert "j.test A" in b.resolver.asked()
            b.zone.records = [
                "k.test. 60 IN CNAME k.test.",
                "l.test. 60 IN CNAME m.test.",
                "m.test. 60 IN CNAME l.test.",
            ]
            await b.follow(named("k.test:1", id="k"), named("l.test:1", id="l"))
            assert b.catalog.problems == {
                "names:web/k": "k.test has no addresses; it has no endpoints",
                "names:web/l": "l.test: more than 8 aliases in a row; it has no endpoints",
            }

    run(scenario)


def test_srv_records_with_addresses_beside_them(bench: MakeBench) -> None:
    async def scenario() -> None:
        async with bench("_a.test. 60 IN SRV 1 5 8080 n1.test.", "_a.test. 60 IN SRV 2 0 8081 n2.test.") as b:
            b.zone.additional = ["n1.test. 60 IN A 10.0.0.1"]
            b.zone.records.append("n2.test. 60 IN A 10.0.0.2")
            await b.follow(named("srv:_a.test"))
            shown = [(e.address, e.priority, e.weight, e.backup) for e in b.catalog.resolved[-1].endpoints]
            assert shown == [("10.0.0.1:8080", 1, 50, False), ("10.0.0.2:8081", 2, 1, True)]
            assert sorted(b.resolver.asked()) == ["_a.test SRV", "n2.test A", "n2.test AAAA"]

    run(scenario)


def test_a_target_that_nobody_knows_is_a_problem_and_the_others_serve(bench: MakeBench) -> None:
    async def scenario() -> None:
        async with bench("_a.test. 60 IN SRV 1 5 80 n1.test.", "_a.test. 60 IN SRV 1 5 80 n2.test.") as b:
            b.zone.records.append("n2.test. 60 IN A 10.0.0.2")
            await b.follow(named("srv:_a.test"))
            assert b.catalog.addresses() == ["10.0.0.2:80"]
            assert b.catalog.problems == {"names:web/e": "n1.test has no addresses; the 1 known before stay"}

    run(scenario)


@pytest.mark.parametrize("rcode", [0, 2, 3, 5])
def test_what_cannot_be_looked_up_any_more_stays(bench: MakeBench, rcode: int) -> None:
    async def scenario() -> None:
        async with bench("h.test. 0 IN A 10.0.0.1") as b:
            await b.follow(named())
            records, b.zone.records = b.zone.records, []
            b.zone.rcode = rcode
            await b.catalog.until(lambda: b.catalog.problems)
            [problem] = b.catalog.problems.values()
            assert problem.endswith("; the 1 known before stay")
            assert b.catalog.addresses() == ["10.0.0.1:80"]
            b.zone.records, b.zone.rcode = records, 0
            await b.catalog.until(lambda: not b.catalog.problems)
            assert len(b.catalog.resolved) == 1

    run(scenario)


def test_what_the_machine_says_comes_first(bench: MakeBench) -> None:
    async def scenario() -> None:
        async with bench("h.test. 60 IN A 10.0.0.1", hosts="10.9.9.9 h.test\n") as b:
            await b.follow(named(), named("a.localhost:1", id="l"))
            assert b.catalog.addresses() == ["10.9.9.9:80"]
            assert b.catalog.addresses(id="l") == ["127.0.0.1:1", "[::1]:1"]
            assert b.resolver.asked() == []

    run(scenario)


def test_so_it_does_for_targets(bench: MakeBench) -> None:
    async def scenario() -> None:
        async with bench("_a.test. 60 IN SRV 0 1 80 n1.test.", hosts="10.9.9.9 n1.test\n") as b:
            b.zone.additional = ["n1.test. 60 IN A 10.0.0.1"]
            await b.follow(named("srv:_a.test"))
            assert b.catalog.addresses() == ["10.9.9.9:80"]

    run(scenario)


def test_another_configuration(bench: MakeBench) -> None:
    """What is gone is taken back, what is new is looked up, and what stays is not looked up again."""

    async def scenario() -> None:
        async with bench("h.test. 60 IN A 10.0.0.1", "i.test. 60 IN A 10.0.0.2") as b:
            await b.follow(named(id="a"), named(id="b"), named(id="c"))
            asked = len(b.resolver.queries)
            # a stays, b has another port, c is another name, d is new
            await b.follow(
                named(id="a"), named("h.test:81", id="b"), named("i.test:80", id="c"), named("i.test:80", id="d")
            )
            found = {id: b.catalog.addresses(id=id) for id in "abcd"}
            assert found == {"a": ["10.0.0.1:80"], "b": ["10.0.0.1:81"], "c": ["10.0.0.2:80"], "d": ["10.0.0.2:80"]}
            assert len([change for change in b.catalog.resolved if change.id == "a"]) == 1
            assert "h.test" not in {name.split()[0] for name in b.resolver.asked()[asked + 2 :]}
            await b.follow()
            assert [b.catalog.addresses(id=id) for id in "abcd"] == [[], [], [], []]

    run(scenario)


def test_what_a_predecessor_said_stays_until_something_else_is_known(bench: MakeBench) -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.zone.rcode = 2
            endpoints = (Endpoint(id="e", address="10.0.0.1:80"),)
            b.names.adopt([Resolved(service="web", id=id, endpoints=endpoints) for id in ("e", "gone")])
            await b.follow(named())
            assert [(change.id, change.endpoints) for change in b.catalog.resolved] == [("gone", ())]
            assert b.names.sources() == list(b.catalog.problems) == ["names:web/e"]
            assert b.catalog.problems["names:web/e"].endswith("SERVFAIL; the 1 known before stay")
            b.zone.rcode = 0
            b.zone.records = ["h.test. 60 IN A 10.0.0.2"]
            await b.catalog.until(lambda: b.catalog.addresses() == ["10.0.0.2:80"])

    run(scenario)


def test_sources_do_not_disturb_each_other(bench: MakeBench) -> None:
    async def scenario() -> None:
        async with bench("h.test. 60 IN A 10.0.0.1") as b:
            await b.follow(named())
            await b.follow(named(), source="directory:/a")
            await b.follow(source="directory:/a")
            assert [(change.source, len(change.endpoints)) for change in b.catalog.resolved] == [
                (FILE, 1),
                ("directory:/a", 1),
                ("directory:/a", 0),
            ]

    run(scenario)


def test_what_the_registry_refuses_is_a_problem_and_is_told_again(bench: MakeBench) -> None:
    async def scenario() -> None:
        async with bench("h.test. 0 IN A 10.0.0.1") as b:
            b.catalog.refusal = LimitReached("there are 1 endpoints already")
            await b.follow(named())
            assert b.catalog.problems == {"names:web/e": "there are 1 endpoints already; it has no endpoints"}
            b.catalog.refusal = None
            await b.catalog.until(lambda: b.catalog.addresses())
            assert b.catalog.problems == {}

    run(scenario)


def test_a_mistake_of_ours_ends_nothing(bench: MakeBench, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        async with bench("h.test. 60 IN A 10.0.0.1") as b:
            machine, b.names.machine = b.names.machine, None  # type: ignore[assignment]
            await b.follow(named())
            assert "h.test could not be looked at: AttributeError" in b.catalog.problems["names:web/e"]
            b.names.machine = machine
            await b.catalog.until(lambda: b.catalog.addresses() == ["10.0.0.1:80"])

    run(scenario)
    assert "AttributeError" in capsys.readouterr().err


@pytest.mark.skipif(not dns_is_installed(), reason="needs dnsmasq, dig and dnsperf")
def test_dnsmasq_is_followed(tmp_path: Path) -> None:
    """A, AAAA, SRV and a change of them, from a real server."""

    def zone(*options: str) -> Dnsmasq:
        return Dnsmasq(tmp_path, "zone", address, hosts=1, options=("--local=/test/", *options))

    async def scenario() -> None:
        catalog = Catalog()
        first = await asyncio.to_thread(
            zone, "--host-record=h.test,10.0.0.7,2001:db8::7,1", "--srv-host=_a._tcp.test,n1.test,8080,3,5",
            "--srv-host=_a._tcp.test,h.test,8081,4,0", "--cname=www.test,h.test,1",
        )  # fmt: skip
        names = NameSource(catalog, Machine([first.address], str(tmp_path / "none")), sleep=soon)
        try:
            names.follow(FILE, [named("www.test:80", id="a"), named("srv:_a._tcp.test", id="s")])
            await names.settled()
            assert catalog.addresses(id="a") == ["10.0.0.7:80", "[2001:db8::7]:80"]
            assert catalog.addresses(id="s") == ["10.0.0.1:8080", "10.0.0.7:8081", "[2001:db8::7]:8081"]
            first.stop()
            await catalog.until(lambda: "names:web/a" in catalog.problems)
            assert catalog.addresses(id="a") == ["10.0.0.7:80", "[2001:db8::7]:80"]
            second = await asyncio.to_thread(zone, "--host-record=h.test,10.0.0.8,1", "--cname=www.test,h.test,1")
            try:
                await catalog.until(lambda: catalog.addresses(id="a") == ["10.0.0.8:80"])
                assert "names:web/a" not in catalog.problems
            finally:
                second.stop()
        finally:
            await names.close()
            first.stop()

    address = f"127.0.0.1:{free_port()}"
    run(scenario)
