"""Heads that leave, read back by h11: hop-by-hop fields stay behind, forwarding fields say what we know."""

from __future__ import annotations

import h11
import pytest
from heads import request_head, requests, response_head, responses, scan
from hypothesis import assume, given
from hypothesis import strategies as st

from mesh.forwarding import is_reserved
from proxy.kernel.buffer import Buffer
from proxy.kernel.emit import (
    FRAMING_AS_RECEIVED,
    FRAMING_CHUNKED,
    FRAMING_CLOSE,
    FRAMING_NONE,
    FieldEdits,
    ForwardAs,
    write_request_head,
    write_response_head,
)

Fields = list[tuple[str, str]]

TRACE = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"


def forward_as(trusted: bool = False, **given: bytes | bool | None) -> ForwardAs:
    forward = ForwardAs()
    forward.peer = b"192.0.2.1"
    forward.request_id = b"id-1"
    forward.traceparent = TRACE
    forward.via = b"1.1 hive"
    forward.trusted = trusted
    for name, value in given.items():
        setattr(forward, name, value)
    return forward


def parsed(role: type[h11.SERVER] | type[h11.CLIENT], raw: bytes, method: str = "GET") -> h11.Request | h11.Response:
    machine = h11.Connection(role, max_incomplete_event_size=1024 * 1024)
    if role is h11.CLIENT:
        fields = [("Host", "a"), ("Upgrade", "x"), ("Connection", "upgrade")]
        machine.send(h11.Request(method=method, target="/", headers=fields))
        machine.send(h11.EndOfMessage())
    machine.receive_data(raw)
    event = machine.next_event()
    assert isinstance(event, h11.Request | h11.Response | h11.InformationalResponse), event
    return event


class Sent:
    """A head as it left."""

    def __init__(self, event: h11.Request | h11.Response) -> None:
        self.event = event
        self.fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def names(self) -> set[str]:
        return {name for name, _ in self.fields}


def sent_request(
    raw: bytes,
    forward: ForwardAs | None = None,
    target: bytes | None = None,
    host: bytes | None = None,
    edits: FieldEdits | None = None,
    upgrade: bool = False,
) -> Sent:
    out = Buffer(16)
    write_request_head(out, request_head(raw), target, host, forward or forward_as(), edits, upgrade)
    event = parsed(h11.SERVER, out.take())
    assert isinstance(event, h11.Request)
    return Sent(event)


def get(*lines: str) -> bytes:
    return "".join(line + "\r\n" for line in ("GET /a?b HTTP/1.1", "Host: Shop.test:80", *lines, "")).encode("latin-1")


# --- requests -----------------------------------------------------------------------------------------------------

HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "proxy-authenticate",
    "proxy-authorization", "http2-settings",
}  # fmt: skip


def test_a_plain_request() -> None:
    sent = sent_request(get("Accept: */*", "X-Long: " + "x" * 4000))
    assert (sent.event.method, sent.event.target, sent.event.http_version) == (b"GET", b"/a?b", b"1.1")
    assert sent.fields == [
        ("host", "Shop.test:80"),
        ("accept", "*/*"),
        ("x-long", "x" * 4000),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "Shop.test:80"),
        ("x-request-id", "id-1"),
        ("traceparent", TRACE.decode()),
        ("via", "1.1 hive"),
    ]


def test_names_keep_the_case_they_were_sent_in() -> None:
    out = Buffer()
    write_request_head(out, request_head(get("x-CuStOm: V")), None, None, forward_as(), None, False)
    assert b"\r\nx-CuStOm: V\r\n" in out.take()


def test_target_and_host_may_be_replaced() -> None:
    sent = sent_request(get(), target=b"/other", host=b"inner.test")
    assert (sent.event.target, sent.all("host")) == (b"/other", ["inner.test"])


def test_an_http_1_0_request_without_host_gets_an_empty_one() -> None:
    sent = sent_request(b"GET / HTTP/1.0\r\n\r\n")
    assert sent.event.http_version == b"1.1"
    assert sent.all("host") == [""]
    assert sent.all("x-forwarded-host") == []


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP - {"transfer-encoding", "te"}))
def test_hop_by_hop_fields_stay_behind(name: str) -> None:
    assert name not in sent_request(get(f"{name}: close")).names()


def test_fields_named_by_connection_stay_behind() -> None:
    sent = sent_request(get("X-A: 1", "x-a: 2", "X-B: 3", "Connection: close, X-A", "Connection: other"))
    assert not sent.all("x-a")
    assert sent.all("x-b") == ["3"]
    assert "connection" not in sent.names()


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("Authorization: Basic eA==", "authorization"),
        ("Content-Length: 0", "content-length"),
        ("User-Agent: x", "user-agent"),
        ("Content-Type: a/b", "content-type"),
    ],
)
def test_end_to_end_fields_cannot_be_taken_away_by_naming_them(line: str, name: str) -> None:
    sent = sent_request(get(line, f"Connection: {name}, host"))
    assert sent.all(name) == [line.partition(": ")[2]]
    assert sent.all("host") == ["Shop.test:80"]


@pytest.mark.parametrize("name", ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "via"])
def test_fields_of_ours_cannot_be_taken_away_by_naming_them(name: str) -> None:
    assert sent_request(get(f"Connection: {name}")).all(name)


def test_framing_is_stated_anew() -> None:
    sent = sent_request(get("Transfer-Encoding: chunked", "transfer_encoding: x", "content_length: 7"))
    assert sent.all("transfer-encoding") == ["chunked"]
    assert not {"transfer_encoding", "content_length", "content-length"} & sent.names()
    assert sent_request(get("Content-Length: 0")).all("content-length") == ["0"]


def test_te_is_passed_on_for_trailers_only() -> None:
    sent = sent_request(get("TE: gzip, trailers", "Connection: TE"))
    assert (sent.all("te"), sent.all("connection")) == (["trailers"], ["TE"])
    sent = sent_request(get("TE: gzip", "Connection: TE"))
    assert not {"te", "connection"} & sent.names()


def test_an_upgrade_goes_along_only_when_it_is_said() -> None:
    raw = get("Upgrade: websocket", "Upgrade: other", "Connection: Upgrade", "Sec-WebSocket-Key: x")
    sent = sent_request(raw, upgrade=True)
    assert (sent.all("upgrade"), sent.all("connection")) == (["websocket, other"], ["upgrade"])
    sent = sent_request(raw)
    assert not {"upgrade", "connection"} & sent.names()
    assert sent.all("sec-websocket-key") == ["x"]


CLAIMS = (
    "X-Forwarded-For: 203.0.113.9",
    "X-Forwarded-For: 203.0.113.8",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: public.test",
    "Forwarded: for=203.0.113.9",
    "X-Real-IP: 203.0.113.9",
    "X_Real_Ip: 203.0.113.9",
    "X-Envoy-Max-Retries: 9",
    "l5d-timeout: 1",
    "X_Request_Id: forged",
    "X-Request-Id: given",
)


def test_claims_of_a_stranger_are_replaced() -> None:
    sent = sent_request(get(*CLAIMS))
    assert sent.all("x-forwarded-for") == ["192.0.2.1"]
    assert sent.all("x-forwarded-proto") == ["http"]
    assert sent.all("x-forwarded-host") == ["Shop.test:80"]
    assert sent.all("x-request-id") == ["id-1"]
    assert not {name for name in sent.names() if is_reserved(name.encode())} - {
        "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
    }  # fmt: skip
    assert "x_request_id" not in sent.names()


def test_claims_of_a_trusted_peer_are_kept_and_added_to() -> None:
    sent = sent_request(get(*CLAIMS), forward_as(trusted=True))
    assert sent.all("x-forwarded-for") == ["203.0.113.9, 203.0.113.8, 192.0.2.1"]
    assert sent.all("x-forwarded-proto") == ["https"]
    assert sent.all("x-forwarded-host") == ["public.test"]
    assert sent.all("forwarded") == ["for=203.0.113.9"]
    assert sent.all("x-envoy-max-retries") == ["9"]
    assert sent.all("x-request-id") == ["id-1"]


def test_a_trusted_peer_that_claims_nothing_is_the_client() -> None:
    sent = sent_request(get(), forward_as(trusted=True, scheme=b"https", host=b"other.test"))
    assert sent.all("x-forwarded-for") == ["192.0.2.1"]
    assert sent.all("x-forwarded-proto") == ["https"]
    assert sent.all("x-forwarded-host") == ["other.test"]


def test_the_port_is_ours_unless_a_trusted_peer_says_it() -> None:
    lines = get("X-Forwarded-Port: 443")
    assert sent_request(lines, forward_as(port=b"8080")).all("x-forwarded-port") == ["8080"]
    assert sent_request(lines, forward_as(trusted=True, port=b"8080")).all("x-forwarded-port") == ["443"]
    assert sent_request(get(), forward_as(trusted=True, port=b"8080")).all("x-forwarded-port") == ["8080"]


def test_a_peer_without_an_address_is_not_named() -> None:
    assert not sent_request(get(), forward_as(peer=b"")).all("x-forwarded-for")


def test_via_is_added_to() -> None:
    sent = sent_request(get("Via: 1.0 first, 1.1 second"))
    assert ", ".join(sent.all("via")) == "1.0 first, 1.1 second, 1.1 hive"


@pytest.mark.parametrize("keep", [True, False])
def test_tracestate_goes_along_with_its_trace_only(keep: bool) -> None:
    raw = get("tracestate: a=1", "tracestate: b=2", "traceparent: x")
    sent = sent_request(raw, forward_as(keep_tracestate=keep))
    assert sent.all("tracestate") == (["a=1", "b=2"] if keep else [])
    assert sent.all("traceparent") == [TRACE.decode()]


def test_edits_leave_out_and_add() -> None:
    edits = FieldEdits([b"accept", b"x-a"], b"X-New: 1\r\nX-A: set\r\n")
    sent = sent_request(get("Accept: */*", "X-A: was", "x-A: was", "X-B: stays"), edits=edits)
    assert not sent.all("accept")
    assert sent.all("x-a") == ["set"]
    assert (sent.all("x-b"), sent.all("x-new")) == (["stays"], ["1"])


@pytest.mark.parametrize(
    "name",
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-request-id", "traceparent"],
)
def test_edits_hold_for_fields_of_ours_too(name: str) -> None:
    forward = forward_as(port=b"80")
    removed = sent_request(get(), forward, edits=FieldEdits([name.encode()]))
    assert not removed.all(name)
    replaced = sent_request(get(), forward, edits=FieldEdits([name.encode()], name.encode() + b": mine\r\n"))
    assert replaced.all(name) == ["mine"]


def test_edits_cannot_hide_a_loop() -> None:
    sent = sent_request(get("Via: 1.0 first"), edits=FieldEdits([b"via"]))
    assert sent.all("via") == ["1.1 hive"]


def test_added_fields_are_complete_lines() -> None:
    with pytest.raises(ValueError, match="complete lines"):
        FieldEdits([], b"X: 1")


@given(requests(), st.booleans())
def test_what_is_received_is_passed_on(raw: bytes, trusted: bool) -> None:
    head = request_head(raw)
    out = Buffer(16)
    write_request_head(out, head, None, None, forward_as(trusted=trusted), None, False)
    written = out.take()
    event = parsed(h11.SERVER, written)
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (head.method(), head.target())
    # Read again it is framed as it was.
    again = request_head(written)
    assert (again.content_length, again.chunked) == (head.content_length, head.chunked)
    assert again.raw_host() == head.raw_host()
    named = b",".join(value for name, value in head.items() if name.lower() == b"connection").lower()
    expected = [
        (name.lower(), value)
        for name, value in head.items()
        if is_end_to_end(name.lower(), {option.strip() for option in named.split(b",")}, trusted)
    ]
    ours = {b"host", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id", b"traceparent"}
    passed = [(name.lower(), value) for name, value in again.items() if name.lower() not in ours][: len(expected)]
    assert passed == expected


def is_end_to_end(name: bytes, named: set[bytes], trusted: bool) -> bool:
    if name.decode("latin-1") in HOP_BY_HOP or name in (b"host", b"tracestate", b"traceparent", b"x-request-id"):
        return False
    plain = name.replace(b"_", b"-")
    if plain in (b"content-length", b"transfer-encoding") and plain != name:
        return False
    reserved = is_reserved(name) or plain.startswith(b"x-forwarded-") or (plain == b"x-request-id")
    if name in (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host") or (reserved and not trusted):
        return False
    return (
        name not in named or reserved or name in (b"authorization", b"via", b"user-agent", b"content-type", b"expect")
    )


# --- responses ----------------------------------------------------------------------------------------------------


def sent_response(
    raw: bytes,
    framing: int = FRAMING_AS_RECEIVED,
    edits: FieldEdits | None = None,
    connection: bytes | None = None,
    upgrade: bool = False,
) -> Sent:
    out = Buffer(16)
    write_response_head(out, response_head(raw), edits, framing, connection, upgrade)
    event = parsed(h11.CLIENT, out.take())
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    return Sent(event)


def ok(*lines: str) -> bytes:
    return "".join(line + "\r\n" for line in ("HTTP/1.0 207 Multi Status", *lines, "")).encode()


def test_a_response_speaks_our_version_and_keeps_its_own_words() -> None:
    sent = sent_response(ok("Server: x", "Set-Cookie: a", "Set-Cookie: b", "Content-Length: 5"))
    assert (sent.event.http_version, sent.event.status_code, sent.event.reason) == (b"1.1", 207, b"Multi Status")
    assert sent.fields == [("server", "x"), ("set-cookie", "a"), ("set-cookie", "b"), ("content-length", "5")]


def test_hop_by_hop_fields_of_a_response_stay_behind() -> None:
    lines = [f"{name}: x" for name in sorted(HOP_BY_HOP - {"transfer-encoding"})]
    sent = sent_response(ok(*lines, "Alt-Svc: h2=x", "X-Named: 1", "Connection: X-Named", "Content-Length: 0"))
    assert sent.fields == [("content-length", "0")]


def test_how_a_response_is_framed() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    assert sent_response(chunked, FRAMING_CHUNKED).fields == [("trailer", "X-Sum"), ("transfer-encoding", "chunked")]
    # Towards a client that cannot read chunks there are no trailers either.
    assert sent_response(chunked, FRAMING_CLOSE, connection=b"close").fields == [("connection", "close")]
    assert sent_response(ok("Content-Length: 0"), FRAMING_NONE).fields == []
    assert sent_response(ok("Content-Length: 5"), FRAMING_AS_RECEIVED).fields == [("content-length", "5")]


def test_upgrade_goes_to_the_client_when_it_is_said() -> None:
    raw = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    assert sent_response(raw, upgrade=True).fields == [("upgrade", "websocket"), ("connection", "upgrade")]
    raw = b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n"
    assert sent_response(raw, upgrade=True, connection=b"close").all("connection") == ["close"]


def test_edits_of_a_response() -> None:
    sent = sent_response(ok("Server: x", "X-A: 1", "Content-Length: 0"), edits=FieldEdits([b"server"], b"X-B: 2\r\n"))
    assert sent.fields == [("x-a", "1"), ("content-length", "0"), ("x-b", "2")]


@given(responses())
def test_any_response_can_be_read_again(raw: bytes) -> None:
    size, head = scan("response", raw)
    assume(size == len(raw))
    out = Buffer(16)
    write_response_head(out, head, None, FRAMING_CHUNKED if head.chunked else FRAMING_AS_RECEIVED, None, False)
    again = response_head(out.take())
    assert (again.status, again.reason, again.minor) == (head.status, head.reason, 1)
    assert (again.content_length, again.chunked) == (head.content_length, head.chunked)
    assert not {name.lower().decode("latin-1") for name, _ in again.items()} & (HOP_BY_HOP - {"transfer-encoding"})
