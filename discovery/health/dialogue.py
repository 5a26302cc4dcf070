"""What a driver and the machine of a protocol say to each other.

A machine asks one question over one connection. It does no I/O and knows no time: it is given what comes, and says what
is to be sent and when it has seen enough. Everything that a peer can make it hold is bounded by constants of its file.
"""

from __future__ import annotations

from typing import Protocol

from discovery.health.result import Result


class CannotAsk(Exception):
    """The question of a check cannot even be put together; message: why, for the user."""


class Dialogue(Protocol):
    """Making one may raise CannotAsk."""

    @property
    def awaits(self) -> str:
        """What has not come yet when the time is over: "answer", as in "no answer within 5 s"."""
        ...

    def begin(self) -> bytes:
        """What is sent as soon as the connection stands."""
        ...

    def receive(self, data: bytes) -> Result | None:
        """Something came; b"" is the end. The result once there is one; not called again then, nor after the end."""
        ...

    def to_send(self) -> bytes:
        """What is to be sent now, after a `receive`."""
        ...

    def farewell(self) -> bytes:
        """What is sent last, whatever has happened."""
        ...
