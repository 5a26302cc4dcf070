"""Faults that once were answered wrongly, each with the loop that found it."""

from __future__ import annotations

import errno
import re

import pytest

from benchmarks.faults import scripts
from benchmarks.faults.control import NOBODY, Call, Fault, Role, Sort
from benchmarks.faults.loop import Result, once
from benchmarks.faults.scripts import Script
from benchmarks.faults.stage import Stage
from benchmarks.faults.table import Loop

WORKER = Role.WORKER


def outcome(stage: Stage, script: Script, fault: Fault, n: int = 1, may_die: Role = NOBODY) -> str:
    """Of the n-th call failing; nothing else may be wrong."""
    result = Result()
    seen = once(stage, Loop(script, fault, may_die), n, result)
    assert not result.findings, result.findings[0]
    assert seen.failed, "the fault was not met"
    ((found, _),) = result.outcomes[fault.call.name.lower()].items()
    return found


def count(stage: Stage, family: str) -> float:
    text = stage.api("GET", "/metrics")[1]
    return sum(float(value) for value in re.findall(rf"^{family}\S* (\S+)$", text, re.MULTILINE))


@pytest.mark.parametrize("error", [errno.ENOMEM, errno.ECONNRESET, errno.EPIPE])
def test_a_client_whose_answer_cannot_be_sent_is_reset_at_once(stage: Stage, error: int) -> None:
    """It was kept as if the answer had been sent, and waited for `timeouts.keep_alive`."""
    assert outcome(stage, scripts.get, Fault(Call.WRITE, error, WORKER, Sort.TCP), 2).startswith("reset")


def test_an_answer_that_only_the_end_ends_is_reset_when_it_cannot_be_sent(stage: Stage) -> None:
    """It was ended in an orderly way, and a client of HTTP/1.0 took it for complete."""
    fault = Fault(Call.WRITE, errno.ENOMEM, WORKER, Sort.TCP)
    assert outcome(stage, scripts.old_client, fault, 2).startswith("reset")


@pytest.mark.parametrize("script", [scripts.get, scripts.tcp])
def test_a_connection_that_cannot_be_watched_ends_without_a_bug(stage: Stage, script: Script) -> None:
    """epoll_ctl(2) has no room (fs.epoll.max_user_watches): an exception went through whatever was being done."""
    found = outcome(stage, script, Fault(Call.EPOLL, errno.ENOSPC, WORKER, Sort.TCP))
    assert found.startswith("reset") or found == "503"  # the client's, or the endpoint's


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOMEM])
def test_a_want_of_ours_is_not_held_against_the_endpoint(stage: Stage, error: int) -> None:
    """Without descriptors each endpoint in turn was ejected for what it had no part in."""
    family = "hivemesh_upstream_attempt_failures_total"
    before = count(stage, family)
    outcome(stage, scripts.cold_get, Fault(Call.SOCKET, error, WORKER))
    assert outcome(stage, scripts.tcp, Fault(Call.SOCKET, error, WORKER)).startswith("reset")
    assert count(stage, family) == before


@pytest.mark.parametrize("script", [scripts.dns, scripts.udp])
def test_a_datagram_behind_an_error_is_answered(stage: Stage, script: Script) -> None:
    """An error is told once, and of what is behind it comes no edge: it waited until somebody sent another."""
    assert outcome(stage, script, Fault(Call.READ, errno.ECONNREFUSED, WORKER, Sort.UDP)) == "right"


def test_a_want_of_memory_is_told_in_one_line(stage: Stage) -> None:
    """It was a bug with a traceback."""
    assert outcome(stage, scripts.cold_get, Fault(Call.MEMORY, errno.ENOMEM, WORKER)) in ("500", "502")
    assert '"out of memory"' in (stage.folder / "hivemesh.output").read_text()


def test_a_supervisor_without_descriptors_for_a_channel_tries_again(stage: Stage) -> None:
    """It ended, and the program with it."""
    fault = Fault(Call.SOCKET, errno.EMFILE, Role.SUPERVISOR)
    assert outcome(stage, scripts.restart_worker, fault, 2, WORKER) == "right"
