"""Limits of the machine that are too low are told in one sentence each."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable

import pytest
from processes import Hive

from proxy.control import program, startup
from proxy.control.startup import Machine, concerns

Start = Callable[..., Hive]
ENOUGH = Machine(descriptors=1_048_576, pipe_pages=0)


def test_a_machine_with_enough_of_everything_is_no_concern() -> None:
    assert concerns(10_000, 2, ENOUGH) == []
    assert concerns(10_000, 2, ENOUGH._replace(pipe_pages=16_384)) == []  # the default of Linux
    assert concerns(10_000, 2, ENOUGH._replace(descriptors=resource.RLIM_INFINITY)) == []


def test_connections_take_two_descriptors_each() -> None:
    (told,) = concerns(10_000, 2, ENOUGH._replace(descriptors=21_279))

    assert told == (
        "limits.connections is 10000 and may take 21280 descriptors, the hard limit of open files is 21279: raise it "
        "(ulimit -Hn, LimitNOFILE), or allow 9999"
    )
    assert concerns(9_999, 2, ENOUGH._replace(descriptors=21_279)) == []


def test_pipes_that_are_too_few_for_the_workers_are_told() -> None:
    (told,) = concerns(100, 4, ENOUGH._replace(pipe_pages=4096))

    assert told.startswith("fs.pipe-user-pages-soft is 4096, which is enough for 32 pipes: ")
    assert concerns(100, 2, ENOUGH._replace(pipe_pages=4096)) == []


def test_the_program_tells_it_once_and_again_when_more_is_asked_for(start: Start) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    hive = start(limits={"connections": hard})
    assert f"limits.connections is {hard} " in hive.await_event("limit is low")["reason"]

    hive.config["limits"] = {"connections": hard + 1}
    hive.write()
    assert hive.admin("POST", "/v1/reload")[0] == 200

    assert f"limits.connections is {hard + 1} " in hive.await_event("limit is low", 2)["reason"]


def test_this_kernel_has_what_is_needed() -> None:
    assert startup.missing() == []


def test_a_kernel_without_memory_files_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(name: str, flags: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "memfd_create", refuse)

    assert program.run("unused.yaml") == 1
    told = capsys.readouterr().err
    assert told.startswith("hivemesh: this system has no memory files (memfd_create, Linux 3.17): ")
    assert told.count("\n") == 1
