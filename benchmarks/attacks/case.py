"""What a case is. The files in cases/ are data made of these.

A case of a request: the client sends `sends`, and behind it, unless it says otherwise, a second request that is in
order (`AFTER`). Where the first is refused because its end is in doubt, the second must not be answered: it might be
a part of the first. A case of a response: the client sends a plain request, the origin answers `answers`, and a second
request follows on the same connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

HOST: Final = b"Host: a.test\r\n"
AFTER: Final = b"GET /after HTTP/1.1\r\n" + HOST + b"\r\n"
SMUGGLED: Final = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


class Verdict(StrEnum):
    """What became of the message that a case is about."""

    REFUSED = "refused"  # by the proxy: 4xx or 5xx of its own, or the end of the connection
    FORWARDED = "forwarded"  # whole, and well-formed
    CUT = "cut"  # a response whose end the client can tell to be missing
    WAITED = "waited"  # for more bytes, until the client left
    ANSWERED = "answered"  # by the proxy itself: a redirect, say


REFUSED: Final = frozenset({Verdict.REFUSED})
FORWARDED: Final = frozenset({Verdict.FORWARDED})
EITHER: Final = REFUSED | FORWARDED
WAITED: Final = frozenset({Verdict.WAITED})
ANSWERED: Final = frozenset({Verdict.ANSWERED})
CUT: Final = frozenset({Verdict.CUT, Verdict.REFUSED})


class Until(StrEnum):
    """A step of a script that waits."""

    HEAD = "the origin has the head"
    READ = "the proxy has probably read what was sent: a case must be right too where it has not"
    ANSWER = "the client has a response"
    REQUEST = "the origin has the whole request"
    CLOSE = "this side closes"
    RESET = "this side resets"


class Door(StrEnum):
    """The listener that is used."""

    PLAIN = "plain"
    PROXY = "proxy"  # expects a PROXY header


Step = bytes | Until


@dataclass(frozen=True, slots=True)
class Case:
    """`right`: the verdicts that the RFC allows. `statuses`: of a refusal, where the RFC says which; 0 is a connection
    that ended without an answer. `seen`: the requests, as "METHOD /path", that the client clearly sent, in order; the
    origin must see no other by any reading. `forwarded`: the answers that the client gets if it is forwarded.

    What a forwarded message has to be like: `body` (None: not looked at), `targets` (one of them, exactly), `lacks`
    (names that must not be there; `trailer_lacks`: after the body), `has` (names with their values), `last` (names with
    the last member of their lists). `clean_path`: no reading of the path that a server might have may lead into
    /secret, which the proxy denies. `of_response`: the case is about `answers`, what the origin says."""

    id: str
    what: str
    sends: tuple[Step, ...]
    right: frozenset[Verdict]
    source: str
    statuses: frozenset[int] = frozenset()
    seen: tuple[str, ...] = ("POST /attack", "GET /after")
    forwarded: int = 2
    answers: tuple[Step, ...] = ()
    door: Door = Door.PLAIN
    body: bytes | None = None
    targets: tuple[bytes, ...] = ()
    lacks: tuple[bytes, ...] = ()
    trailer_lacks: tuple[bytes, ...] = ()
    has: Mapping[bytes, bytes] = field(default_factory=dict)
    last: Mapping[bytes, bytes] = field(default_factory=dict)
    clean_path: bool = False
    of_response: bool = False
    group: str = ""

    @property
    def sent(self) -> bytes:
        """All bytes of the client, in order."""
        return b"".join(step for step in self.sends if isinstance(step, bytes))


class Table:
    """Collects the cases of one file. `source` is what they all refer to, unless one says otherwise."""

    def __init__(self, group: str, source: str) -> None:
        self.group = group
        self.source = source
        self.cases: list[Case] = []

    def add(self, id: str, what: str, *sends: Step, right: frozenset[Verdict], **more: object) -> None:
        """A case. Ids get the group's name in front."""
        self.cases.append(
            Case(
                id=f"{self.group}/{id}",
                what=what,
                sends=sends,
                right=right,
                group=self.group,
                source=str(more.pop("source", self.source)),
                **more,  # type: ignore[arg-type]
            )
        )

    def request(self, id: str, what: str, *sends: Step, right: frozenset[Verdict] = REFUSED, **more: object) -> None:
        """A request with AFTER behind it. Where it may only be refused and nothing else is said, its end is in doubt,
        and AFTER must not be answered."""
        if "seen" not in more:
            first = _line(next(step for step in sends if isinstance(step, bytes)))
            more["seen"] = (first,) if right == REFUSED else (first, "GET /after")
        self.add(id, what, *sends, AFTER, right=right, **more)

    def response(
        self, id: str, what: str, *answers: Step, right: frozenset[Verdict], to: bytes = b"GET", **more: object
    ) -> None:
        """A response to a plain request; the next one follows when the client has an answer."""
        first = to + b" /attack HTTP/1.1\r\n" + HOST + b"\r\n"
        more.setdefault("seen", (f"{to.decode()} /attack", "GET /after"))
        self.add(id, what, first, Until.ANSWER, AFTER, right=right, answers=answers, of_response=True, **more)


def _line(data: bytes) -> str:
    """ "METHOD /path" of a request as a human reads it."""
    words = data.split(b"\r\n")[0].split(b"\n")[0].split()
    return b" ".join(words[:2]).decode("latin-1")


def post(*fields: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1", method: bytes = b"POST") -> bytes:
    """A request for /attack with a good Host and `fields`, lines without their ends."""
    return (
        method + b" /attack " + version + b"\r\n" + HOST + b"".join(line + b"\r\n" for line in fields) + b"\r\n" + body
    )


def get(*fields: bytes) -> bytes:
    return post(*fields, method=b"GET")


def chunked(body: bytes) -> bytes:
    """A chunked request with `body`, chunk framing and all, as it is."""
    return post(b"Transfer-Encoding: chunked", body=body)
