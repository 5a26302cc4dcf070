"""What a request says of itself, before any route is asked: target, client, request id, trace.

Fills the exchange and answers None, or the failure that ends it. A head that came this far is well-formed; here its
parts are held against each other and against what we believe of the peer. Pure but for the random ids.
"""

from __future__ import annotations

from mesh.forwarding import client_address
from mesh.paths import PathError, TargetForm, normalise, origin, split_port
from proxy.http1 import replies
from proxy.http1.codes import (
    HOST,
    M_CONNECT,
    M_HEAD,
    OLD_BODYLESS,
    TRACEPARENT,
    TRACESTATE,
    UPGRADE,
    VIA,
    X_FORWARDED_FOR,
    X_REQUEST_ID,
)
from proxy.http1.parties import Exchange
from proxy.http1.replies import Failure
from proxy.http1.settings import HttpSettings
from proxy.kernel.emit import continue_trace, continues_trace
from proxy.kernel.entropy import new_request_id
from proxy.kernel.scan import ERRORS, Head, is_authority

# Longest request id that a trusted peer may hand us.
MOST_REQUEST_ID = 128


def malformed(error: int) -> Failure:
    """What bytes are answered with that are no request: `error` is what proxy/kernel/scan found."""
    status, detail = ERRORS[error]
    return Failure(status, "DPE", "http_request_error", detail, True)


def refused_body(head: Head, settings: HttpSettings) -> Failure | None:
    """Why a request that has a body is refused because of what its head says of it."""
    if head.minor == 0 and OLD_BODYLESS >> head.method_id & 1:
        return replies.OLD_BODY
    if settings.body and head.content_length > settings.body:
        return replies.BODY_TOO_LARGE
    return None


def read_request(exchange: Exchange, settings: HttpSettings) -> Failure | None:
    """Everything about a request that needs no configuration of routes."""
    head = exchange.head
    exchange.method = head.method()
    exchange.to_head = head.method_id == M_HEAD
    if head.plain_target and head.method_id != M_CONNECT:
        exchange.path = head.path()
        exchange.query = head.query()
        exchange.host = head.host()
    else:
        failure = read_target(exchange, settings)
        if failure is not None:
            exchange.downstream.closing = True
            identify(exchange, settings)
            return failure
    identify(exchange, settings)
    if head.has(VIA) and is_loop(head, settings.pseudonym):
        return replies.LOOP
    # An HTTP/1.0 client cannot change protocols (RFC 9110 section 7.8).
    if head.upgrade and head.minor and head.has(UPGRADE) and exchange.request_done:
        exchange.upgrade = may_upgrade(head)
    return None


def read_target(exchange: Exchange, settings: HttpSettings) -> Failure | None:
    """A target that is not a plain path: normalise it, or say why not."""
    head = exchange.head
    exchange.host = head.host()
    exchange.path = head.path()
    exchange.query = head.query()
    if head.method_id == M_CONNECT:
        return replies.NO_CONNECT
    try:
        target = origin(head.target(), exchange.method)
    except PathError as error:
        exchange.detail = str(error)
        return replies.BAD_TARGET
    if target.form == TargetForm.ABSOLUTE:
        if not is_authority(target.authority):
            exchange.detail = "the host of the request target is none"
            return replies.BAD_TARGET
        # RFC 9112 section 3.2.2: the target's authority counts; a Host that says otherwise is an attack.
        if head.has(HOST) and target.authority.lower() != head.raw_host().lower():
            return replies.HOST_MISMATCH
        exchange.authority = target.authority
        exchange.host_sent = target.authority
        exchange.host = split_port(target.authority)[0].lower()
    exchange.query = target.query
    exchange.path = target.path
    if target.form != TargetForm.ASTERISK and target.path != b"*":
        try:
            exchange.path = normalise(target.path, settings.escapes, settings.merge_slashes)
        except PathError as error:
            exchange.detail = str(error)
            return replies.BAD_PATH
    exchange.target = exchange.path + b"?" + target.query if target.has_query else exchange.path
    return None


def identify(exchange: Exchange, settings: HttpSettings) -> None:
    """Whose request this is: client address, request id, trace."""
    head = exchange.head
    peer = exchange.downstream.peer
    exchange.client = peer
    if settings.has_trusted and settings.trusted.contains(peer):
        exchange.trusted = True
        exchange.client = client_address(peer, head.get_all(X_FORWARDED_FOR), settings.trusted)
        given = head.get_id(X_REQUEST_ID)
        if given and len(given) <= MOST_REQUEST_ID:
            exchange.request_id = given
    if not exchange.request_id:
        exchange.request_id = new_request_id()
    if head.has(TRACEPARENT):
        before = head.get_all(TRACEPARENT)
        known = before[0] if len(before) == 1 else None
        exchange.traceparent = continue_trace(known)
        exchange.keep_tracestate = head.has(TRACESTATE) and continues_trace(known, exchange.traceparent)
    else:
        exchange.traceparent = continue_trace(None)


def is_loop(head: Head, pseudonym: bytes) -> bool:
    for value in head.get_all(VIA):
        for member in value.split(b","):
            words = member.split()
            if len(words) > 1 and words[1] == pseudonym:
                return True
    return False


def may_upgrade(head: Head) -> bool:
    """h2c would carry requests past our routes; everything else is passed on."""
    return all(
        name.strip().lower() not in (b"h2c", b"h2") for value in head.get_all(UPGRADE) for name in value.split(b",")
    )
