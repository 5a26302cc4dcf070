"""An ordinary HTTP/1.1 origin, written with h11, for tests that use real clients or need no exact bytes.

    /echo            the request as JSON: method, target, headers, body, origin (this server's name)
    /status/N        an empty answer with status N
    /delay/SECONDS   an answer after that time, or as soon as `release` is called
    /bytes/N         N bytes with Content-Length
    /chunked/N       N bytes in chunks of at most 1,000
    /trailers        a chunked body, then the trailer x-sum
    /sse             three server-sent events
Anything else answers 200 with the origin's name. A body is read when its sender expects 100-continue: after saying so.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress

import h11
from raw_origin import RawOrigin, Upstream


class HttpOrigin(RawOrigin):
    def __init__(self, name: str = "origin", port: int = 0) -> None:
        super().__init__(port)
        self.name = name
        self.released = threading.Event()
        self.seen: list[tuple[str, str]] = []  # method and target of each request
        self.serve()

    def release(self) -> None:
        """Let every /delay answer now."""
        self.released.set()

    def close(self) -> None:
        self.release()
        super().close()

    def _serve_one(self, upstream: Upstream, script: object) -> None:
        machine = h11.Connection(h11.SERVER)
        # The proxy ends connections whenever it likes; that is no failure of the test.
        with suppress(OSError, h11.RemoteProtocolError):
            upstream.socket.settimeout(None)
            while True:
                request, body = self._read(upstream, machine)
                if request is None:
                    return
                self.seen.append((request.method.decode(), request.target.decode()))
                for event in self._answer(request, body):
                    if request.method == b"HEAD" and isinstance(event, h11.Data):
                        continue
                    upstream.send(machine.send(event) or b"")
                if machine.our_state is not h11.DONE or machine.their_state is not h11.DONE:
                    return upstream.close()
                machine.start_next_cycle()

    def _read(self, upstream: Upstream, machine: h11.Connection) -> tuple[h11.Request | None, bytes]:
        request: h11.Request | None = None
        body = b""
        while True:
            event = machine.next_event()
            if event is h11.NEED_DATA:
                if machine.they_are_waiting_for_100_continue:
                    upstream.send(machine.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                upstream.unread = b""
                upstream.receive_more()
                machine.receive_data(upstream.unread)
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return request, body
            else:
                return None, b""

    def _answer(self, request: h11.Request, body: bytes) -> list[h11.Event]:
        path = request.target.decode().partition("?")[0]
        kind, _, argument = path.lstrip("/").partition("/")
        if kind == "echo":
            return _whole(200, json.dumps(self._seen_as(request, body)).encode(), "application/json")
        if kind == "status":
            status = int(argument)
            return _whole(status, b"" if status in (204, 304) else b"status " + argument.encode())
        if kind == "delay":
            self.released.wait(float(argument))
        if kind == "bytes":
            return _whole(200, bytes(int(argument)), "application/octet-stream")
        if kind == "chunked":
            return _chunked([b"x" * min(1000, int(argument) - at) for at in range(0, int(argument), 1000)])
        if kind == "trailers":
            return _chunked([b"counted"], [("x-sum", "7")])
        if kind == "sse":
            return _chunked([f"data: {count}\n\n".encode() for count in range(3)], content_type="text/event-stream")
        return _whole(200, self.name.encode())

    def _seen_as(self, request: h11.Request, body: bytes) -> dict[str, object]:
        return {
            "method": request.method.decode(),
            "target": request.target.decode(),
            "headers": [[name.decode(), value.decode("latin-1")] for name, value in request.headers],
            "body": body.decode("latin-1"),
            "origin": self.name,
        }


def _whole(status: int, body: bytes, content_type: str = "text/plain") -> list[h11.Event]:
    headers = [("Content-Type", content_type)]
    if status not in (204, 304):
        headers.append(("Content-Length", str(len(body))))
    return [h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()]


def _chunked(
    chunks: list[bytes], trailers: list[tuple[str, str]] | None = None, content_type: str = "text/plain"
) -> list[h11.Event]:
    headers = [("Content-Type", content_type), ("Transfer-Encoding", "chunked")]
    return [
        h11.Response(status_code=200, headers=headers),
        *(h11.Data(data=chunk) for chunk in chunks),
        h11.EndOfMessage(headers=trailers or []),
    ]
