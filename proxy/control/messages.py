"""What the agent and a worker say to each other.

Frames on a stream socket pair: 4 bytes of length (big endian), then one msgpack-encoded message. A `Listen` carries
its socket as ancillary data of the same frame. Tagged unions, so an unknown message is an error and never guessed.

The first message on a channel is the worker's `Hello`; the first one back is an `Apply`. A channel can be replaced
(the agent was restarted) while the worker goes on: its `Hello` then says what it has, and nothing is lost.
"""

from __future__ import annotations

import msgspec

from discovery.delta import SnapshotDelta
from discovery.model import EndpointState, Service, Snapshot, Struct
from mesh.decision import Decision, Question
from mesh.record import Record

# Requests of a tap per second, unless it asks for another number: more than a person reads, less than a worker notices.
MOST_PER_SECOND = 1000


class Listen(Struct, tag="listen"):
    """Accept on the attached socket for the listener called `name`; `address` as the configuration spells it.
    `number`: which of the listener's sockets it is (proxy/control/assignment.py)."""

    name: str
    address: str = ""
    number: int = 0


class Unlisten(Struct, tag="unlisten"):
    """Stop accepting on this socket of `name`; what is open stays open."""

    name: str
    number: int = 0


class Part(Struct, tag="part"):
    """Services and rows of the Apply that follows, before those that it has itself (proxy/control/parts.py)."""

    services: tuple[Service, ...] = ()
    slots: dict[str, int] = msgspec.field(default_factory=dict)


class Apply(Struct, tag="apply"):
    """The whole state, with the Parts that came before. `slots` maps the key of a statistics row (see
    proxy/stats/slots.py) to its number."""

    snapshot: Snapshot
    slots: dict[str, int]


class Delta(Struct, tag="delta"):
    """What changed since the last Apply or Delta. `slots` holds the keys that are new or have another number; keys
    that the new snapshot does not need are dropped without being named."""

    change: SnapshotDelta
    slots: dict[str, int] = msgspec.field(default_factory=dict)


class Drain(Struct, tag="drain"):
    """Accept nothing more, finish requests within `deadline` seconds and what has no end of its own (upgraded
    connections, TCP, UDP) within `streams`, then say Drained and exit."""

    deadline: float
    streams: float


class ReopenLogs(Struct, tag="reopen_logs"):
    pass


class Ask(Struct, tag="ask"):
    """What would become of this request? `number` comes back with the Answer."""

    number: int
    question: Question


class Find(Struct, tag="find"):
    """Which records of this request are there? Without an id: the newest `most`, or the newest of those in which
    something went wrong. `number` comes back with Found."""

    number: int
    request_id: str = ""
    most: int = 0
    only_errors: bool = False


class Tap(Struct, tag="tap"):
    """From now on send what matches the expression `filter` ("" for all) as Seen with this number, not more than `most`
    requests a second; a Seen without anything tells that it has begun. `headers` are the names of fields that come
    along, as those that the filter looks at do, with "*" all of them; `cookies`: of the Cookie field only these.
    `is_open`: nothing is redacted. A second Tap of the same number replaces the first."""

    number: int
    filter: str = ""
    headers: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    is_open: bool = False
    most: int = MOST_PER_SECOND


class Untap(Struct, tag="untap"):
    number: int


class Hello(Struct, tag="hello"):
    """What the worker has: nothing if it was just started."""

    worker: int
    pid: int
    version: int = 0
    listening: tuple[Listen, ...] = ()  # the sockets it accepts on, as it was told
    slots: dict[str, int] = msgspec.field(default_factory=dict)
    lingering: tuple[int, ...] = ()  # rows that no key names any more and that were not released yet
    states: dict[str, EndpointState] = msgspec.field(default_factory=dict)  # of all endpoints, by the key of their row


class Applied(Struct, tag="applied"):
    """This worker decides by `version` from now on."""

    version: int


class Released(Struct, tag="released"):
    """The worker no longer writes to these statistics rows. `version` is what it decided by when it let go: a row
    that was named again by a later version is not meant."""

    slots: tuple[int, ...]
    version: int


class Event(Struct, tag="event"):
    """Something worth the event log that only the worker saw."""

    name: str
    fields: dict[str, str | int | float]


class Answer(Struct, tag="answer"):
    """What would become of the request of Ask `number`; None: it could not be asked, and `problem` says why."""

    number: int
    decision: Decision | None = None
    problem: str = ""


class Found(Struct, tag="found"):
    """The newest first. The worker has `kept` records in all, of requests that ended `since` (RFC 3339)."""

    number: int
    records: tuple[Record, ...] = ()
    kept: int = 0
    since: str = ""


class Seen(Struct, tag="seen"):
    """Requests that ended since the last Seen of this Tap; `lost` of them were more than may be sent."""

    number: int
    records: tuple[Record, ...] = ()
    lost: int = 0


class Draining(Struct, tag="draining"):
    """It has begun to drain, by Drain or because it was told to end by a signal: it accepts nothing more."""


class Drained(Struct, tag="drained"):
    pass


ToWorker = Listen | Unlisten | Part | Apply | Delta | Drain | ReopenLogs | Ask | Find | Tap | Untap
ToAgent = Hello | Applied | Released | Event | Answer | Found | Seen | Draining | Drained
