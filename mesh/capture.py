"""Capture files: requests that were written down, and what goes into them.

One JSON object a line. The first is a `CaptureStart`, the last a `CaptureEnd`; between them each line is a `Record`, or
says that requests are missing at this place: `{"lost": 12}`. A file without its end was cut off and counts as far as it
goes. A record holds, unredacted, the header fields that rules of the configuration look at, because what happens to a
request follows from those (`looked_at`), and none else, unless they were asked for by name.

Never opens a file: `read_capture` takes the lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from discovery.model import Snapshot, Struct
from discovery.policies import Affinity, KeyKind, RequestKey, RequestPolicies
from mesh.affinity import ENDPOINT, VERSION, cookie_name
from mesh.mirror import MARKER
from mesh.record import Record

FORMAT = 1
# A head may have 60 KiB by default, and JSON can need six characters for a byte.
MAX_LINE = 1024 * 1024

# What is looked at whatever the configuration says: who sent it and with which id, how long its body says it is, loops,
# upgrades, and what decides whether it may be sent again or copied.
ALWAYS = (
    "connection",
    "content-length",
    "idempotency-key",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-envoy-expected-rq-timeout-ms",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    MARKER.decode(),
    "x-request-id",
)


class CaptureError(ValueError):
    """Message: which line, what is wrong with it, and what was expected."""


class CaptureStart(Struct, omit_defaults=False):
    """capture: the version of the format. started: RFC 3339. config_version: of the snapshot in force then; each record
    has its own. headers, cookies: names of the header fields that records have if the requests had them, and of the
    cookies; "*" among the headers: all of them. filter: the expression that records passed, "" for all."""

    capture: int
    started: str = ""
    config_version: int = 0
    headers: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    filter: str = ""


class CaptureEnd(Struct, omit_defaults=False):
    """ended: RFC 3339. count: records in the file. lost: requests that are missing from it."""

    ended: str
    count: int = 0
    lost: int = 0


class _Lost(Struct):
    lost: int


class Capture:
    """A capture that is being read: `start` at once, the records by iterating, once; after that `count` and `lost` are
    what was seen, and `end` is None if the file was cut off. Raises CaptureError at the line that is wrong."""

    def __init__(self, start: CaptureStart, lines: Iterator[bytes]) -> None:
        self.start = start
        self.end: CaptureEnd | None = None
        self.count = 0
        self.lost = 0
        self._lines = lines

    @property
    def is_whole(self) -> bool:
        return self.end is not None

    def __iter__(self) -> Iterator[Record]:
        for number, line in enumerate(self._lines, start=2):
            found = _line(number, line)
            if isinstance(found, Record):
                self.count += 1
                yield found
            elif isinstance(found, _Lost):
                self.lost += found.lost
            elif found is not None:
                if self.count != found.count:
                    raise CaptureError(
                        f"line {number}: the end counts {found.count} records, the file has {self.count}"
                    )
                self.end = found
                break
        for line in self._lines:
            if line.strip():
                raise CaptureError("there are lines after the one that ends the capture")


def read_capture(lines: Iterable[bytes]) -> Capture:
    """Raises CaptureError when the first line is not that of a capture that we can read."""
    found = iter(lines)
    first = next(found, b"")
    expected = 'expected the first line of a capture, {"capture":1,...}'
    try:
        if len(first) > MAX_LINE:
            raise msgspec.ValidationError(f"it is longer than {MAX_LINE} bytes")
        version = _ANY_START.decode(first).capture
    except msgspec.MsgspecError as error:
        raise CaptureError(f"line 1: {expected}: {_words(error)}") from None
    if version != FORMAT:
        raise CaptureError(f"line 1: format {version} of captures is not known, expected {FORMAT}")
    try:
        return Capture(_START.decode(first), found)
    except msgspec.MsgspecError as error:
        raise CaptureError(f"line 1: {_words(error)}") from None


def _line(number: int, line: bytes) -> Record | _Lost | CaptureEnd | None:
    """None: nothing that counts, because it is empty or the last one and half written."""
    if len(line) > MAX_LINE:
        raise CaptureError(f"line {number}: it is longer than {MAX_LINE} bytes")
    if not line.strip():
        return None
    problem = ""
    for kind in (_RECORD, _LOST, _END):
        try:
            return kind.decode(line)
        except msgspec.ValidationError as error:
            problem = problem or _words(error)  # that of a record; the others are tried
        except msgspec.MsgspecError as error:
            if not line.endswith(b"\n"):
                return None
            raise CaptureError(f"line {number}: it is no JSON: {_words(error)}") from None
    raise CaptureError(f"line {number}: it is no record: {problem}")


def _words(error: Exception) -> str:
    text = str(error)
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


class _AnyStart(msgspec.Struct):
    capture: int


_ANY_START = msgspec.json.Decoder(_AnyStart)
_START = msgspec.json.Decoder(CaptureStart)
# One after the other, and each until something in the line is not as it wants it.
_RECORD: msgspec.json.Decoder[Record | _Lost | CaptureEnd] = msgspec.json.Decoder(Record)
_LOST: msgspec.json.Decoder[Record | _Lost | CaptureEnd] = msgspec.json.Decoder(_Lost)
_END: msgspec.json.Decoder[Record | _Lost | CaptureEnd] = msgspec.json.Decoder(CaptureEnd)


# --- what goes into one -------------------------------------------------------------------------------------------


class Looked(NamedTuple):
    """Names of header fields (lower case) and of cookies, sorted."""

    headers: tuple[str, ...]
    cookies: tuple[str, ...]


def looked_at(snapshot: Snapshot) -> Looked:
    """What rules of `snapshot` look at in a request, beside its method, host, path, query and client."""
    headers, cookies = set(ALWAYS), set()

    def key(key: RequestKey | None) -> None:
        if key is not None and key.kind is KeyKind.HEADER:
            headers.add(key.name.lower())
        elif key is not None and key.kind is KeyKind.COOKIE:
            cookies.add(key.name)

    def affinity(affinity: Affinity | None, purpose: str, owner: str) -> None:
        if affinity is not None and affinity.kind is KeyKind.COOKIE:
            cookies.add(cookie_name(affinity, purpose, owner))
        elif affinity is not None:
            key(RequestKey(kind=affinity.kind, name=affinity.name))

    def policies(policies: RequestPolicies) -> None:
        if policies.rate_limit is not None:
            key(policies.rate_limit.key)

    for listener in snapshot.listeners:
        for route in listener.routes:
            headers.update(condition.name.lower() for condition in route.match.headers)
            if route.subset is not None:
                headers.update(name.lower() for name in route.subset.headers.values())
            affinity(route.sticky_split, VERSION, f"route/{route.name}")
            policies(route.filters.policies)
    for service in snapshot.services:
        key(service.balancing.hash_on)
        affinity(service.affinity, ENDPOINT, service.name)
        affinity(service.sticky_split, VERSION, f"service/{service.name}")
        policies(service.policies)
    return Looked(tuple(sorted(headers)), tuple(sorted(cookies)))
