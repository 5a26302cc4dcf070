"""Programs as checks: what they get, what their end says, and that nothing of them stays."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from checking import carry_out, checked, on_loop, target
from waiting import eventually

from discovery.checks import CheckProtocol, HealthCheck
from discovery.health.attempts import Attempts
from discovery.health.command import Command, environment, verdict
from discovery.health.result import MAX_REASON, SUCCESS, Outcome, Result

ADDRESS = "10.0.0.1:80"


def program(*command: str, timeout: float = 10.0) -> HealthCheck:
    return HealthCheck(protocol=CheckProtocol.COMMAND, command=command, timeout=timeout)


def shell(script: str, timeout: float = 10.0) -> HealthCheck:
    return program("/bin/sh", "-c", script, timeout=timeout)


def ran(script: str, timeout: float = 10.0) -> Result:
    return checked(ADDRESS, shell(script, timeout))


def test_exit_code_0_is_healthy() -> None:
    assert ran("echo fine; exit 0") == SUCCESS


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 2", "exit code 2"),
        ("echo disk full; exit 2", "exit code 2: disk full"),
        ("echo one; echo two >&2; exit 1", "exit code 1: one two"),
        ("kill -TERM $$", "ended by SIGTERM"),
    ],
)
def test_any_other_end_is_a_failure_that_says_what_the_program_said(script: str, reason: str) -> None:
    assert ran(script) == (Outcome.FAILURE, reason)


def test_a_signal_without_a_name() -> None:
    assert verdict(40, b"").reason == "ended by signal 40"


def test_a_program_that_is_not_there() -> None:
    assert checked(ADDRESS, program("/no/such/program")) == (
        Outcome.FAILURE,
        "cannot run /no/such/program: no such file or directory",
    )


@pytest.mark.parametrize("call", ["pipe2", "posix_spawnp", "pidfd_open"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EAGAIN])
def test_a_machine_that_is_short_of_something_is_not_the_endpoints_fault(
    monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def fails(*arguments: object, **options: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fails)
    loop = asyncio.new_event_loop()
    results: list[Result] = []
    try:
        command = Command(loop, target(ADDRESS, shell("sleep 100")), os.environ, results.append, lambda: None)
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()
    assert results == [(Outcome.ERROR, f"cannot run /bin/sh: {os.strerror(number).lower()}")]
    assert command.is_gone


def test_arguments_are_taken_as_they_are() -> None:
    script = "import sys; sys.exit(sys.argv[1:] != ['$HOME; exit 1', '*', ''])"
    assert checked(ADDRESS, program(sys.executable, "-c", script, "$HOME; exit 1", "*", "")) == SUCCESS


def test_a_program_is_found_in_path() -> None:
    assert checked(ADDRESS, program("true")) == SUCCESS


def test_it_is_told_what_it_is_asked_about_and_little_else(tmp_path: Path) -> None:
    what = target(ADDRESS, shell(f"env > {tmp_path}/env"), service="jobs", id="j1")
    assert on_loop(carry_out(what)) == SUCCESS
    found = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert found["HIVEMESH_SERVICE"] == "jobs"
    assert found["HIVEMESH_ENDPOINT"] == "j1"
    assert found["HIVEMESH_ADDRESS"] == ADDRESS
    assert found["PATH"] == os.environ["PATH"]
    # The shell adds the last three.
    assert set(found) <= {*environment(what, os.environ), "PWD", "SHLVL", "_"}


def test_it_gets_no_input_no_descriptor_and_no_ignored_signal_of_ours(tmp_path: Path) -> None:
    held = os.open(tmp_path, os.O_RDONLY)
    try:
        script = f"cat; ls /proc/self/fd > {tmp_path}/fds; grep Sig /proc/self/status > {tmp_path}/signals; exit 3"
        assert ran(script).reason == "exit code 3"
    finally:
        os.close(held)
    # Those of ours that every program would get (none, in the agent), and the folder that ls reads.
    inherited = {int(name) for name in os.listdir("/proc/self/fd") if is_inheritable(int(name))}
    found = {int(name) for name in (tmp_path / "fds").read_text().split()}
    assert len(found - inherited - {0, 1, 2}) == 1
    signals = dict(line.split(":\t") for line in (tmp_path / "signals").read_text().splitlines())
    assert int(signals["SigIgn"], 16) & 0x7FFF_FFFF == 0  # above: two that the C library keeps for itself
    assert int(signals["SigBlk"], 16) == 0


def is_inheritable(descriptor: int) -> bool:
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        return False  # the one that the folder was read with


def test_it_leads_a_session_of_its_own(tmp_path: Path) -> None:
    assert ran('test "$(ps -o sid= -p $$ | tr -d " ")" = $$') == SUCCESS


def test_much_output_is_read_and_cut() -> None:
    result = ran("head -c 300000 /dev/zero | tr '\\0' x; exit 1")
    assert result.reason.startswith("exit code 1: xxxx")
    assert len(result.reason) < MAX_REASON


def test_output_without_end_ends_the_program() -> None:
    assert ran("yes") == (Outcome.FAILURE, "more than 1 MiB of output")


def test_a_program_that_hangs_is_ended_by_the_timeout() -> None:
    assert ran("sleep 60", 0.2) == (Outcome.FAILURE, "no exit within 0.2 s")


def test_what_a_program_leaves_running_does_not_prolong_its_check_and_is_ended(tmp_path: Path) -> None:
    """It has the pipe still open, so waiting for the end of the output would take a minute."""
    assert ran(f"sleep 60 & echo $! > {tmp_path}/pid; exit 0") == SUCCESS
    is_gone_soon(tmp_path / "pid")


def test_a_grandchild_that_ignores_sigterm_is_gone_after_the_timeout(tmp_path: Path) -> None:
    stubborn = f"(trap '' TERM HUP INT; echo $$ > {tmp_path}/leader; sleep 60 & echo $! > {tmp_path}/pid; wait) & wait"
    assert ran(stubborn, 0.5).reason == "no exit within 0.5 s"
    is_gone_soon(tmp_path / "leader")
    is_gone_soon(tmp_path / "pid")


def test_a_program_whose_check_is_given_up_is_gone(tmp_path: Path) -> None:
    async def whole() -> None:
        is_gone = asyncio.Event()
        what = target(ADDRESS, shell(f"echo $$ > {tmp_path}/pid; sleep 60"))
        attempt = Attempts(asyncio.get_running_loop()).begin(what, _never, is_gone.set, _never)
        while not (tmp_path / "pid").exists():
            await asyncio.sleep(0.005)
        assert not attempt.is_gone
        attempt.cancel()
        async with asyncio.timeout(5.0):
            await is_gone.wait()
        assert attempt.is_gone

    on_loop(whole())
    is_gone_soon(tmp_path / "pid")


def test_a_hundred_programs_leave_no_descriptor_and_no_zombie() -> None:
    async def whole() -> None:
        what = target(ADDRESS, program("true"))
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            assert await asyncio.gather(*(carry_out(what) for _ in range(10))) == [SUCCESS] * 10
        assert len(os.listdir("/proc/self/fd")) == before
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    on_loop(whole())


def is_gone_soon(file: Path) -> None:
    """The process whose id is written there. A zombie is gone: whoever is its parent now reaps it."""
    pid = eventually(lambda: file.exists() and file.read_text().strip(), f"{file.name} is written")

    def is_gone() -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        return state in "ZX"

    eventually(is_gone, f"process {pid} is gone")


def _never(*_: Any) -> None:
    raise AssertionError("it was given up")
