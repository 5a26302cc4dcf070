"""The catalog over its stores: what was acknowledged survives, whatever happens to the process."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from discovery.catalog import Catalog
from discovery.changes import (
    ChangeError,
    Conflict,
    HealthReport,
    Heartbeat,
    PutEndpoint,
    PutNode,
    PutPolicies,
    PutRoute,
    RemoveEndpoint,
    RemoveNode,
    RemoveRoute,
    SetDrain,
    StoreFailed,
)
from discovery.model import Endpoint, EndpointState, Node, Route, Service
from discovery.overlay import Edit
from discovery.policies import Affinity, Mirror, RateLimit, RequestPolicies, RetryPolicy
from discovery.registry import Applied, Registry
from discovery.store import CannotOpen
from discovery.store.memory import MemoryStore
from discovery.store.sqlite import SqliteStore

ROOT = Path(__file__).parents[2]


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(limited())


def put(id: str, service: str = "app", **more: float) -> PutEndpoint:
    return PutEndpoint(service=service, endpoint=Endpoint(id=id, address="10.0.0.1:80"), **more)  # type: ignore[arg-type]


async def opened(path: Path) -> Catalog:
    catalog = Catalog(Registry(), SqliteStore(str(path)))
    await catalog.open()
    return catalog


def ids(catalog: Catalog, service: str = "app") -> list[str]:
    found = catalog.registry.service(service)
    return [endpoint.id for endpoint in found.endpoints] if found is not None else []


class Failing(MemoryStore):
    """Refuses to write while `error` is set; counts writes."""

    def __init__(self) -> None:
        self.error = ""
        self.writes: list[Sequence[Edit]] = []

    async def write(self, edits: Sequence[Edit], index: int) -> None:
        await asyncio.sleep(0)
        if self.error:
            raise StoreFailed(self.error)
        self.writes.append(edits)


# --- sqlite ---------------------------------------------------------------------------------------------------------


def test_everything_the_api_said_is_there_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        catalog = await opened(tmp_path / "registry.db")
        await catalog.change(put("e1", ttl=10.0), put("e2"), put("e3"))
        await catalog.change(PutPolicies(service=Service(name="app", timeout=3.0), fields=("timeout",)))
        await catalog.change(PutPolicies(service=Service(name="app", domain="app.test"), fields=("domain",)))
        guarded = RequestPolicies(rate_limit=RateLimit(requests=5), mirror=Mirror(service="app", version="v2"))
        policies = Service(name="app", affinity=Affinity(name="hm"), retry=RetryPolicy(), policies=guarded)
        fields = ("affinity", "retry", "policies.rate_limit", "policies.mirror")
        await catalog.change(PutPolicies(service=policies, fields=fields))
        await catalog.change(SetDrain(service="app", id="e2"), RemoveEndpoint(service="app", id="e3", revision=7))
        await catalog.change(PutNode(node=Node(name="n1")), PutNode(node=Node(name="n2")), RemoveNode(name="n2"))
        await catalog.change(*(PutRoute(route=Route(name=name, service="app")) for name in ("r1", "r2", "r3")))
        await catalog.change(RemoveRoute(name="r1"), PutRoute(route=Route(name="r1", service="app")))
        before, index = catalog.registry, catalog.registry.index
        await catalog.close()

        catalog = await opened(tmp_path / "registry.db")

        after = catalog.registry
        assert after.snapshot.services == before.snapshot.services
        assert after.snapshot.services[0].policies == guarded
        assert after.snapshot.nodes == before.snapshot.nodes == (Node(name="n1"),)
        assert after.records() == before.records(), "in the same order, which that of routes depends on"
        assert after.index >= index
        with pytest.raises(ChangeError, match="was removed with revision 7; 6 is not above it"):
            await catalog.change(put("e3", revision=6))
        await catalog.close()

    run(scenario)


def test_killed_at_any_moment_nothing_acknowledged_is_lost_and_nothing_is_half_there(tmp_path: Path) -> None:
    """A child registers pairs with one change each and says which were acknowledged; it is killed in the middle."""
    path = tmp_path / "registry.db"
    promised: set[str] = set()
    for life in range(6):
        child = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/support/registering_child.py"), str(path), str(life)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(1 + 7 * life)]  # from the first to some later moment
        child.send_signal(signal.SIGKILL)
        said += child.stdout.readlines()
        child.wait()
        child.stdout.close()
        promised |= {line.decode().strip() for line in said if line.endswith(b"\n")}

    async def scenario() -> None:
        catalog = await opened(path)
        there = set(ids(catalog))
        await catalog.close()
        firsts, seconds = {id[:-1] for id in there if id.endswith("a")}, {id[:-1] for id in there if id.endswith("b")}
        assert firsts == seconds, "one half of a change was written"
        assert promised <= firsts
        assert len(promised) > 30

    run(scenario)


def test_ten_thousand_registrations_by_fifty_callers_share_their_waits_for_the_disk(tmp_path: Path) -> None:
    async def scenario() -> None:
        catalog = await opened(tmp_path / "registry.db")

        async def caller(number: int) -> None:
            for each in range(200):
                await catalog.change(put(f"e{number}-{each}", service=f"s{number}"))

        await asyncio.gather(*(caller(number) for number in range(50)))

        reading = catalog.reading()
        assert reading.endpoints == 10_000
        assert reading.writes < 2_000, "a transaction takes whatever waits"
        await catalog.close()

    began = time.monotonic()
    run(scenario)
    assert time.monotonic() - began < 20  # some 2 s when nobody else is there


@pytest.mark.parametrize("content", [b"this is no database " * 100, b"SQLite format 3\0" + b"x" * 5000])
def test_a_damaged_file_is_told_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(content)

    async def scenario() -> None:
        with pytest.raises(CannotOpen, match=r"registry\.store: .*registry\.db cannot be used: ") as error:
            await opened(path)
        assert "\n" not in str(error.value)

    run(scenario)
    assert path.read_bytes() == content, "whoever can mend it must find it as it was"


def test_a_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(CannotOpen, match=r"there is no directory .*missing"):
            await opened(tmp_path / "missing" / "registry.db")
        with pytest.raises(CannotOpen, match="cannot be used: unable to open database file"):
            await opened(tmp_path)

    run(scenario)


def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()

    async def scenario() -> None:
        with pytest.raises(CannotOpen, match=r"was written by a later version \(its layout is 99, this one knows 1\)"):
            await opened(path)

    run(scenario)


def test_a_record_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"

    async def scenario() -> None:
        catalog = await opened(path)
        await catalog.change(put("e1"))
        await catalog.close()
        connection = sqlite3.connect(path)
        connection.execute('UPDATE record SET value = \'{"type": "put_endpoint"\'')
        connection.commit()
        connection.close()
        with pytest.raises(CannotOpen, match="the record of endpoint app e1 is damaged"):
            await opened(path)

    run(scenario)


def test_who_comes_while_another_process_writes_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"

    async def scenario() -> None:
        first = await opened(path)
        await first.change(put("e1"))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        opening = asyncio.ensure_future(opened(path))
        await asyncio.sleep(0)
        other.execute("COMMIT")
        other.close()

        second = await opening

        assert ids(second) == ["e1"]
        await first.close()
        await second.close()

    run(scenario)


def test_a_write_that_fails_refuses_the_change_and_the_next_one_may_succeed(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"

    async def scenario() -> None:
        catalog = await opened(path)
        await catalog.change(put("e1"))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("ALTER TABLE record RENAME TO hidden")
        with pytest.raises(StoreFailed, match="cannot be written to"):
            await catalog.change(put("e2"))
        assert ids(catalog) == ["e1"]
        assert "cannot be written to" in catalog.problems()["store"]

        other.execute("ALTER TABLE hidden RENAME TO record")
        other.close()
        await catalog.change(put("e3"))

        assert ids(catalog) == ["e1", "e3"]
        assert not catalog.problems()
        await catalog.close()

    run(scenario)


# --- the catalog ----------------------------------------------------------------------------------------------------


def test_nothing_is_in_force_that_the_store_refused() -> None:
    async def scenario() -> None:
        store = Failing()
        catalog = Catalog(Registry(), store)
        await catalog.open()
        told: list[Applied] = []
        catalog.subscribe(told.append)
        store.error = "the disk is full"

        results = await asyncio.gather(*(catalog.change(put(f"e{n}")) for n in range(3)), return_exceptions=True)

        assert [str(result) for result in results] == ["the disk is full"] * 3
        assert ids(catalog) == []
        assert catalog.registry.index == 0
        assert told == []
        await catalog.close()

    run(scenario)


def test_one_refused_change_does_not_spoil_the_batch_that_it_is_in() -> None:
    async def scenario() -> None:
        store = Failing()
        catalog = Catalog(Registry(), store)
        await catalog.open()

        domain = ("domain",)
        results = await asyncio.gather(
            catalog.change(put("e1", revision=2)),
            catalog.change(put("e1", revision=1)),
            catalog.change(PutPolicies(service=Service(name="x", domain="d.test"), fields=domain)),
            catalog.change(put("e2"), PutPolicies(service=Service(name="y", domain="d.test"), fields=domain)),
            catalog.change(put("e3")),
            return_exceptions=True,
        )

        assert [type(result).__name__ for result in results] == ["int", "Stale", "int", "Conflict", "int"]
        assert isinstance(results[3], Conflict)
        assert len(store.writes) == 1
        assert ids(catalog) == ["e1", "e3"], "a change is in force whole or not at all"
        await catalog.close()

    run(scenario)


def test_who_stops_waiting_does_not_stop_the_change() -> None:
    async def scenario() -> None:
        catalog = Catalog(Registry(), Failing())
        await catalog.open()
        asking = asyncio.ensure_future(catalog.change(put("e1")))
        await asyncio.sleep(0)
        asking.cancel()

        await catalog.change(put("e2"))

        assert ids(catalog) == ["e1", "e2"]
        await catalog.close()

    run(scenario)


def test_a_reader_waits_for_the_service_that_it_asks_about() -> None:
    async def scenario() -> None:
        catalog = Catalog(Registry(), MemoryStore())
        await catalog.open()
        index = await catalog.change(put("e1", service="a"), put("e1", service="b"))
        waiting = asyncio.ensure_future(catalog.wait(index, "a", timeout=20))
        anything = asyncio.ensure_future(catalog.wait(index, timeout=20))

        second = await catalog.change(put("e2", service="b"))
        assert await anything == second
        assert not waiting.done()

        third = await catalog.change(RemoveEndpoint(service="a", id="e1"))
        assert await waiting == third, "that it is gone is news as well"
        assert await catalog.wait(third, "b", timeout=0.001) == second
        await catalog.close()

    run(scenario)


def test_a_lease_that_is_over_is_found_by_the_timer_and_its_end_is_stored() -> None:
    async def scenario() -> None:
        now = [100.0]
        store = Failing()
        catalog = Catalog(Registry(), store, clock=lambda: now[0])
        await catalog.open()
        await catalog.change(put("e1", ttl=10.0))
        now[0] = 109.0
        await catalog.change(Heartbeat(service="app", id="e1"))
        assert len(store.writes) == 1, "a heartbeat is not written down"

        now[0] = 118.9
        catalog.expire()
        assert catalog.registry.snapshot.services[0].endpoints[0].state is EndpointState.HEALTHY
        now[0] = 119.0
        catalog.expire()
        assert catalog.registry.snapshot.services[0].endpoints[0].state is EndpointState.UNHEALTHY
        now[0] = 179.0
        catalog.expire()

        assert ids(catalog) == []
        while len(store.writes) == 1:
            await asyncio.sleep(0)
        assert isinstance(store.writes[1][0].record, RemoveEndpoint)
        await catalog.close()

    run(scenario)


def test_a_real_timer_ends_a_lease() -> None:
    async def scenario() -> None:
        catalog = Catalog(Registry(), MemoryStore())
        await catalog.open()
        index = await catalog.change(put("e1", ttl=0.05))
        await catalog.wait(index, "app", timeout=20)
        (entry,) = catalog.registry.described("app").endpoints
        assert (entry.endpoint.state, entry.reason) == (EndpointState.UNHEALTHY, "no heartbeat for 0.05 s")
        assert catalog.reading().expirations == 1
        await catalog.close()

    run(scenario)


def test_changes_wait_while_another_program_takes_over_and_are_refused_when_it_has() -> None:
    async def scenario() -> None:
        store = Failing()
        catalog = Catalog(Registry(), store)
        await catalog.open()
        await catalog.pause()
        first = asyncio.ensure_future(catalog.change(put("e1")))
        await asyncio.sleep(0.01)
        assert store.writes == []
        catalog.resume()
        await first

        await catalog.pause()
        second = asyncio.ensure_future(catalog.change(put("e2")))
        await asyncio.sleep(0)
        catalog.refuse("the program has been replaced")
        with pytest.raises(StoreFailed, match="has been replaced"):
            await second
        with pytest.raises(StoreFailed, match="has been replaced"):
            await catalog.change(put("e3"))
        await catalog.close()

    run(scenario)


def test_a_subscriber_that_fails_keeps_nothing_from_the_others() -> None:
    async def scenario() -> None:
        blamed: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: blamed.append(context["exception"]))
        catalog = Catalog(Registry(), MemoryStore())
        await catalog.open()
        told: list[Applied] = []

        def fail(applied: Applied) -> None:
            raise RuntimeError("boom")

        unsubscribe = catalog.subscribe(fail)
        catalog.subscribe(told.append)
        await catalog.change(put("e1"))
        unsubscribe()
        catalog.report(HealthReport(service="app", id="e1", address="10.0.0.1:80", state=EndpointState.EJECTED))

        assert [applied.services for applied in told] == [{"app"}, {"app"}]
        assert [str(error) for error in blamed] == ["boom"]
        await catalog.close()

    run(scenario)
