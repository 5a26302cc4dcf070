"""A client that sends exact bytes and reads responses with h11, a strict parser that is not ours."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import h11
from ports import split_address
from wire import TIMEOUT, Wire

# A field line of a response may be longer than h11 allows by default.
LARGEST_HEAD = 1024 * 1024


@dataclass
class Response:
    """`headers` are in the order received, names in lower case; `complete` is False when the body was cut short."""

    status: int
    reason: str = ""
    version: str = "1.1"
    headers: list[tuple[str, str]] = field(default_factory=list)
    raw_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    interim: list[Response] = field(default_factory=list)
    complete: bool = True

    def header(self, name: str) -> str | None:
        """The value of a header that occurs at most once; None when it is absent."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} occurs {len(values)} times: {values}"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RawClient(Wire):
    """A connection to a listener: "host:port" or "unix:PATH"."""

    def __init__(self, address: str, source: str = "") -> None:
        if address.startswith("unix:"):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(TIMEOUT)
            connection.connect(address.removeprefix("unix:"))
        else:
            connection = socket.create_connection(
                split_address(address), TIMEOUT, source_address=(source, 0) if source else None
            )
        super().__init__(connection)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def ask(
        self,
        method: str = "GET",
        target: str = "/",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        host: str = "a.test",
    ) -> None:
        """Send a request; a body gets a Content-Length unless `headers` frames it."""
        fields = list(headers.items() if isinstance(headers, Mapping) else headers)
        names = {name.lower() for name, _ in fields}
        if "host" not in names:
            fields.insert(0, ("Host", host))
        if body and not names & {"content-length", "transfer-encoding"}:
            fields.append(("Content-Length", str(len(body))))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + body)

    def get(self, target: str = "/", headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> Response:
        self.ask("GET", target, headers)
        return self.response()

    def response(self, to: str = "GET") -> Response:
        """The next final response (or 101), read as the answer to a `to` request, with the interim ones before it."""
        machine = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST_HEAD)
        machine.send(
            h11.Request(method=to, target="/", headers=[("Host", "a"), ("Upgrade", "x"), ("Connection", "upgrade")])
        )
        machine.send(h11.EndOfMessage())
        if self.unread:
            machine.receive_data(self.unread)
        result: Response | None = None
        interim: list[Response] = []
        while True:
            try:
                event = machine.next_event()
            except h11.RemoteProtocolError as error:
                if result is None or not self.ended:
                    raise AssertionError(f"not a valid response: {error}; received {self.received!r}") from error
                result.complete = False
                break
            if event is h11.NEED_DATA:
                self.unread = b""
                self.receive_more()
                machine.receive_data(self.unread)
            elif isinstance(event, h11.InformationalResponse):
                interim.append(_head_of(event))
                if event.status_code == 101:
                    result = interim.pop()
                    break
            elif isinstance(event, h11.Response):
                result = _head_of(event)
            elif isinstance(event, h11.Data):
                assert result is not None
                result.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert result is not None
                result.trailers = [(name.decode(), value.decode("latin-1")) for name, value in event.headers]
                break
            else:
                raise AssertionError(f"the connection ended without a response; received {self.received!r}")
        self.unread = machine.trailing_data[0]
        result.interim = interim
        return result

    def interim_response(self) -> Response:
        """The next response head, which must be a 1xx one; its bytes are taken."""
        head = self.read_until(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        assert 100 <= status < 200, f"expected an interim response, got {head!r}"
        lines = [line.split(b":", 1) for line in head.split(b"\r\n")[1:] if line]
        return Response(status, headers=[(name.decode().lower(), value.strip().decode()) for name, value in lines])


def _head_of(event: h11.Response | h11.InformationalResponse) -> Response:
    return Response(
        status=event.status_code,
        reason=event.reason.decode("latin-1"),
        version=event.http_version.decode(),
        headers=[(name.decode(), value.decode("latin-1")) for name, value in event.headers],
        raw_headers=list(event.headers.raw_items()),
    )
