"""proxy.kernel.emit: what we write of a head that was accepted is read by h11 as what was received.

The first byte says what is written and how: a request for an origin, a response for a client, or a body in chunks with
trailers. Beside it the rule of RFC 9110 section 7.6.1 once more: which fields are of this hop only.
"""

from __future__ import annotations

import re

from fuzz.support import as_h11, exact, expect, h11_request, h11_response
from fuzz.targets import body, request_head, response_head
from proxy.kernel.buffer import Buffer
from proxy.kernel.emit import (
    FRAMING_AS_RECEIVED,
    FRAMING_CHUNKED,
    FRAMING_CLOSE,
    FRAMING_NONE,
    FieldEdits,
    ForwardAs,
    write_chunk,
    write_request_head,
    write_response_head,
    write_trailers,
)
from proxy.kernel.scan import Head, HeadLimits, scan_request, scan_response, scan_trailers

LIMITS = HeadLimits()

SEEDS = (
    *(bytes((kind * 3,)) + seed[1:] for kind, seed in enumerate(request_head.SEEDS)),
    *(bytes((kind * 3 + 1,)) + seed[1:] for kind, seed in enumerate(response_head.SEEDS)),
    b"\2\1X-Sum: 1\r\nContent-Length: 3\r\nCookie: x\r\nConnection: y\r\n\r\nthe body",
    b"\2\x20\r\nthe body of it",
)
WORDS = (
    *request_head.WORDS,
    b"HTTP/1.1 200 OK\r\n",
    b"X-Forwarded-For: 1.2.3.4\r\n",
    b"Connection: x-a, host\r\n",
    b"X-A: 1\r\n",
)

# Of one hop (RFC 9110 section 7.6.1, RFC 9112, RFC 7540 section 3.2.1).
HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"transfer-encoding",
    b"upgrade",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"http2-settings",
}
# Written anew, or taken out because a peer that is not trusted says them.
OURS = {b"host", b"x-request-id", b"traceparent", b"tracestate", b"via", b"content_length", b"transfer_encoding"}
FORGED = re.compile(
    rb"x[-_](forwarded[-_]|envoy[-_]|hivemesh[-_]|real[-_]ip$|scheme$|request[-_]id$)|l5d[-_]|forwarded$"
)
NEVER_REMOVED = {b"authorization"}

FORWARD = ForwardAs()
FORWARD.peer, FORWARD.port, FORWARD.via = b"10.0.0.1", b"8080", b"1.1 fuzz"
FORWARD.request_id, FORWARD.traceparent = b"id", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"
TRUSTED = ForwardAs()
TRUSTED.peer, TRUSTED.via, TRUSTED.trusted, TRUSTED.keep_tracestate = b"10.0.0.1", b"1.1 fuzz", True, True
TRUSTED.request_id, TRUSTED.traceparent, TRUSTED.deadline = FORWARD.request_id, FORWARD.traceparent, 1500
EDITS = FieldEdits((b"x-a", b"x-forwarded-for"), b"X-Added: 1\r\n")
FRAMINGS = (FRAMING_AS_RECEIVED, FRAMING_CHUNKED, FRAMING_CLOSE, FRAMING_NONE)


def check(data: bytes) -> None:
    if not data:
        return
    how, rest = data[0], data[1:]
    (request, response, chunks)[how % 3](how // 3, rest)


def end_to_end(head: Head) -> list[tuple[bytes, bytes]]:
    """The fields that are for whoever is at the end of the way, as they came."""
    fields = as_h11(head.items())
    named = {
        word
        for name, value in fields
        if name == b"connection"
        for word in value.lower().replace(b"\t", b" ").replace(b",", b" ").split(b" ")
    }
    return [
        (name, value)
        for name, value in fields
        if name not in HOP and (name not in named or name in NEVER_REMOVED or name in PROTECTED or FORGED.match(name))
    ]


# What has a meaning for us stays, whatever Connection says.
PROTECTED = {
    b"host",
    b"content-length",
    b"via",
    b"x-request-id",
    b"traceparent",
    b"tracestate",
    b"expect",
    b"trailer",
    b"alt-svc",
    b"user-agent",
    b"content-type",
}


def request(how: int, data: bytes) -> None:
    head = Head()
    if scan_request(exact(data), head, LIMITS) <= 0:
        return
    forward = (FORWARD, TRUSTED)[how & 1]
    edits = EDITS if how & 2 else None
    upgrade = bool(how & 4) and head.upgrade
    out = Buffer(16)
    write_request_head(
        out,
        head,
        b"/other" if how & 8 else None,
        b"other" if how & 16 or not head.raw_host() else None,
        forward,
        edits,
        upgrade,
    )
    written = out.take()
    other = h11_request(written)
    if isinstance(other, str):
        expect(False, "h11 refuses what we write", other, written)
        return
    expect(other.rest == b"", "more is written than a head", written)
    expect(other.method == head.method(), "another method", other.method)
    expect(other.target == (b"/other" if how & 8 else head.target()), "another target", other.target)
    request_head.check_framing(head, other.framing)
    hosts = [value for name, value in other.fields if name == b"host"]
    expect(len(hosts) == 1, "not one host", hosts)
    expect(hosts[0] == (b"other" if how & 16 or not head.raw_host() else head.raw_host()), "another host", hosts)
    dropped = {b"x-a"} if edits is not None else set()
    kept = [pair for pair in end_to_end(head) if pair[0] not in OURS | dropped and not FORGED.match(pair[0])]
    passed = [
        pair
        for pair in other.fields
        if pair[0] not in OURS | HOP and not FORGED.match(pair[0]) and pair != (b"x-added", b"1")
    ]
    expect([pair for pair in kept if pair != (b"x-added", b"1")] == passed, "other fields", kept, passed)
    if not forward.trusted:
        forwarded = [value for name, value in other.fields if name == b"x-forwarded-for"]
        expect(forwarded == ([] if edits is not None else [b"10.0.0.1"]), "a forged address", forwarded)
        ids = [value for name, value in other.fields if re.fullmatch(rb"x[-_]request[-_]id", name)]
        expect(ids == [b"id"], "a forged id", ids)
    options = [value for name, value in other.fields if name == b"connection"]
    expect(options in ([], [b"upgrade"], [b"TE"]), "other options of Connection", options)


def response(how: int, data: bytes) -> None:
    head = Head()
    if scan_response(exact(data), head, LIMITS) <= 0:
        return
    framing = FRAMINGS[how & 3]
    bodyless = head.status < 200 or head.status in (204, 304)
    if bodyless != (framing == FRAMING_NONE) or (framing == FRAMING_AS_RECEIVED and head.content_length < 0):
        return
    if framing in (FRAMING_CHUNKED, FRAMING_CLOSE) and head.content_length >= 0:
        return
    edits = EDITS if how & 4 else None
    upgrade = head.status == 101
    connection = b"close" if framing == FRAMING_CLOSE else None
    out = Buffer(16)
    write_response_head(out, head, edits, framing, connection, upgrade, b"X-Line: 1\r\n" if how & 8 else None)
    written = out.take()
    other = h11_response(written)
    if isinstance(other, str):
        expect(False, "h11 refuses what we write", other, written)
        return
    expect(other.rest == b"", "more is written than a head", written)
    expect(other.status == head.status, "another status", other.status)
    if not bodyless:
        expected = {
            FRAMING_AS_RECEIVED: ("content-length", (head.content_length,)),
            FRAMING_CHUNKED: ("chunked", ()),
            FRAMING_CLOSE: ("http/1.0", ()),
        }[framing]
        expect(other.framing == expected, "another framing", other.framing, expected)
    added = {(b"x-added", b"1"), (b"x-line", b"1")}
    left_out = {b"alt-svc"} | ({b"content-length"} if framing == FRAMING_NONE else set())
    left_out |= {b"trailer"} if framing != FRAMING_CHUNKED else set()
    left_out |= {b"x-a", b"x-forwarded-for"} if edits is not None else set()
    left_out |= {b"content_length", b"transfer_encoding"}
    kept = [pair for pair in end_to_end(head) if pair[0] not in left_out and pair not in added]
    passed = [pair for pair in other.fields if pair[0] not in HOP and pair not in added]
    expect(kept == passed, "other fields", kept, passed)


def chunks(how: int, data: bytes) -> None:
    """The rest: how it is cut, a trailer section, and a body."""
    if not data:
        return
    head = Head()
    size = scan_trailers(exact(data[1:]), head, LIMITS)
    sent = data[1 + max(size, 0) :]
    source = exact(b"before" + sent)
    out = Buffer(16)
    at = 6
    step = 1 + data[0]
    while at < 6 + len(sent):
        write_chunk(out, source, at, min(step, 6 + len(sent) - at))
        at += step
    write_chunk(out, source, 6, 0)
    write_trailers(out, head if size > 0 else None, EDITS if how & 1 else None)
    written = out.take()
    other = body.h11_body(written + b"GET")
    if isinstance(other, str):
        expect(False, "h11 refuses what we write", other, written)
        return
    expect(other.is_done and other.body == sent and other.rest == b"GET", "another body", other, sent)
    names = {name for name, _ in other.trailers}
    expect(
        not names & (HOP | OURS | {b"content-length", b"cookie", b"set-cookie", b"authorization"}),
        "as a trailer",
        names,
    )
    if size <= 0:
        expect(not other.trailers, "trailers out of nothing", other.trailers)
    else:
        expect(set(other.trailers) <= set(as_h11(head.items())), "trailers that did not come", other.trailers)
