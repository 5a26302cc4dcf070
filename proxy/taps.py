"""The taps of a worker: requests that end are shown to whoever asked for them.

A request becomes a `Record` once, whatever the number of taps; each tap hides what it may not show, looks at it with
its filter, and collects what passes. Batches leave every `PERIOD` or when they are full, while the channel to the agent
has room. What is more than a tap may take, or does not fit, is counted as lost: traffic never waits for whoever looks
on.

There is one of these objects while there is a tap. Without one, a request pays for the question whether there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from mesh import expression
from mesh.cookies import cookie_values
from mesh.record import Record
from mesh.redaction import Redaction, redacted_path
from proxy.control.messages import Seen, Tap
from proxy.http1.parties import Exchange
from proxy.http1.records import Kept, record_of, text

PERIOD = 0.05  # seconds that a record waits for others at most
MOST_RECORDS = 64  # of a batch
MOST_BYTES = 256 * 1024  # of texts that a client chooses, in a batch
RECORD_BYTES = 512  # what a record has besides, about
MICROS = 1_000_000

ALL = "*"
COOKIE = "cookie"

Headers = tuple[tuple[str, str], ...]


class _Tap:
    """One tap with what it has collected."""

    def __init__(self, wanted: Tap) -> None:
        """Raises ExpressionError."""
        self.wanted = wanted
        self.filter = expression.compile(wanted.filter)
        self.names = frozenset((*wanted.headers, *self.filter.headers))
        self.takes_headers = bool(self.names or wanted.cookies)
        self.second = -1  # the one of which `taken` counts
        self.taken = 0
        self.records: list[Record] = []
        self.size = 0
        self.lost = 0

    def may_take(self, now: int) -> bool:
        """Count one more request at `now` (microseconds), if there may be."""
        if now // MICROS != self.second:
            self.second = now // MICROS
            self.taken = 0
        if self.taken >= self.wanted.most:
            self.lost += 1
            return False
        self.taken += 1
        return True

    def of(self, fields: Headers) -> Headers:
        """Those that come along."""
        if ALL in self.names:
            return fields
        return tuple(
            (name, value if name in self.names else self.cookies(value))
            for name, value in fields
            if name in self.names or (name == COOKIE and self.wanted.cookies)
        )

    def cookies(self, field: str) -> str:
        """A Cookie field with only those that were asked for."""
        whole = field.encode("latin-1")
        found = [
            f"{name}={text(value)}" for name in self.wanted.cookies for value in cookie_values(whole, name.encode())
        ]
        return "; ".join(found)


class Taps:
    """worker: its number. wall_offset: from the monotonic to the wall clock, microseconds. version_at: the version that
    was in force at a moment (microseconds of the monotonic clock). secret: the instance's. send: gives a message to
    the agent, or says that there is no room for it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        worker: int,
        wall_offset: int,
        version_at: Callable[[int], int],
        secret: str,
        send: Callable[[Seen], bool],
    ) -> None:
        self._loop = loop
        self._worker = worker
        self._wall_offset = wall_offset
        self._version_at = version_at
        self._redaction = Redaction(secret)
        self._send = send
        self._taps: dict[int, _Tap] = {}
        self._kept = Kept()
        self._timer: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        return bool(self._taps)

    def put(self, wanted: Tap) -> None:
        """From now on. Seen without anything tells that it has begun. Raises ExpressionError."""
        self._taps[wanted.number] = _Tap(wanted)
        self._send(Seen(number=wanted.number))

    def drop(self, number: int) -> None:
        """What it has collected is gone."""
        self._taps.pop(number, None)

    def close(self) -> None:
        self._taps.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def saw(self, exchange: Exchange) -> None:
        """An exchange ends; it has its head and all its times still."""
        now = exchange.finished
        # Without a filter, what is too much is known before anything is made of it.
        taking = [tap for tap in self._taps.values() if not tap.filter.is_all or tap.may_take(now)]
        if taking:
            path = text(exchange.head.target())
            fields = _fields(exchange) if any(tap.takes_headers for tap in taking) else ()
            self._kept.take(exchange, self._version_at(exchange.received))
            record = record_of(self._kept, self._wall_offset, self._worker)
            for tap in taking:
                self._offer(tap, record, path, fields, now)
        if self._timer is None:
            self._timer = self._loop.call_later(PERIOD, self._on_time)

    def _offer(self, tap: _Tap, record: Record, path: str, fields: Headers, now: int) -> None:
        headers = tap.of(fields) if tap.takes_headers else ()
        if not tap.wanted.is_open:
            # A filter sees what is shown: otherwise what is hidden could be found out by asking.
            path = redacted_path(path)
            headers = tuple((name, self._redaction.header(name, value)) for name, value in headers)
        shown = msgspec.structs.replace(record, path=path, headers=headers)
        if not tap.filter.is_all and not (tap.filter.matches(shown) and tap.may_take(now)):
            return
        tap.records.append(shown)
        tap.size += RECORD_BYTES + len(path) + sum(len(name) + len(value) for name, value in headers)
        if len(tap.records) >= MOST_RECORDS or tap.size >= MOST_BYTES:
            self._flush(tap)

    def flush(self) -> None:
        for tap in self._taps.values():
            if tap.records or tap.lost:
                self._flush(tap)

    def _on_time(self) -> None:
        self._timer = None
        self.flush()
        if any(tap.lost for tap in self._taps.values()):  # to be told when there is room
            self._timer = self._loop.call_later(PERIOD, self._on_time)

    def _flush(self, tap: _Tap) -> None:
        """Records that do not fit are lost; how many were is kept until it can be told."""
        if self._send(Seen(number=tap.wanted.number, records=tuple(tap.records), lost=tap.lost)):
            tap.lost = 0
        else:
            tap.lost += len(tap.records)
        tap.records.clear()
        tap.size = 0


def _fields(exchange: Exchange) -> Headers:
    return tuple((text(name).lower(), text(value)) for name, value in exchange.head.items())
