"""Reloads: whole or not at all, one at a time, and honest about what takes a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from discovery.config import AdminSettings, Config, RegistrySettings
from discovery.model import Position, Service, Snapshot
from proxy.config.problems import Loaded, Problem, Severity
from proxy.control.reload import Reloader, with_running
from proxy.control.rollout import Refused


class Rollout:
    """Puts in force whatever it is given, unless `refuse` says why not."""

    def __init__(self) -> None:
        self.snapshot = Snapshot(version=1)
        self.refuse: tuple[Problem, ...] = ()
        self.problems: tuple[Problem, ...] = ()
        self.workers: int | None = None

    async def apply(self, config: Config, workers: int | None = None) -> None:
        if self.refuse:
            raise Refused(self.refuse)
        self.workers = workers
        self.snapshot = Snapshot(version=self.snapshot.version + 1, services=config.snapshot.services)


class File:
    """What the next loads give; `gate` holds them up."""

    def __init__(self, *contents: Config | tuple[Problem, ...] | Exception) -> None:
        self.contents = list(contents)
        self.loads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, path: str) -> Loaded:
        self.loads += 1
        await self.gate.wait()
        content = self.contents[0] if len(self.contents) == 1 else self.contents.pop(0)
        if isinstance(content, Exception):
            raise content
        if isinstance(content, Config):
            return Loaded(config=content)
        return Loaded(config=None, problems=content)


def config(digest: str, **fields: object) -> Config:
    return Config(snapshot=Snapshot(services=(Service(name=digest),)), digest=digest, **fields)  # type: ignore[arg-type]


RUNNING = config("one")
BAD = (Problem(message="unknown key", position=Position(file="c.yaml", line=3, column=1), key="bad"),)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(limited())


def make(*contents: Config | tuple[Problem, ...] | Exception) -> tuple[Reloader, Rollout, File]:
    rollout, file = Rollout(), File(*contents)
    return Reloader("c.yaml", file.load, rollout, RUNNING), rollout, file


def test_a_good_file_is_put_in_force() -> None:
    async def scenario() -> None:
        reloader, rollout, _ = make(config("two"))

        result = await reloader.reload()

        assert (result.ok, result.changed, result.version, result.problems) == (True, True, 2, ())
        assert rollout.snapshot.services == (Service(name="two"),)
        assert reloader.config.digest == "two"
        assert reloader.counts == {"success": 1, "failure": 0}

    run(scenario)


def test_the_file_that_is_in_force_changes_nothing() -> None:
    async def scenario() -> None:
        reloader, rollout, _ = make(config("one"))

        result = await reloader.reload()

        assert (result.ok, result.changed, result.version) == (True, False, 1)
        assert rollout.snapshot.version == 1

    run(scenario)


def test_warnings_are_listed_and_logged_once(capfd: pytest.CaptureFixture[str]) -> None:
    first = Problem(message="never matches", severity=Severity.WARNING)
    second = Problem(message="too long", severity=Severity.WARNING)

    async def load(path: str) -> Loaded:
        return answers.pop(0)

    async def scenario() -> None:
        reloader = Reloader("c.yaml", load, Rollout(), RUNNING, Loaded(config=RUNNING, warnings=(first,), text=b"1"))
        assert (reloader.problems(), reloader.text) == ((first,), b"1")
        result = await reloader.reload()
        assert result.ok
        assert result.problems == reloader.problems() == (first, second)
        assert reloader.text == b"2"
        assert not (await reloader.reload()).ok
        assert reloader.problems() == (first, second, *BAD)
        assert reloader.text == b"2"
        assert (await reloader.reload()).ok
        assert (reloader.problems(), reloader.text) == ((), b"3")

    answers = [
        Loaded(config=config("two"), warnings=(first, second), text=b"2"),
        Loaded(config=None, problems=BAD),
        Loaded(config=config("two"), text=b"3"),
    ]
    run(scenario)
    logged = "".join(capfd.readouterr())
    assert (logged.count("warning: never matches"), logged.count("warning: too long")) == (1, 1)


def test_a_bad_file_keeps_what_is_in_force_until_it_is_mended() -> None:
    async def scenario() -> None:
        reloader, _, _ = make(BAD, config("one"))

        result = await reloader.reload()
        assert (result.ok, result.changed, result.version, result.problems) == (False, False, 1, BAD)
        assert reloader.problems() == BAD
        assert reloader.config is RUNNING

        assert (await reloader.reload()).ok
        assert reloader.problems() == ()
        assert reloader.counts == {"success": 1, "failure": 1}

    run(scenario)


def test_what_cannot_be_put_in_force_is_tried_again_by_the_next_reload() -> None:
    async def scenario() -> None:
        reloader, rollout, _ = make(config("two"))
        rollout.refuse = (Problem(message="the port is in use"),)

        assert not (await reloader.reload()).ok
        rollout.refuse = ()

        assert (await reloader.reload()).changed

    run(scenario)


def test_a_crash_of_ours_is_a_problem_and_stops_nothing() -> None:
    async def scenario() -> None:
        reloader, _, _ = make(RuntimeError("boom"))

        result = await reloader.reload()

        assert not result.ok
        assert "could not be checked: RuntimeError('boom')" in result.problems[0].message

    run(scenario)


def test_questions_during_a_reload_share_the_next_one() -> None:
    async def scenario() -> None:
        reloader, _, file = make(config("two"), config("three"))
        file.gate.clear()
        first = asyncio.ensure_future(reloader.reload())
        while not file.loads:
            await asyncio.sleep(0)

        others = [asyncio.ensure_future(reloader.reload()) for _ in range(5)]
        await asyncio.sleep(0)
        file.gate.set()

        assert (await first).version == 2
        assert {result.version for result in await asyncio.gather(*others)} == {3}
        assert file.loads == 2

    run(scenario)


def test_who_stops_waiting_does_not_stop_the_reload() -> None:
    async def scenario() -> None:
        reloader, rollout, file = make(config("two"))
        file.gate.clear()
        asking = asyncio.ensure_future(reloader.reload())
        while not file.loads:
            await asyncio.sleep(0)

        asking.cancel()
        file.gate.set()
        while rollout.snapshot.version == 1:
            await asyncio.sleep(0)

    run(scenario)


def test_what_takes_a_restart_is_a_problem_and_everything_else_is_in_force() -> None:
    async def scenario() -> None:
        admin = AdminSettings(address="127.0.0.1:1", token="new")
        registry = RegistrySettings(store="sqlite:a", directories=("b",))
        reloader, rollout, _ = make(
            config("two", workers=0, admin=admin, metrics_address="127.0.0.1:2", registry=registry)
        )

        result = await reloader.reload()

        assert (result.ok, result.changed) == (True, True)
        assert [str(problem) for problem in result.problems] == [
            "workers: 0 takes effect after a restart, 1 is in force until then",
            "admin.address: 127.0.0.1:1 takes effect after a restart, 127.0.0.1:9900 is in force until then",
            "metrics.address: 127.0.0.1:2 takes effect after a restart, nothing is in force until then",
            "registry.store: sqlite:a takes effect after a restart, memory: is in force until then",
        ]
        assert reloader.problems() == result.problems
        assert rollout.snapshot.services == (Service(name="two"),)
        in_force = reloader.config
        assert (in_force.workers, in_force.admin, in_force.metrics_address) == (1, AdminSettings(token="new"), "")
        assert in_force.registry == RegistrySettings(directories=("b",))

    run(scenario)


def test_another_number_of_workers_is_put_in_force() -> None:
    async def scenario() -> None:
        reloader, rollout, _ = make(config("two", workers=4))

        assert (await reloader.reload()).problems == ()

        assert (rollout.workers, reloader.config.workers) == (4, 4)

    run(scenario)


def test_what_is_in_force_but_not_as_it_should_be_is_a_problem() -> None:
    async def scenario() -> None:
        reloader, rollout, _ = make(config("two"), config("three"))
        rollout.problems = BAD
        assert (await reloader.reload()).problems == BAD
        rollout.problems = ()
        assert (await reloader.reload()).problems == ()

    run(scenario)


def test_the_same_values_need_no_restart() -> None:
    assert with_running(config("two", workers=1), RUNNING)[1] == ()
