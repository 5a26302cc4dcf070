"""HTTP: one request, and what its answer says. The machine is h11's, which answers that come complete and as usual do
not need (plain.py); here is what we ask and what we accept.

Healthy is an answer whose status is expected, that is complete or at least 64 KiB long, and that contains
`expected_body` if there is one. Redirects are answers like others and are not followed. The connection serves one
request (`Connection: close`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import h11

from discovery.checks import HealthCheck
from discovery.health import plain
from discovery.health.dialogue import CannotAsk
from discovery.health.result import SUCCESS, TLS_RECORDS, Result, failure, quoted
from discovery.health.target import Target

MAX_HEAD: Final = 16 * 1024
MAX_BODY: Final = 64 * 1024  # bytes looked at
MAX_INTERIM: Final = 16  # 1xx answers, as limits.interim_responses
# Chunks of one byte would make 64 KiB of body a second of work.
MAX_PIECES: Final = 2048
MAX_KEPT: Final = 16_384  # requests, of a few hundred bytes, which are the same with each check

_WITH_BODY: Final = ("POST", "PUT", "PATCH")
_UNPLAIN: Final = ("HEAD", "CONNECT")  # the answer has no body whatever it says

Headers = tuple[tuple[str, str], ...]


class HttpDialogue:
    def __init__(self, target: Target) -> None:
        self._check = target.check
        self._host = target.host
        self._connection: h11.Connection | None = None  # until an answer needs it
        self._first = b""  # as much as tells whether this is HTTP
        self._is_http = False
        self._status = 0
        self._interim = 0
        self._body = bytearray()
        self._pieces = 0
        self._request = request(self._check.method, self._check.path, request_headers(self._check, target.host))

    @property
    def awaits(self) -> str:
        return "complete answer" if self._status else "answer"

    def begin(self) -> bytes:
        return self._request

    def receive(self, data: bytes) -> Result | None:
        if self._connection is None:
            if not self._first and (result := self._plain(data)) is not None:
                return result
            self._connection = asked(self._check, self._host)
        if not self._is_http and (result := self._opening(data)) is not None:
            return result
        try:
            self._connection.receive_data(data)
            while True:
                event = self._connection.next_event()
                if event is h11.NEED_DATA:
                    return None
                if (result := self._on_event(event)) is not None:
                    return result
        except h11.RemoteProtocolError as problem:
            return self._malformed(problem, is_end=not data)

    def to_send(self) -> bytes:
        return b""

    def farewell(self) -> bytes:
        return b""

    def _plain(self, data: bytes) -> Result | None:
        answer = None if self._check.method in _UNPLAIN else plain.read(data, MAX_BODY - 1)
        if answer is None:
            return None
        self._status = answer.status
        if not is_expected(self._check, self._status):
            return self._unexpected()
        self._body += answer.body
        return self._at_end("the body")

    def _opening(self, data: bytes) -> Result | None:
        """Tell what is not HTTP at all by its first bytes; h11 would wait for a line of it."""
        self._first += data[:5]
        if self._first.startswith(TLS_RECORDS):
            return failure("the endpoint speaks TLS, expected HTTP")
        if not data:
            return failure("connection closed " + ("within the answer" if self._first else "without an answer"))
        if not b"HTTP/".startswith(self._first[:5]):
            return failure(f"the answer is not HTTP/1: '{quoted(self._first + data[5:], 40)}'")
        self._is_http = len(self._first) >= 5
        return None

    def _on_event(self, event: object) -> Result | None:
        if isinstance(event, h11.InformationalResponse):
            self._interim += 1
            if self._interim > MAX_INTERIM:
                return failure(f"more than {MAX_INTERIM} interim answers")
        elif isinstance(event, h11.Response):
            self._status = event.status_code
            if not is_expected(self._check, self._status):
                return self._unexpected()
        elif isinstance(event, h11.Data):
            return self._on_body(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return self._at_end("the body")
        else:
            return failure("connection closed without an answer")
        return None

    def _on_body(self, data: bytes | bytearray) -> Result | None:
        self._body += data[: MAX_BODY - len(self._body)]
        self._pieces += 1
        if self._check.expected_body and self._check.expected_body.encode() in self._body:
            return SUCCESS
        if len(self._body) == MAX_BODY:
            return self._at_end(f"the first {MAX_BODY // 1024} KiB of the body")
        if self._pieces > MAX_PIECES:
            return failure(f"the body comes in more than {MAX_PIECES} pieces")
        return None

    def _unexpected(self) -> Result:
        return failure(f"status {self._status}, expected {ranges(self._check)}")

    def _at_end(self, what: str) -> Result:
        expected = self._check.expected_body
        if expected and expected.encode() not in self._body:
            return failure(f"status {self._status}, but '{quoted(expected, 40)}' is not in {what}")
        return SUCCESS

    def _malformed(self, problem: h11.RemoteProtocolError, is_end: bool) -> Result:
        if is_end:
            return failure("connection closed within the answer")
        if problem.error_status_hint == 431:
            return failure(f"a head of the answer is larger than {MAX_HEAD // 1024} KiB")
        return failure(f"malformed answer: {quoted(str(problem))}")


def asked(check: HealthCheck, host: str) -> h11.Connection:
    """h11's machine after it has sent the request."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    connection.send(h11.Request(method=check.method, target=check.path, headers=list(request_headers(check, host))))
    connection.send(h11.EndOfMessage())
    return connection


@lru_cache(maxsize=MAX_KEPT)
def request(method: str, path: str, headers: Headers) -> bytes:
    """What is sent. Raises CannotAsk."""
    connection = h11.Connection(h11.CLIENT)
    try:
        asking = h11.Request(method=method, target=path, headers=list(headers))
        return (connection.send(asking) or b"") + (connection.send(h11.EndOfMessage()) or b"")
    except h11.LocalProtocolError as problem:
        raise CannotAsk(f"the request of the check is not valid: {problem}") from None


def request_headers(check: HealthCheck, host: str) -> Headers:
    """Ours, those of the check in their place where they have the same name, and what makes this the only request."""
    own = {"host": ("Host", host), "user-agent": ("User-Agent", "hivemesh-health"), "accept": ("Accept", "*/*")}
    for name, value in check.headers.items():
        own[name.lower()] = (name, value)
    if check.method in _WITH_BODY:
        own["content-length"] = ("Content-Length", "0")
    own["connection"] = ("Connection", "close")
    return tuple(own.values())


def is_expected(check: HealthCheck, status: int) -> bool:
    return any(low <= status <= high for low, high in check.expected_status)


def ranges(check: HealthCheck) -> str:
    """As in "200-299, 404"."""
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in check.expected_status)
