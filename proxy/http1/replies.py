"""What we answer ourselves: one table of situations, and how an answer looks.

Status codes and flags follow what users of other proxies know (docs/protocol.md lists the differences). Every answer
says who made it and why: `Proxy-Status` (RFC 9209) for programs, and for a failure a body of problem+json (RFC 9457) or
plain text, whichever the client accepts. Pure: bytes out, nothing is sent here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import msgspec

from proxy.kernel.emit import FieldEdits


@dataclass(frozen=True, slots=True)
class Failure:
    """A situation in which we answer instead of an upstream.

    flag: response flag for the access log. error: RFC 9209 section 2.3 error type, "" for none. close: whether the
    client connection cannot be used afterwards.
    """

    status: int
    flag: str
    error: str
    detail: str
    close: bool = False


NO_ROUTE: Final = Failure(404, "NR", "destination_not_found", "no route matches this request")
BAD_BACKEND: Final = Failure(500, "NC", "proxy_configuration_error", "the route names no service that exists")
NO_ENDPOINT: Final = Failure(503, "UH", "destination_unavailable", "the service has no usable endpoint")
BREAKER_OPEN: Final = Failure(
    503, "UO", "destination_unavailable", "the circuit breaker of every healthy endpoint is open"
)
CONNECT_REFUSED: Final = Failure(502, "UF", "connection_refused", "the endpoint could not be connected to")
CONNECT_UNROUTABLE: Final = Failure(
    502, "UF", "destination_ip_unroutable", "no network route leads to the endpoint's address"
)
CONNECT_EXHAUSTED: Final = Failure(
    503, "UO", "connection_limit_reached", "the proxy has run out of descriptors, ports or memory for connections"
)
CONNECT_TIMEOUT: Final = Failure(504, "UF", "connection_timeout", "connecting to the endpoint took too long")
UPSTREAM_CLOSED: Final = Failure(502, "UC", "connection_terminated", "the endpoint closed before it answered")
UPSTREAM_RESET: Final = Failure(502, "UR", "connection_terminated", "the endpoint reset the connection")
UPSTREAM_PROTOCOL: Final = Failure(502, "UPE", "http_protocol_error", "the endpoint's answer is not HTTP/1.1")
RESPONSE_TIMEOUT: Final = Failure(504, "UT", "http_response_timeout", "the endpoint did not answer in time")
REQUEST_TIMEOUT: Final = Failure(504, "UT", "http_response_timeout", "the request took longer than its route allows")
RETRIES_EXHAUSTED: Final = Failure(
    503, "URX", "connection_limit_reached", "the attempt failed, and the service has as many retries as it may"
)
OVERFLOW: Final = Failure(503, "UO", "connection_limit_reached", "too many requests wait for a connection")
TOO_MANY_REQUESTS: Final = Failure(503, "UO", "connection_limit_reached", "the service has as many requests as it may")
PENDING_TIMEOUT: Final = Failure(503, "UO", "connection_limit_reached", "no connection became free in time")
CONNECTIONS: Final = Failure(503, "UO", "connection_limit_reached", "limits.connections is reached", close=True)
SLOW_HEAD: Final = Failure(408, "SI", "http_request_error", "the request head took too long", close=True)
SLOW_BODY: Final = Failure(408, "SI", "http_request_error", "the request body stopped coming", close=True)
SLOW_READER: Final = Failure(408, "SI", "http_request_error", "the client stopped reading", close=True)
BODY_TOO_LARGE: Final = Failure(413, "DPE", "http_request_error", "the body is larger than limits.body", close=True)
BODY_OVER_POLICY: Final = Failure(413, "DPE", "http_request_error", "the body is larger than max_body", close=True)
ACCESS_DENIED: Final = Failure(403, "UAEX", "http_request_denied", "the client is not allowed here")
RATE_LIMITED: Final = Failure(429, "RL", "http_request_denied", "too many requests")
TOO_MANY_AT_ONCE: Final = Failure(503, "UO", "connection_limit_reached", "max_concurrent is reached")
OLD_BODY: Final = Failure(
    413, "DPE", "http_request_error", "an HTTP/1.0 request of this method has no body", close=True
)
BAD_PATH: Final = Failure(400, "DPE", "http_request_error", "the path is not acceptable", close=True)
BAD_TARGET: Final = Failure(400, "DPE", "http_request_error", "the request target is not acceptable", close=True)
HOST_MISMATCH: Final = Failure(400, "DPE", "http_request_error", "Host differs from the request target", close=True)
NO_CONNECT: Final = Failure(405, "DPE", "http_request_denied", "CONNECT is not offered", close=True)
LOOP: Final = Failure(508, "", "proxy_loop_detected", "the request has been here before")
INTERNAL: Final = Failure(500, "", "proxy_internal_error", "the proxy failed at this request", close=True)
DRAINING: Final = Failure(503, "dr", "proxy_internal_error", "the proxy is shutting down", close=True)

PLAIN: Final = b"text/plain; charset=utf-8"
PROBLEM: Final = b"application/problem+json"

# An identifier is written as it is where it is a token of structured fields (RFC 9651 section 3.3.4), else as a string.
TOKEN: Final = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")


@dataclass(frozen=True, slots=True)
class About:
    """What an answer of ours says beside its status.

    name: ours, as in Via. detail: why, in words. flags: of the access log, separated by commas. request_id: b"" for
    none. attempts: connections to endpoints that were begun. next_hop: address of the endpoint that had the last one.
    received_status: what it answered, if the client does not get that; 0 for nothing.
    """

    name: str
    detail: str = ""
    flags: str = ""
    request_id: bytes = b""
    attempts: int = 0
    next_hop: str = ""
    received_status: int = 0


def reason(status: int) -> str:
    """The registered reason phrase, or a neutral word for a code that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def wants_problem(accept: bytes | None) -> bool:
    """Whether the answer is problem+json: only for a client that lists JSON. Browsers and curl get plain text."""
    return accept is not None and b"json" in accept.lower()


def quoted(text: str) -> str:
    """A string of RFC 9651 section 3.3.3: printable ASCII; what peers sent must not end the field early."""
    printable = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return '"' + printable.replace("\\", "\\\\").replace('"', '\\"') + '"'


def proxy_status(about: About, error: str = "") -> bytes:
    """One member of Proxy-Status. The parameters that RFC 9209 does not have begin with our name, as it asks."""
    parts = [about.name if TOKEN.fullmatch(about.name) else quoted(about.name)]
    if error:
        parts.append(f"error={error}")
    if about.next_hop:
        parts.append(f"next-hop={quoted(about.next_hop)}")
    if about.received_status:
        parts.append(f"received-status={about.received_status}")
    if about.detail:
        parts.append(f"details={quoted(about.detail)}")
    if about.flags:
        parts.append(f"hivemesh-flags={quoted(about.flags)}")
    if about.attempts:
        parts.append(f"hivemesh-attempts={about.attempts}")
    return "; ".join(parts).encode("ascii")


def signed(fields: list[tuple[bytes, bytes]], about: About, error: str = "") -> list[tuple[bytes, bytes]]:
    """`fields` with those by which an answer tells whose it is and which request it is for, unless they are there."""
    given = {name.lower() for name, _ in fields}
    own = [(b"Proxy-Status", proxy_status(about, error))]
    if about.request_id:
        own.append((b"X-Request-Id", about.request_id))
    return fields + [(name, value) for name, value in own if name.lower() not in given]


def render_failure(failure: Failure, about: About, accept: bytes | None) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Fields (without framing) and body of a failure's answer. Its own words count where `about` has no detail."""
    text = about.detail or failure.detail
    if not about.detail:
        about = replace(about, detail=text)
    fields = signed([], about, failure.error)
    if failure.status == 405:
        fields.append((b"Allow", b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, TRACE"))
    if failure.flag in ("UO", "URX"):
        # Peers that know Envoy's word do not repeat a request that has been refused for load.
        fields.append((b"x-envoy-overloaded", b"true"))
    title = reason(failure.status)
    if wants_problem(accept):
        problem: dict[str, str | int] = {"title": title, "status": failure.status, "detail": text}
        if about.flags:
            problem["flags"] = about.flags
        if about.request_id:
            problem["request_id"] = about.request_id.decode("latin-1")
        if about.attempts > 1:
            problem["attempts"] = about.attempts
        fields.insert(0, (b"Content-Type", PROBLEM))
        return fields, msgspec.json.encode(problem) + b"\n"
    fields.insert(0, (b"Content-Type", PLAIN))
    line = f"{failure.status} {title}: {text}"
    if about.flags:
        line += f" ({about.flags})"
    body = line.encode() + b"\n"
    if about.request_id:
        # Whoever reports the page has the id then; it is the one of the access log.
        body += b"request " + about.request_id
        if about.attempts > 1:
            body += b", %d attempts" % about.attempts
        body += b"\n"
    return fields, body


def render_answer(
    status: int,
    fields: list[tuple[bytes, bytes]],
    body: bytes,
    to_head: bool,
    connection: bytes,
    edits: FieldEdits | None,
    date: bytes | None = None,
) -> bytes:
    """A complete answer. connection: value of Connection, b"" for none. edits: what the route does to responses. date:
    value of Date; None is now."""
    dropped = edits.drop if edits is not None else ()
    extra = edits.append if edits is not None else b""
    lines = [f"HTTP/1.1 {status} {reason(status)}\r\n".encode()]
    lines.extend(name + b": " + value + b"\r\n" for name, value in fields if name.lower() not in dropped)
    lines.append(b"Date: " + (formatdate(usegmt=True).encode() if date is None else date) + b"\r\n")
    bodiless = status in (204, 304)
    if not bodiless:
        lines.append(b"Content-Length: %d\r\n" % len(body))
    if connection:
        lines.append(b"Connection: " + connection + b"\r\n")
    lines.append(extra + b"\r\n")
    if not to_head and not bodiless:
        lines.append(body)
    return b"".join(lines)
