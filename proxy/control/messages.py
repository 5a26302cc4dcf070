"""What the agent and a worker say to each other.

Frames on a stream socket pair: 4 bytes of length (big endian), then one msgpack-encoded message. A `Listen` carries
its socket as ancillary data of the same frame. Tagged unions, so an unknown message is an error and never guessed.
"""

from __future__ import annotations

from discovery.model import Listener, Service, Settings, Snapshot, Struct


class Listen(Struct, tag="listen"):
    """Accept on the attached socket for the listener called `name`."""

    name: str


class Unlisten(Struct, tag="unlisten"):
    """Stop accepting for `name`; what is open stays open and drains."""

    name: str


class Apply(Struct, tag="apply"):
    """The whole state. `slots` maps the key of a statistics row (see proxy/stats/slots.py) to its number."""

    snapshot: Snapshot
    slots: dict[str, int]


class Delta(Struct, tag="delta"):
    """What changed from `base` to `version`. None: unchanged. Services are replaced whole, by name."""

    base: int
    version: int
    settings: Settings | None = None
    listeners: tuple[Listener, ...] | None = None
    services: tuple[Service, ...] = ()
    services_removed: tuple[str, ...] = ()
    slots: dict[str, int] = {}


class Drain(Struct, tag="drain"):
    """Finish what is open within `deadline` seconds, then say Drained and exit."""

    deadline: float


class ReopenLogs(Struct, tag="reopen_logs"):
    pass


class Hello(Struct, tag="hello"):
    worker: int
    pid: int


class Applied(Struct, tag="applied"):
    """This worker decides by `version` from now on."""

    version: int


class Released(Struct, tag="released"):
    """The worker no longer writes to these statistics rows."""

    slots: tuple[int, ...]


class Event(Struct, tag="event"):
    """Something worth the event log that only the worker saw."""

    name: str
    fields: dict[str, str | int | float]


class Drained(Struct, tag="drained"):
    pass


ToWorker = Listen | Unlisten | Apply | Delta | Drain | ReopenLogs
ToAgent = Hello | Applied | Released | Event | Drained
