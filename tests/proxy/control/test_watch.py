"""The file watch sees every way in which a file becomes another one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from proxy.control.watch import FileWatch


class Watched:
    def __init__(self, path: Path) -> None:
        self.changes = 0
        self.watch = FileWatch(str(path), self._changed, interval=0.001)

    def _changed(self) -> None:
        self.changes += 1

    def after(self, looks: int) -> int:
        """How many changes were reported after so many looks."""
        for _ in range(looks):
            self.watch.look()
        return self.changes


def test_a_file_that_stays_is_not_reported(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("one")

    assert Watched(path).after(5) == 0


def test_a_file_that_is_written_over_is_reported_once(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("one")
    watched = Watched(path)

    path.write_text("other")

    assert watched.after(5) == 1


def test_a_file_that_is_still_being_written_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("")
    watched = Watched(path)

    for length in range(1, 5):
        path.write_text("x" * length)
        assert watched.after(1) == 0

    assert watched.after(1) == 1


def test_a_new_file_renamed_over_the_old_one_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("one")
    watched = Watched(path)

    other = tmp_path / "c.yaml.new"
    other.write_text("two")  # the same size
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.rename(path)

    assert watched.after(3) == 1


def test_a_kubernetes_volume_that_swaps_its_folder_is_reported(tmp_path: Path) -> None:
    for version in ("..v1", "..v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "c.yaml").write_text(version)
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "c.yaml").symlink_to("..data/c.yaml")
    watched = Watched(tmp_path / "c.yaml")

    (tmp_path / "..data_tmp").symlink_to("..v2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    assert watched.after(3) == 1


def test_a_file_that_is_missing_for_a_while_is_reported_when_it_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("one")
    watched = Watched(path)

    path.unlink()
    assert watched.after(3) == 0
    path.write_text("other")

    assert watched.after(3) == 1


def test_it_looks_by_itself_until_it_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("one")

    async def scenario() -> None:
        changed = asyncio.Event()
        watch = FileWatch(str(path), changed.set, interval=0.001)
        watch.start(asyncio.get_running_loop())
        path.write_text("other")
        async with asyncio.timeout(10):
            await changed.wait()
        watch.stop()

    asyncio.run(scenario())
