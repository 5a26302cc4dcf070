"""A watched directory, with real files and a reader that is told what they say."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import pytest

from discovery.changes import Change, ChangeError, LimitReached, Replace
from discovery.config import FollowedName
from discovery.model import Service
from discovery.sources.directory import DirectorySource, service_files
from discovery.sources.folder import Content


class Catalog:
    """What a source reported."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.problems: dict[str, str | None] = {}
        self.refusal: ChangeError | None = None

    def report(self, change: Change) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.changes.append(change)

    def problem(self, source: str, message: str | None) -> None:
        self.problems[source] = message

    @property
    def services(self) -> list[str]:
        last = self.changes[-1]
        assert isinstance(last, Replace)
        return [service.name for service in last.services]


async def lines(paths: Sequence[str]) -> Mapping[str, Content]:
    """A file has one name of a service per line."""

    def read(path: str) -> Content:
        text = Path(path).read_text()
        if "?" in text:
            return Content(problems=(f"{path}:1:1: a question",))
        return Content(services=tuple(Service(name=name) for name in text.split()))

    return {path: read(path) for path in paths}


class Bench:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.catalog = Catalog()
        self.followed: list[tuple[str, Sequence[FollowedName]]] = []
        self.source = DirectorySource(
            self.catalog, str(path), lines, lambda source, names: self.followed.append((source, names))
        )

    async def looks(self, count: int = 2) -> list[str]:
        for _ in range(count):
            await self.source.look()
        return self.catalog.services

    @property
    def problem(self) -> str | None:
        return self.catalog.problems[self.source.source]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "a.yaml").write_text("one two")
    return Bench(tmp_path)


def run(scenario: Awaitable[None]) -> None:
    async def main() -> None:
        await scenario

    asyncio.run(main())


def test_files_that_come_change_and_go(bench: Bench) -> None:
    async def scenario() -> None:
        assert await bench.looks(1) == ["one", "two"]
        (bench.path / "b.yml").write_text("three")
        assert await bench.looks() == ["one", "two", "three"]
        (bench.path / "a.yaml").write_text("one two four")
        assert await bench.looks() == ["one", "two", "four", "three"]
        (bench.path / "b.yml").unlink()
        assert await bench.looks() == ["one", "two", "four"]
        assert bench.problem is None
        assert len(bench.catalog.changes) == 4  # and not one per look

    run(scenario())


def test_a_file_is_replaced_by_renaming_another_over_it(bench: Bench) -> None:
    async def scenario() -> None:
        await bench.looks(1)
        before = (bench.path / "a.yaml").stat()
        new = bench.path / ".a.yaml.tmp"
        new.write_text("six two")  # as long as before
        os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
        new.rename(bench.path / "a.yaml")
        assert await bench.looks() == ["six", "two"]

    run(scenario())


def test_a_broken_file_keeps_what_it_said(bench: Bench) -> None:
    async def scenario() -> None:
        await bench.looks(1)
        (bench.path / "a.yaml").write_text("one?")
        assert await bench.looks() == ["one", "two"]
        assert bench.problem == f"{bench.path}/a.yaml:1:1: a question"
        assert len(bench.catalog.changes) == 1

    run(scenario())


def test_a_directory_that_is_gone_keeps_everything(bench: Bench) -> None:
    async def scenario() -> None:
        await bench.looks(1)
        bench.path.rename(bench.path.with_name("elsewhere"))
        assert await bench.looks(3) == ["one", "two"]
        assert bench.problem == f"{bench.path} cannot be read: no such file or directory; what was known stays"
        bench.path.with_name("elsewhere").rename(bench.path)
        assert await bench.looks() == ["one", "two"]
        assert bench.problem is None

    run(scenario())


def test_a_directory_that_comes_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path / "later")
        await bench.source.look()
        assert bench.catalog.changes == []
        assert bench.problem is not None
        bench.path.mkdir()
        (bench.path / "a.json").write_text("one")
        assert await bench.looks() == ["one"]

    run(scenario())


def test_kubernetes_swaps_a_link(tmp_path: Path) -> None:
    async def scenario() -> None:
        def version(number: int, text: str) -> None:
            data = tmp_path / f"..{number}"
            data.mkdir()
            (data / "a.yaml").write_text(text)
            (tmp_path / "..data_tmp").symlink_to(data.name)
            (tmp_path / "..data_tmp").rename(tmp_path / "..data")

        version(1, "one")
        (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
        bench = Bench(tmp_path)
        assert await bench.looks(1) == ["one"]
        version(2, "two")
        assert await bench.looks() == ["two"]

    run(scenario())


def test_what_the_registry_refuses_is_a_problem_until_it_is_taken(bench: Bench) -> None:
    async def scenario() -> None:
        bench.catalog.refusal = LimitReached("there are 1 services already (registry.max_services)")
        await bench.source.look()
        assert bench.problem is not None
        assert bench.problem.startswith("there are 1 services already")
        bench.catalog.refusal = None
        assert await bench.looks(1) == ["one", "two"]
        assert bench.problem is None

    run(scenario())


def test_a_source_that_is_withdrawn_says_nothing_any_more(bench: Bench) -> None:
    async def scenario() -> None:
        await bench.looks(1)
        bench.source.withdraw()
        assert bench.catalog.services == []
        assert bench.followed[-1] == (bench.source.source, ())

    run(scenario())


def test_it_looks_again_and_again_and_survives_a_mistake_of_ours(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        failed = asyncio.Event()

        async def fails(paths: Sequence[str]) -> Mapping[str, Content]:
            failed.set()
            raise ZeroDivisionError

        bench.source = DirectorySource(bench.catalog, str(bench.path), fails, interval=0.001)
        bench.source.start()
        await failed.wait()
        bench.source._read = lines
        while not bench.catalog.changes:
            await asyncio.sleep(0)
        await bench.source.close()
        assert bench.catalog.services == ["one", "two"]
        assert bench.problem is None

    run(scenario())
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.symlink_to(path.name),
        lambda path: os.mkfifo(path),
    ],
)
def test_what_is_no_file_is_left_alone(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.yaml")
    assert service_files(str(tmp_path)) == {}
