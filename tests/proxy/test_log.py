from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy import log
from proxy.kernel.cells import Slot, Table
from proxy.log import MAX_PENDING, LogSink
from proxy.log_target import PIPE_BUF, FileTarget, PipeTarget, PolledTarget, SocketTarget, open_target
from proxy.stats import slots

ROOT = Path(__file__).parents[2]


@contextmanager
def standard_output(descriptor: int) -> Iterator[None]:
    """Descriptor 1 is `descriptor` in here. pytest keeps its own copy of the real one."""
    kept = os.dup(1)
    os.dup2(descriptor, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def pipe_as_output() -> Iterator[int]:
    """Standard output is a pipe; gives its reading end."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with standard_output(writer):
        os.close(writer)
        yield reader
    os.close(reader)


def drain(reader: int) -> bytes:
    found = b""
    try:
        while data := os.read(reader, 1 << 20):
            found += data
    except BlockingIOError:
        pass
    return found


def worker_row() -> tuple[Table, Slot]:
    descriptor = os.memfd_create("log")
    os.ftruncate(descriptor, slots.table_size(1, 1))
    table = Table(descriptor, 1, 1)
    os.close(descriptor)
    return table, table.slot(0, slots.WORKER_SLOT)


# --- files ------------------------------------------------------------------------------------------------------


def test_lines_are_written_at_the_end_of_a_batch_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    sink = LogSink(str(path))
    sink.append(b"one\n")
    sink.append(b"two\n")
    assert path.read_bytes() == b""
    assert sink.pending == 8
    sink.flush()
    assert path.read_bytes() == b"one\ntwo\n"
    assert sink.pending == 0


def test_a_long_batch_is_written_before_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    sink = LogSink(str(path))
    line = b"x" * 1023 + b"\n"
    for _ in range(64):
        sink.append(line)
    assert path.read_bytes() == line * 64
    assert sink.pending == 0


def test_an_existing_file_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"before\n")
    sink = LogSink(str(path))
    sink.append(b"after\n")
    sink.close()
    assert path.read_bytes() == b"before\nafter\n"


def test_two_workers_append_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    first, second = LogSink(str(path)), LogSink(str(path))
    for _ in range(3):
        first.append(b"first\n")
        second.append(b"second\n")
        first.flush()
        second.flush()
    assert sorted(path.read_bytes().splitlines()) == [b"first"] * 3 + [b"second"] * 3


def test_after_a_rotation_the_new_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    sink = LogSink(str(path))
    sink.append(b"old\n")
    path.rename(tmp_path / "access.log.1")
    sink.reopen()
    sink.append(b"new\n")
    sink.flush()
    assert (tmp_path / "access.log.1").read_bytes() == b"old\n"
    assert path.read_bytes() == b"new\n"


def test_when_reopening_fails_the_old_file_stays_in_use(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    sink = LogSink(str(folder / "access.log"))
    moved = tmp_path / "moved"
    folder.rename(moved)
    with pytest.raises(FileNotFoundError):
        sink.reopen()
    sink.append(b"still here\n")
    sink.flush()
    assert (moved / "access.log").read_bytes() == b"still here\n"


def test_a_target_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LogSink(str(tmp_path / "missing" / "access.log"))


def test_a_full_disk_loses_lines_counts_them_and_says_so_once() -> None:
    said: list[str] = []
    table, row = worker_row()
    sink = LogSink("/dev/full", row, said.append)
    for _ in range(3):
        sink.append(b"a\n")
        sink.append(b"b\n")
        sink.flush()
    assert sink.dropped == 6
    assert table.read(slots.WORKER_SLOT)[0][slots.WORKER_LOG_DROPPED] == 6
    assert sink.pending == 0
    assert said == ["the access log /dev/full loses lines: no space left on device"]


# --- pipes ------------------------------------------------------------------------------------------------------


def test_a_full_pipe_keeps_lines_and_a_reader_that_comes_back_gets_them_all() -> None:
    with pipe_as_output() as reader:
        sink = LogSink("stdout")
        lines = [b"%06d %s\n" % (number, b"x" * 100) for number in range(5_000)]
        for line in lines:
            sink.append(line)
        sink.flush()
        assert 0 < sink.pending < MAX_PENDING
        found = b""
        while sink.pending:
            found += drain(reader)
            sink.flush()
        found += drain(reader)
        assert found == b"".join(lines)
        assert sink.dropped == 0
        sink.close()


def test_a_pipe_that_nobody_reads_costs_bounded_memory_and_counts_what_is_lost() -> None:
    said: list[str] = []
    table, row = worker_row()
    with pipe_as_output() as reader:
        sink = LogSink("stdout", row, said.append)
        line = b"y" * 1023 + b"\n"
        for _ in range(6_000):
            sink.append(line)
            assert sink.pending <= MAX_PENDING
        sink.flush()
        kept = drain(reader)
        while sink.pending:
            sink.flush()
            kept += drain(reader)
        assert len(kept) == (6_000 - sink.dropped) * len(line)
        assert kept.count(line) == 6_000 - sink.dropped
        assert sink.dropped > 1_000
        assert table.read(slots.WORKER_SLOT)[0][slots.WORKER_LOG_DROPPED] == sink.dropped
        assert said == ["the access log stdout loses lines: it is not read fast enough"]
        sink.close()


def test_a_flush_of_a_long_backlog_stops_at_its_budget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Recorder:
        def __init__(self) -> None:
            self.is_open = False
            self.taken = 0

        def write(self, data: bytes, offset: int) -> int:
            if not self.is_open:
                raise BlockingIOError
            count = min(PIPE_BUF, len(data) - offset)
            self.taken += count
            return count

        def close(self) -> None: ...

    target = Recorder()
    monkeypatch.setattr(log, "open_target", lambda path: target)
    sink = LogSink("anything")
    for _ in range(1_000):
        sink.append(b"z" * 1023 + b"\n")
    assert target.taken == 0
    target.is_open = True
    sink.flush()
    assert target.taken == log.FLUSH_BUDGET
    sink.reopen()
    assert sink.pending == 0


def test_a_reader_that_is_gone_loses_lines_and_stops_nothing() -> None:
    said: list[str] = []
    reader, writer = os.pipe()
    with standard_output(writer):
        os.close(writer)
        sink = LogSink("stdout", None, said.append)
        os.close(reader)
        sink.append(b"nobody\n")
        sink.flush()
        assert (sink.dropped, sink.pending) == (1, 0)
        assert said == ["the access log stdout loses lines: broken pipe"]
        sink.close()


def test_what_is_left_when_a_sink_is_closed_is_counted() -> None:
    with pipe_as_output():
        sink = LogSink("stdout")
        for _ in range(200):
            sink.append(b"w" * 1023 + b"\n")
        sink.close()
        assert sink.dropped > 0
        assert sink.pending == 0


def test_a_torn_line_does_not_swallow_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        """Takes three bytes, then fails once."""

        def __init__(self) -> None:
            self.taken = b""
            self.fails = False

        def write(self, data: bytes, offset: int) -> int:
            if self.fails:
                self.fails = False
                raise OSError(28, "No space left on device")
            if not self.taken:
                self.fails = True
                self.taken += data[:3]
                return 3
            self.taken += data[offset:]
            return len(data) - offset

        def close(self) -> None: ...

    target = Failing()
    monkeypatch.setattr(log, "open_target", lambda path: target)
    sink = LogSink("anything")
    sink.append(b"first line\n")
    sink.flush()
    sink.append(b"second line\n")
    sink.flush()
    assert target.taken == b"fir\nsecond line\n"
    assert (sink.dropped, sink.pending) == (1, 0)


def test_lines_of_several_writers_of_one_pipe_stay_whole() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 64 * 1024)
    found: list[bytes] = []

    def read() -> None:
        while data := os.read(reader, 1 << 16):
            found.append(data)

    thread = threading.Thread(target=read)
    thread.start()
    program = (
        "import sys\n"
        "from proxy.log import LogSink\n"
        "sink = LogSink('stdout')\n"
        "line = sys.argv[1].encode() * 700 + b'\\n'\n"
        "for _ in range(400):\n"
        "    sink.append(line)\n"
        "    sink.flush()\n"
        "while sink.pending:\n"
        "    sink.flush()\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, letter], cwd=ROOT, stdout=writer) for letter in ("a", "b")
    ]
    os.close(writer)
    assert [process.wait(30) for process in writers] == [0, 0]
    thread.join(30)
    os.close(reader)
    lines = b"".join(found).splitlines()
    assert set(lines) == {b"a" * 700, b"b" * 700}
    assert len(lines) == 800


# --- what is on the other side ----------------------------------------------------------------------------------


def test_a_pipe_does_not_become_non_blocking_for_those_who_share_it() -> None:
    with pipe_as_output():
        target = open_target("stdout")
        assert isinstance(target, PipeTarget)
        assert os.get_blocking(1)
        target.close()


def test_redirected_output_shares_the_position_with_others(tmp_path: Path) -> None:
    path = tmp_path / "out"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    with standard_output(descriptor):
        sink = LogSink("stdout")
        os.write(1, b"event\n")
        sink.append(b"access\n")
        sink.flush()
        os.write(1, b"event\n")
        sink.close()
    os.close(descriptor)
    assert path.read_bytes() == b"event\naccess\nevent\n"


def test_a_socket_is_written_without_waiting() -> None:
    ours, theirs = socket.socketpair()
    with standard_output(ours.fileno()):
        target = open_target("stdout")
        assert isinstance(target, SocketTarget)
        with pytest.raises(BlockingIOError):
            for _ in range(10_000):
                target.write(b"s" * 1024, 0)
        assert ours.getblocking()
        target.close()
    theirs.close()
    ours.close()


def test_a_shared_pipe_that_cannot_be_opened_again_is_asked_before_it_is_written() -> None:
    reader, writer = os.pipe()
    target = PolledTarget(os.dup(writer))
    with pytest.raises(BlockingIOError):
        for _ in range(1_000):
            target.write(b"p" * (PIPE_BUF * 4), 0)
    os.set_blocking(reader, False)
    assert len(drain(reader)) % PIPE_BUF == 0
    assert target.write(b"again\n", 0) == 6
    target.close()
    os.close(reader)
    os.close(writer)


def test_a_file_is_a_file(tmp_path: Path) -> None:
    target = open_target(str(tmp_path / "x"))
    assert type(target) is FileTarget
    target.close()
