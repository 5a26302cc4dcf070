"""An origin that does exactly what a test says.

In most tests one thread plays both sides, so a test reads like a playbook:

    client.ask(target="/x")
    upstream = origin.accept()
    assert upstream.request().target == "/x"
    upstream.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi")
    assert client.response().body == b"hi"

Where that is not possible (many connections at once), `serve(script)` runs a script per connection in threads.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import h11
from wire import TIMEOUT, Wire

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@dataclass
class Request:
    """A request as the origin received it. `headers` in order, names in lower case; `raw_head` as on the wire."""

    method: str
    target: str
    version: str = "1.1"
    headers: list[tuple[str, str]] = field(default_factory=list)
    raw_head: bytes = b""
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} occurs {len(values)} times: {values}"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]


class Upstream(Wire):
    """A connection that the proxy opened to the origin."""

    def head(self) -> Request:
        """The next request's head, parsed leniently; its body stays unread."""
        raw = self.read_until(b"\r\n\r\n")
        first, *lines = raw[:-4].decode("latin-1").split("\r\n")
        method, target, version = first.split(" ")
        pairs = [line.split(":", 1) for line in lines]
        headers = [(name.lower(), value.strip(" \t")) for name, value in pairs]
        return Request(method, target, version.removeprefix("HTTP/"), headers, raw)

    def request(self) -> Request:
        """The next whole request, read by h11, which refuses what a proxy must not send."""
        machine = h11.Connection(h11.SERVER, max_incomplete_event_size=1024 * 1024)
        raw = b""
        if self.unread:
            machine.receive_data(self.unread)
            raw = self.unread
        result: Request | None = None
        while True:
            event = machine.next_event()
            if event is h11.NEED_DATA:
                self.unread = b""
                if not self.receive_more():
                    raise AssertionError(f"the connection ended within a request; received {self.received!r}")
                raw += self.unread
                machine.receive_data(self.unread)
            elif isinstance(event, h11.Request):
                headers = [(name.decode(), value.decode("latin-1")) for name, value in event.headers]
                result = Request(
                    event.method.decode(),
                    event.target.decode(),
                    event.http_version.decode(),
                    headers,
                    raw.split(b"\r\n\r\n", 1)[0] + b"\r\n\r\n",
                )
            elif isinstance(event, h11.Data):
                assert result is not None
                result.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert result is not None
                result.trailers = [(name.decode(), value.decode("latin-1")) for name, value in event.headers]
                self.unread = machine.trailing_data[0]
                return result
            else:
                raise AssertionError(f"unexpected {event!r}; received {self.received!r}")

    def answer(self, response: bytes = OK) -> Request:
        """Read a request and send `response`."""
        request = self.request()
        self.send(response)
        return request


class RawOrigin:
    """Listens on 127.0.0.1. Until `accept`, connections wait in the kernel: connected, and never answered."""

    def __init__(self, port: int = 0) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", port))
        self.socket.listen(128)
        self.port: int = self.socket.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.connections: list[Upstream] = []
        self.requests: list[Request] = []  # of `serve`, in the order of arrival
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> RawOrigin:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def accept(self, timeout: float = TIMEOUT) -> Upstream:
        """The next connection that the proxy opened."""
        self.socket.settimeout(timeout)
        try:
            connection, _ = self.socket.accept()
        except TimeoutError:
            raise AssertionError(f"no connection to the origin within {timeout:g} s") from None
        upstream = Upstream(connection)
        self.connections.append(upstream)
        return upstream

    def has_connection_waiting(self) -> bool:
        """Whether the proxy has opened a connection that no `accept` took."""
        self.socket.setblocking(False)
        try:
            connection, _ = self.socket.accept()
        except BlockingIOError:
            return False
        self.connections.append(Upstream(connection))
        return True

    def serve(self, script: Callable[[Upstream, Request], None] | bytes = OK) -> RawOrigin:
        """From now on answer every request of every connection by `script`, in threads."""
        thread = threading.Thread(target=self._accept_for, args=(script,), daemon=True)
        thread.start()
        self._threads.append(thread)
        return self

    def close(self) -> None:
        """Stop listening and close every connection."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that is blocked in accept
        self.socket.close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(TIMEOUT)

    def _accept_for(self, script: Callable[[Upstream, Request], None] | bytes) -> None:
        while True:
            try:
                self.socket.setblocking(True)
                connection, _ = self.socket.accept()
            except OSError:  # closed
                return
            upstream = Upstream(connection)
            self.connections.append(upstream)
            thread = threading.Thread(target=self._serve_one, args=(upstream, script), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve_one(self, upstream: Upstream, script: Callable[[Upstream, Request], None] | bytes) -> None:
        # The proxy ends connections whenever it likes; that ends the script and is no failure of the test.
        with suppress(OSError, AssertionError, h11.RemoteProtocolError):
            upstream.socket.settimeout(None)
            while True:
                request = upstream.request()
                self.requests.append(request)
                if callable(script):
                    script(upstream, request)
                else:
                    upstream.send(script)
