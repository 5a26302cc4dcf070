"""Which driver and which machine carry out a check: one line for each protocol."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Protocol

from discovery.checks import CheckProtocol
from discovery.health.command import Command
from discovery.health.connection import Connection
from discovery.health.dialogue import Dialogue
from discovery.health.http import HttpDialogue
from discovery.health.result import Result
from discovery.health.target import Target
from discovery.health.tls import TlsDialogue


class Attempt(Protocol):
    """A check under way."""

    @property
    def is_gone(self) -> bool:
        """Once it has ended: does it hold nothing any more?"""
        ...

    def expire(self, seconds: float) -> Result:
        """Its `seconds` are over: end it. What that says."""
        ...

    def cancel(self) -> None:
        """Nobody wants to know any more: end it."""
        ...


class Begin(Protocol):
    """`begin` below."""

    def __call__(
        self,
        target: Target,
        done: Callable[[Result], None],
        gone: Callable[[], None],
        on_bug: Callable[[BaseException], None],
    ) -> Attempt: ...


class Attempts:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def begin(
        self,
        target: Target,
        done: Callable[[Result], None],
        gone: Callable[[], None],
        on_bug: Callable[[BaseException], None],
    ) -> Attempt:
        """`done` is called once with what was found, later and not from in here; `gone` after that, if it was not gone
        by then. Raises CannotAsk."""
        if target.check.protocol is CheckProtocol.COMMAND:
            return Command(self._loop, target, os.environ, done, gone)
        return Connection(self._loop, target.place, dialogue_of(target), done, on_bug)


def dialogue_of(target: Target) -> Dialogue | None:
    check = target.check
    match check.protocol:
        case CheckProtocol.TCP:
            return None
        case CheckProtocol.HTTP:
            return HttpDialogue(target)
        case CheckProtocol.HTTPS:
            return TlsDialogue(HttpDialogue(target), target.server_name, check.verify, check.ca_file)
        case CheckProtocol.GRPC:
            from discovery.health.grpc import GrpcDialogue  # h2 takes memory and time that most do not need

            call = GrpcDialogue(target)
            return TlsDialogue(call, target.server_name, check.verify, check.ca_file, "h2") if check.tls else call
        case _:
            raise AssertionError(f"{check.protocol} is not asked over a connection")
