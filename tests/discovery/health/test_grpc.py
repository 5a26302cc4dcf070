"""gRPC's health protocol against a server made with h2, and against peers that speak anything else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from checking import checked_against, target
from grpc_origin import Call, serving
from hypothesis import given
from hypothesis import strategies as st

from discovery.checks import CheckProtocol, HealthCheck
from discovery.health.dialogue import CannotAsk
from discovery.health.grpc import GrpcDialogue, decode_response, encode_request
from discovery.health.result import SUCCESS, Outcome, Result

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"p" * 8


def grpc(**more: Any) -> HealthCheck:
    return HealthCheck(**{"protocol": CheckProtocol.GRPC, "timeout": 5.0, **more})


def asked(on_call: Callable[[Call], None], **check: Any) -> Result:
    return checked_against(serving(on_call), grpc(**check))


# --- the two messages -----------------------------------------------------------------------------------------------


def test_the_request_names_the_service() -> None:
    assert encode_request("") == b""
    assert encode_request("shop") == b"\x0a\x04shop"
    assert encode_request("s" * 300) == b"\x0a\xac\x02" + b"s" * 300


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"", 0),
        (b"\x08\x01", 1),
        (b"\x08\x02", 2),
        (b"\x12\x03abc\x08\x01", 1),
        (b"\x08\x02\x08\x01", 1),
        (b"\x11" + b"\0" * 8 + b"\x1d" + b"\0" * 4 + b"\x20\xff\x01\x08\x01", 1),
        (b"\x08", None),
        (b"\x12\x09abc", None),
        (b"\x0b", None),
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", None),
    ],
)
def test_the_response_is_read_as_protocol_buffers_are(message: bytes, status: int | None) -> None:
    assert decode_response(b"\0" + len(message).to_bytes(4, "big") + message) == status


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\0\0", b"\1\0\0\0\2\x08\x01", b"\0\0\0\0\3\x08\x01", b"\0\0\0\0\1\x08\x01"]
)
def test_a_message_that_is_not_whole_is_none(data: bytes) -> None:
    assert decode_response(data) is None


@given(st.binary(max_size=40))
def test_any_bytes_are_a_status_or_none(data: bytes) -> None:
    status = decode_response(b"\0" + len(data).to_bytes(4, "big") + data)
    assert status is None or status >= 0


# --- a call ---------------------------------------------------------------------------------------------------------


def test_the_call_is_what_grpc_servers_expect() -> None:
    seen: list[Call] = []

    def on_call(call: Call) -> None:
        seen.append(call)
        call.answer(b"\x08\x01")

    result = asked(on_call, grpc_service="shop.Cart", host="cart.local", headers={"X-Probe": "1"}, timeout=2.5)
    assert result == SUCCESS
    (call,) = seen
    assert call.message == b"\0\0\0\0\x0b\x0a\x09shop.Cart"
    wanted = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": "cart.local",
        "te": "trailers",
        "content-type": "application/grpc",
        "grpc-timeout": "2500m",
        "x-probe": "1",
    }
    assert wanted.items() <= call.headers.items()


@pytest.mark.parametrize(
    ("on_call", "reason"),
    [
        (lambda call: call.answer(b""), "UNKNOWN"),
        (lambda call: call.answer(b"\x08\x02"), "NOT_SERVING"),
        (lambda call: call.answer(b"\x08\x03"), "SERVICE_UNKNOWN"),
        (lambda call: call.answer(b"\x08\x09"), "serving status 9"),
        (lambda call: call.answer(b"\xff"), "the answer is no HealthCheckResponse"),
        (lambda call: call.answer(b"\x08\x01", "14"), "UNAVAILABLE"),
        (lambda call: call.refuse("5"), "SERVICE_UNKNOWN: the endpoint knows no service 'cart'"),
        (
            lambda call: call.refuse("12", "unknown service"),
            "UNIMPLEMENTED: the endpoint has no grpc.health.v1.Health service",
        ),
        (lambda call: call.refuse("16", "who%20are you%3F"), "UNAUTHENTICATED: who are you?"),
        (lambda call: call.refuse("99"), "grpc-status 99"),
        (lambda call: call.refuse("many"), "grpc-status many"),
        (lambda call: call.refuse(""), "the answer has no grpc-status"),
        (lambda call: call.refuse("", status="502"), "status 502, expected a gRPC answer"),
        (lambda call: call.connection.reset_stream(call.stream, 7), "the call was reset: REFUSED_STREAM"),
        (lambda call: call.connection.close_connection(11), "the connection was ended: ENHANCE_YOUR_CALM"),
    ],
)
def test_a_failure_is_told_in_grpcs_words(on_call: Callable[[Call], None], reason: str) -> None:
    assert asked(on_call, grpc_service="cart") == (Outcome.FAILURE, reason)


def test_a_server_that_does_not_answer() -> None:
    assert asked(lambda _: None, timeout=0.1) == (Outcome.FAILURE, "no answer within 0.1 s")


def test_headers_that_http2_does_not_allow_are_told() -> None:
    with pytest.raises(CannotAsk, match="the headers of the check are not valid"):
        GrpcDialogue(target("10.0.0.1:80", grpc(headers={"TE": "gzip"})))


# --- peers that mean no good ----------------------------------------------------------------------------------------


def spoken(data: bytes, again: bytes = b"", limit: int = 10_000) -> Result:
    """To a peer that says this, and then `again` for as long as anybody listens."""

    async def speaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        for _ in range(limit if again else 0):
            writer.write(again * 50)
            await writer.drain()
        writer.write_eof()
        await reader.read()

    return checked_against(speaks, grpc())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "connection closed without an answer"),
        (SETTINGS, "connection closed without an answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the endpoint does not speak HTTP/2: 'HTTP/1.1 400 Bad Request'"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "the endpoint speaks TLS, expected HTTP/2 without it"),
        (b"SSH-2.0-OpenSSH\r\n" * 3, "the endpoint does not speak HTTP/2: 'SSH-2.0-OpenSSH SSH-2.0-OpenSSH SSH-2...'"),
    ],
)
def test_what_is_no_answer(data: bytes, reason: str) -> None:
    assert spoken(data) == (Outcome.FAILURE, reason)


@pytest.mark.parametrize("frame", [SETTINGS, PING], ids=["settings", "ping"])
def test_a_flood_of_frames_ends_after_16_kib(frame: bytes) -> None:
    assert spoken(SETTINGS, frame) == (Outcome.FAILURE, "no answer in 16 KiB of frames")


def test_headers_without_end_are_cut_off() -> None:
    begin = b"\x00\x00\x00\x01\x00\x00\x00\x00\x01"
    more = b"\x00\x00\x01\x09\x00\x00\x00\x00\x01\x00"
    assert spoken(SETTINGS + begin, more).outcome is Outcome.FAILURE


@given(st.binary(max_size=120), st.sampled_from([b"", SETTINGS]))
def test_garbage_is_a_failure_and_nothing_else(garbage: bytes, start: bytes) -> None:
    machine = GrpcDialogue(target("10.0.0.1:80", grpc()))
    machine.begin()
    for piece in (start + garbage[:50], garbage[50:], b""):
        result = machine.receive(piece)
        if result is not None:
            break
    assert result is not None
    assert result.outcome is Outcome.FAILURE
    assert result.reason.isprintable()
    machine.farewell()
