"""May a request be sent again after it got no answer, and may it use a connection that might be dying?

RFC 9110 section 9.2.2: a proxy repeats a request on its own account only when doing it twice is the same as doing it
once, or when nothing of it can have been acted on. In short: nothing left for the server - any method; a kept
connection that the server closed just as the request came - idempotent methods; the first byte of an answer - never.
Never counts attempts: a policy for retries (mesh/retry.py) asks `may_retry` first, and adds its own conditions.

An operator may take requests with an Idempotency-Key for idempotent (`keyed`): their server promises to know a second
one (draft-ietf-httpapi-idempotency-key-header).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

# RFC 9110 section 9.2.2. CONNECT is none of them.
IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})

# Seconds that a connection may have been idle to be trusted with a request that cannot be repeated. Servers' keep-alive
# timeouts of less than two seconds are rare, and those are learned.
YOUNG_IDLE = 1.0

# A server that closes after t seconds may be closing now once a connection has idled for long; at half of t it is not.
LEARNED_SHARE = 0.5


class Sent(IntEnum):
    """How much of a request has been handed to the connection."""

    NOTHING = 0
    HEAD = 1  # some or all of the head
    BODY = 2  # some of the body too


class Repeat(NamedTuple):
    """`reason` is one of a fixed set of words, for logs, metrics and tests."""

    allowed: bool
    reason: str


# The server cannot have acted on it: it never got it. With a fresh connection the endpoint is at fault, so it has to
# be another one; with a kept connection only the connection was, so any endpoint will do.
NOTHING_SENT = Repeat(True, "nothing_sent")
# Doing it twice is the same as doing it once.
HARMLESS = Repeat(True, "idempotent")
# The server closed an idle connection and our request crossed its close. Send it on a new connection: another kept one
# may be as stale.
STALE_CONNECTION = Repeat(True, "stale_connection")

RESPONSE_STARTED = Repeat(False, "response_started")
BODY_NOT_KEPT = Repeat(False, "body_not_kept")
NO_ENDPOINT_LEFT = Repeat(False, "no_endpoint_left")
# A fresh connection that breaks says that the server did get the request, and perhaps broke on it.
FRESH_CONNECTION = Repeat(False, "fresh_connection")
# One word per common method; a method of the client's own making must not become a metric's label.
BYTES_SENT = {
    b"POST": Repeat(False, "post_bytes_sent"),
    b"PATCH": Repeat(False, "patch_bytes_sent"),
}
OTHER_BYTES_SENT = Repeat(False, "non_idempotent_bytes_sent")


def is_idempotent(method: bytes) -> bool:
    return method in IDEMPOTENT


def may_repeat(
    method: bytes,
    sent: Sent,
    *,
    reused: bool,
    response_started: bool,
    body_kept: bool,
    endpoint_left: bool,
    keyed: bool = False,
) -> Repeat:
    """May the request be sent again, now that its attempt failed before an answer was complete?

    sent: what went into the failed connection. reused: the connection had served a request before, and was closed or
    reset without a byte of an answer to this one; a time-out is not that. body_kept: every body byte taken from the
    client so far can be given again (true when none was). endpoint_left: a usable endpoint that this request has not
    tried.
    """
    law = may_retry(method, sent, keyed=keyed, response_started=response_started, body_kept=body_kept)
    if not law.allowed:
        return law
    if sent == Sent.NOTHING:
        return NOTHING_SENT if reused or endpoint_left else NO_ENDPOINT_LEFT
    return STALE_CONNECTION if reused else FRESH_CONNECTION


def may_retry(method: bytes, sent: Sent, *, keyed: bool, response_started: bool, body_kept: bool) -> Repeat:
    """May the request be sent again when a policy asks for it? Unlike `may_repeat` it may then meet the same endpoint
    once more, and the attempt may have got an answer; that is as good as the bytes of the request: it was acted on.

    response_started: the first byte of an answer went to the client, interim ones apart.
    """
    if response_started:
        return RESPONSE_STARTED
    if sent != Sent.NOTHING and not (keyed or is_idempotent(method)):
        return BYTES_SENT.get(method, OTHER_BYTES_SENT)
    if not body_kept:
        return BODY_NOT_KEPT
    return NOTHING_SENT if sent == Sent.NOTHING else HARMLESS


def may_use_idle(method_replayable: bool, idle_for: float, learned_timeout: float | None) -> bool:
    """May a request use a pooled connection that has been idle for `idle_for` seconds?

    A request that could be repeated may use any. Another one only a young connection: `learned_timeout` is after how
    long the endpoint was seen to close idle connections, None when it was not seen yet.
    """
    if method_replayable:
        return True
    limit = YOUNG_IDLE if learned_timeout is None else min(YOUNG_IDLE, learned_timeout * LEARNED_SHARE)
    return idle_for < limit
