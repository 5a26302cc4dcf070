"""Which lines the access log has.

A filter is a set of conditions, and all that it has must hold; a log with several filters writes what passes one of
them. So "errors, what was slow, and one in a hundred of the rest" is three filters, and "slow errors" is one. Streams
have no status and are not sent again: a filter of nothing but such conditions says nothing of them, and where no filter
says anything of streams, all of them are written.

A sample is drawn by a hash of the request id, so a request that passes several instances is logged by all or by none.
"""

from __future__ import annotations

from discovery.model import LogFilter
from mesh.hashing import hash_bytes, mix, unit_of
from proxy.http1.flags import ANY
from proxy.http1.parties import Exchange
from proxy.streamlog import StreamRecord

MICROS = 1_000_000

# Makes the draw of the sample another one than those that splits and faults make of the same id.
SALT = 0x6C6F_675F_7361_6D70


class LineFilter:
    """A LogFilter, ready to be asked."""

    statuses: tuple[tuple[int, int], ...]  # first and last of each range; () for all
    min_micros: int
    retried: bool
    flags: frozenset[str] | None
    any_flag: bool
    share: float  # 0 to 1
    is_for_streams: bool  # it has a condition that streams can meet

    def __init__(self, policy: LogFilter) -> None:
        statuses = policy.status
        if policy.min_status:
            # Both hold where both are given.
            given = statuses or ((0, policy.min_status + 999),)
            cut = ((max(first, policy.min_status), last) for first, last in given)
            statuses = tuple(span for span in cut if span[0] <= span[1]) or ((1, 0),)
        self.statuses = statuses
        self.min_micros = int(policy.min_duration * MICROS)
        self.retried = policy.retried
        self.flags = frozenset(policy.flags) if policy.flags else None
        self.any_flag = ANY in policy.flags
        self.share = policy.sample_pct / 100.0
        self.is_for_streams = self.min_micros > 0 or self.flags is not None or self.share < 1.0

    def keeps(self, exchange: Exchange) -> bool:
        if self.statuses and not self.has_status(exchange.status):
            return False
        if exchange.finished - exchange.started < self.min_micros:
            return False
        if self.retried and exchange.attempts < 2:
            return False
        if self.flags is not None and not self.has_flag(exchange.flags):
            return False
        return self.share >= 1.0 or self.draws(exchange.request_id)

    def keeps_stream(self, record: StreamRecord) -> bool:
        if record.finished - record.started < self.min_micros:
            return False
        if self.flags is not None and not self.has_flag(record.flags):
            return False
        return self.share >= 1.0 or self.draws(b"%s %d %d" % (record.client, record.client_port, record.started))

    def has_status(self, status: int) -> bool:
        for first, last in self.statuses:  # noqa: SIM110 - compiled, a generator costs more than the loop
            if first <= status <= last:
                return True
        return False

    def has_flag(self, flags: str) -> bool:
        if not flags:
            return False
        return self.any_flag or not self.flags.isdisjoint(flags.split(","))  # type: ignore[union-attr]

    def draws(self, id: bytes) -> bool:
        return unit_of(mix(hash_bytes(id), SALT)) < self.share


def filters_of(conditions: LogFilter, more: tuple[LogFilter, ...]) -> tuple[LineFilter, ...]:
    """The filters of a log: its own conditions, if it has any, and those of its list. () writes everything."""
    own = LogFilter(**{name: getattr(conditions, name) for name in LogFilter.__struct_fields__})
    given = more if own == LogFilter() else (own, *more)
    return tuple(LineFilter(policy) for policy in given)
