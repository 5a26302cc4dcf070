"""gRPC: one call of grpc.health.v1.Health/Check over HTTP/2. The machine below is h2's.

Cleartext is with prior knowledge. The two messages are small enough to be written by hand:

    HealthCheckRequest  { string service = 1; }
    HealthCheckResponse { enum ServingStatus { UNKNOWN 0, SERVING 1, NOT_SERVING 2, SERVICE_UNKNOWN 3 } status = 1; }

Source: grpc/health/v1/health.proto, gRPC over HTTP/2 (PROTOCOL-HTTP2.md), Protocol Buffers encoding.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from discovery.health.dialogue import CannotAsk
from discovery.health.result import SUCCESS, TLS_RECORDS, Result, failure, quoted
from discovery.health.target import Target

METHOD: Final = "/grpc.health.v1.Health/Check"
SERVING: Final = 1
_SERVING_STATUS: Final = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")

# An answer has some hundred bytes. All frames together may have this many, so floods of small ones end soon.
MAX_RECEIVED: Final = 16 * 1024

NOT_FOUND: Final = 5
UNIMPLEMENTED: Final = 12
_STATUS_NAMES: Final = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)

_SETTINGS_FRAME = 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class GrpcDialogue:
    def __init__(self, target: Target) -> None:
        self._service = target.check.grpc_service
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._received = 0
        self._first = b""  # as much as tells whether this is HTTP/2
        self._status = ""
        self._grpc_status = ""
        self._grpc_message = ""
        self._message = bytearray()
        self._request = self._ask(target)

    @property
    def awaits(self) -> str:
        return "answer"

    def begin(self) -> bytes:
        return self._request

    def receive(self, data: bytes) -> Result | None:
        if not data:
            return failure("connection closed without an answer")
        self._received += len(data)
        if len(self._first) < 4 and (result := self._opening(data)) is not None:
            return result
        try:
            for event in self._connection.receive_data(data):
                if (result := self._on_event(event)) is not None:
                    return result
        except h2.exceptions.ProtocolError as problem:
            return failure(f"malformed answer: {quoted(str(problem) or type(problem).__name__)}")
        if self._received > MAX_RECEIVED:
            return failure(f"no answer in {MAX_RECEIVED // 1024} KiB of frames")
        return None

    def _opening(self, data: bytes) -> Result | None:
        """A server's first frame is SETTINGS (RFC 9113 section 3.4); the type is in the fourth byte. h2 would take the
        first three of anything else for a length, and wait for so much."""
        self._first += data[: 4 - len(self._first)]
        if self._first.startswith(TLS_RECORDS):
            return failure("the endpoint speaks TLS, expected HTTP/2 without it")
        if len(self._first) == 4 and self._first[3] != _SETTINGS_FRAME:
            return failure(f"the endpoint does not speak HTTP/2: '{quoted(data, 40)}'")
        return None

    def to_send(self) -> bytes:
        return self._connection.data_to_send()

    def farewell(self) -> bytes:
        try:
            self._connection.close_connection()
        except h2.exceptions.ProtocolError:
            return b""
        return self._connection.data_to_send()

    def _ask(self, target: Target) -> bytes:
        self._connection.local_settings.enable_push = 0
        self._connection.initiate_connection()
        check = target.check
        headers = [
            (":method", "POST"),
            (":scheme", "https" if check.tls else "http"),
            (":path", METHOD),
            (":authority", target.host),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "hivemesh-health"),
            ("grpc-timeout", f"{max(1, int(check.timeout * 1000))}m"),
        ]
        headers += [(name.lower(), value) for name, value in check.headers.items()]
        try:
            self._connection.send_headers(1, headers)
        except h2.exceptions.ProtocolError as problem:
            raise CannotAsk(f"the headers of the check are not valid: {problem}") from None
        message = encode_request(self._service)
        self._connection.send_data(1, b"\0" + len(message).to_bytes(4, "big") + message, end_stream=True)
        return self._connection.data_to_send()

    def _on_event(self, event: h2.events.Event) -> Result | None:
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            self._on_headers(event.headers or ())
        elif isinstance(event, h2.events.DataReceived):
            self._message += event.data or b""
        elif isinstance(event, h2.events.StreamEnded):
            return self._verdict()
        elif isinstance(event, h2.events.StreamReset):
            return failure(f"the call was reset: {_error_name(event.error_code)}")
        elif isinstance(event, h2.events.ConnectionTerminated):
            return failure(f"the connection was ended: {_error_name(event.error_code)}")
        return None

    def _on_headers(self, headers: Iterable[tuple[bytes | str, bytes | str]]) -> None:
        for name, value in headers:
            text = quoted(value)
            match name:
                case b":status" | ":status":
                    self._status = text
                case b"grpc-status" | "grpc-status":
                    self._grpc_status = text
                case b"grpc-message" | "grpc-message":
                    self._grpc_message = quoted(unquote(text))

    def _verdict(self) -> Result:
        if self._status != "200":
            return failure(f"status {self._status}, expected a gRPC answer")
        if not self._grpc_status:
            return failure("the answer has no grpc-status")
        if self._grpc_status != "0":
            return failure(self._refusal())
        status = decode_response(bytes(self._message))
        if status is None:
            return failure("the answer is no HealthCheckResponse")
        if status == SERVING:
            return SUCCESS
        return failure(_SERVING_STATUS[status] if status < len(_SERVING_STATUS) else f"serving status {status}")

    def _refusal(self) -> str:
        number = int(self._grpc_status) if self._grpc_status.isascii() and self._grpc_status.isdigit() else -1
        if number == UNIMPLEMENTED:
            return "UNIMPLEMENTED: the endpoint has no grpc.health.v1.Health service"
        if number == NOT_FOUND:
            return f"SERVICE_UNKNOWN: the endpoint knows no service '{quoted(self._service, 40)}'"
        name = _STATUS_NAMES[number] if 0 <= number < len(_STATUS_NAMES) else f"grpc-status {self._grpc_status}"
        return f"{name}: {self._grpc_message}" if self._grpc_message else name


def encode_request(service: str) -> bytes:
    text = service.encode()
    return b"\x0a" + _varint(len(text)) + text if text else b""


def decode_response(data: bytes) -> int | None:
    """The status in a length-prefixed message; None: it is none, is compressed (nobody asked for that) or cut off."""
    if len(data) < 5 or data[0] or int.from_bytes(data[1:5], "big") != len(data) - 5:
        return None
    status, at = 0, 5  # a field that is 0 is not written
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _read_varint(data, at)
            if key >> 3 == 1:
                status = value
        elif kind == _BYTES:
            length, at = _read_varint(data, at)
            at += length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            return None
    return status if at == len(data) else None


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number and where it ends; beyond the data if it does not."""
    number = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
    return 0, len(data) + 1


def _error_name(code: h2.errors.ErrorCodes | int | None) -> str:
    return code.name if isinstance(code, h2.errors.ErrorCodes) else f"error {code}"
