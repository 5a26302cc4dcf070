"""What a request says of itself: target, client, request id, trace, loops, upgrades."""

from __future__ import annotations

import uuid
from typing import cast

import pytest
from heads import request_head

from discovery.model import EscapePolicy, Settings
from proxy.http1 import replies
from proxy.http1.intake import read_request
from proxy.http1.parties import ClientSide, Exchange, ListenerRuntime
from proxy.http1.replies import Failure
from proxy.http1.settings import HttpSettings

TRUSTING = {"trusted_proxies": ("10.0.0.0/8",)}


def take_in(
    line: str,
    *fields: str,
    peer: bytes = b"192.0.2.1",
    host: str | None = "a.test",
    done: bool = True,
    **settings: object,
) -> tuple[Exchange, Failure | None]:
    """A request line without its version (HTTP/1.1 unless it has one), and what became of it."""
    version = "" if " HTTP/" in line else " HTTP/1.1"
    lines = [line + version, *([f"Host: {host}"] if host is not None else []), *fields, "", ""]
    client = ClientSide()
    client.peer = peer
    client.closing = False
    exchange = Exchange.__new__(Exchange)
    exchange.start(client, cast(ListenerRuntime, None), request_head("\r\n".join(lines).encode()), 1, 1)
    exchange.request_done = done
    return exchange, read_request(exchange, HttpSettings(Settings(**settings)))


def accepted(line: str, *fields: str, **given: object) -> Exchange:
    exchange, failure = take_in(line, *fields, **given)  # type: ignore[arg-type]
    assert failure is None, (failure, exchange.detail)
    return exchange


# --- targets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "path", "query", "sent"),
    [
        # a plain target goes on as it came
        ("/", b"/", b"", None),
        ("/a/b?x=1?y", b"/a/b", b"x=1?y", None),
        ("/a?", b"/a", b"", None),
        # others go on as they were understood
        ("/a/../b?q", b"/b", b"q", b"/b?q"),
        ("/%61//b", b"/a/b", b"", b"/a/b"),
        ("/a/.?", b"/a/", b"", b"/a/?"),
        ("http://a.test/x?y", b"/x", b"y", b"/x?y"),
        ("HTTP://A.Test", b"/", b"", b"/"),
        ("https://a.test/x", b"/x", b"", b"/x"),
        ("http://a.test?q", b"/", b"q", b"/?q"),
    ],
)
def test_targets(target: str, path: bytes, query: bytes, sent: bytes | None) -> None:
    exchange = accepted(f"GET {target}")
    assert (exchange.path, exchange.query, exchange.target) == (path, query, sent)
    assert exchange.host == b"a.test"


def test_a_target_for_the_whole_server() -> None:
    exchange = accepted("OPTIONS *")
    assert exchange.target == b"*"
    _, failure = take_in("GET *")
    assert failure is replies.BAD_TARGET


@pytest.mark.parametrize(
    ("line", "failure"),
    [
        ("CONNECT a.test:80", replies.NO_CONNECT),
        ("CONNECT /x", replies.NO_CONNECT),
        ("GET a.test:80", replies.BAD_TARGET),
        ("GET ftp://a.test/", replies.BAD_TARGET),
        ("GET http://user@a.test/", replies.BAD_TARGET),
        ("GET http:///x", replies.BAD_TARGET),
        ("GET ?x", replies.BAD_TARGET),
        ("GET http://b.test/", replies.HOST_MISMATCH),
        ("GET http://a.test:81/", replies.HOST_MISMATCH),
        ("GET /a%2Fb", replies.BAD_PATH),
        ("GET /a%5cb", replies.BAD_PATH),
        ("GET /a%00b", replies.BAD_PATH),
        ("GET /a%zz", replies.BAD_PATH),
        ("GET /a%", replies.BAD_PATH),
    ],
)
def test_targets_that_are_refused(line: str, failure: Failure) -> None:
    exchange, refused = take_in(line)
    assert refused is failure
    assert exchange.downstream.closing
    # The answer and the log say whose request it was all the same.
    assert exchange.request_id and exchange.client == b"192.0.2.1"


def test_escaped_separators_may_be_kept() -> None:
    exchange = accepted("GET /a%2fb%5Cc", path_escapes=EscapePolicy.KEEP)
    assert exchange.path == b"/a%2Fb%5Cc"
    _, failure = take_in("GET /a%00", path_escapes=EscapePolicy.KEEP)
    assert failure is replies.BAD_PATH


def test_slashes_may_be_kept() -> None:
    assert accepted("GET /a//b", merge_slashes=False).path == b"/a//b"


@pytest.mark.parametrize(("authority", "host"), [("A.test:8080", b"a.test"), ("[2001:DB8::1]:80", b"[2001:db8::1]")])
def test_an_absolute_target_names_the_host(authority: str, host: bytes) -> None:
    """RFC 9112 section 3.2.2; HTTP/1.0 needs no Host beside it."""
    exchange = accepted(f"GET http://{authority}/ HTTP/1.0", host=None)
    assert exchange.host == host
    assert exchange.host_sent == exchange.authority == authority.encode()


# --- who is asking ------------------------------------------------------------------------------------------------


def test_a_stranger_is_who_it_is() -> None:
    exchange = accepted("GET /", "X-Forwarded-For: 203.0.113.9", "X-Request-Id: forged", **TRUSTING)
    assert (exchange.client, exchange.trusted) == (b"192.0.2.1", False)
    assert str(uuid.UUID(exchange.request_id.decode())).encode() == exchange.request_id


def test_a_trusted_peer_says_for_whom_it_asks() -> None:
    fields = ("X-Forwarded-For: 198.51.100.1, 203.0.113.9", "X-Forwarded-For: 10.1.1.1", "X-Request-Id: given")
    exchange = accepted("GET /", *fields, peer=b"10.0.0.1", **TRUSTING)
    assert (exchange.client, exchange.trusted, exchange.request_id) == (b"203.0.113.9", True, b"given")


def test_without_trusted_proxies_nobody_is() -> None:
    exchange = accepted("GET /", "X-Forwarded-For: 203.0.113.9", peer=b"10.0.0.1")
    assert (exchange.client, exchange.trusted) == (b"10.0.0.1", False)


@pytest.mark.parametrize(("size", "kept"), [(128, True), (129, False)])
def test_a_request_id_has_a_limit(size: int, kept: bool) -> None:
    exchange = accepted("GET /", f"X-Request-Id: {'x' * size}", peer=b"10.0.0.1", **TRUSTING)
    assert (exchange.request_id == b"x" * size) == kept


def test_an_empty_request_id_is_none() -> None:
    assert accepted("GET /", "X-Request-Id:", peer=b"10.0.0.1", **TRUSTING).request_id


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("fields", "continued", "state"),
    [
        ([f"traceparent: {TRACE}"], True, False),
        ([f"traceparent: {TRACE}", "tracestate: a=1"], True, True),
        (["traceparent: nonsense", "tracestate: a=1"], False, False),
        # twice is no trace at all (W3C Trace Context 3.2)
        ([f"traceparent: {TRACE}", f"traceparent: {TRACE}", "tracestate: a=1"], False, False),
        (["tracestate: a=1"], False, False),
        ([], False, False),
    ],
)
def test_traces(fields: list[str], continued: bool, state: bool) -> None:
    exchange = accepted("GET /", *fields)
    assert (exchange.traceparent[3:35] == TRACE[3:35].encode()) == continued
    assert exchange.keep_tracestate == state


# --- loops and upgrades -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "loop"),
    [
        (["Via: 1.1 hive"], True),
        (["Via: 1.0 first, 1.1 hive (comment)"], True),
        (["Via: 1.1 first", "Via: HTTP/1.1 hive"], True),
        (["Via: 1.1 hive-2"], False),
        (["Via: 1.1 beehive, 1.1 other"], False),
        (["Via: hive"], False),
        ([], False),
    ],
)
def test_a_request_that_was_here_before(fields: list[str], loop: bool) -> None:
    _, failure = take_in("GET /", *fields, instance="hive")
    assert failure is (replies.LOOP if loop else None)


@pytest.mark.parametrize(
    ("line", "fields", "done", "upgrade"),
    [
        ("GET /", ["Upgrade: websocket", "Connection: Upgrade"], True, True),
        ("GET /", ["Upgrade: websocket", "Connection: keep-alive, upgrade"], True, True),
        ("GET /", ["Upgrade: websocket"], True, False),
        ("GET /", ["Connection: Upgrade"], True, False),
        ("POST /", ["Upgrade: websocket", "Connection: Upgrade"], False, False),
        ("GET /", ["Upgrade: h2c", "Connection: Upgrade"], True, False),
        ("GET /", ["Upgrade: websocket, H2C", "Connection: Upgrade"], True, False),
        ("GET /", ["Upgrade: websocket", "Upgrade: h2", "Connection: Upgrade"], True, False),
        ("GET / HTTP/1.0", ["Upgrade: websocket", "Connection: Upgrade"], True, False),
    ],
)
def test_upgrades(line: str, fields: list[str], done: bool, upgrade: bool) -> None:
    assert accepted(line, *fields, done=done).upgrade == upgrade


def test_methods_and_heads() -> None:
    assert accepted("HEAD /").to_head
    exchange = accepted("PURGE /")
    assert (exchange.method, exchange.to_head) == (b"PURGE", False)
