"""The real admin server over a fake agent, on a loop of its own in a thread, so that tests can be plain functions."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from fake_agent import FakeAgent

from discovery.config import AdminSettings
from proxy.admin.server import Server, serve, serve_metrics
from proxy.control.sockets import Bound, bind_alone, release

DEADLINE = 20.0


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class AdminServer:
    """`with AdminServer(agent) as server: server.get("/livez")`. `only_metrics` serves the metrics address."""

    def __init__(
        self,
        agent: FakeAgent,
        address: str = "127.0.0.1:0",
        token: str = "",
        only_metrics: bool = False,
        **limits: Any,
    ) -> None:
        self.agent = agent
        self.token = token
        self._settings = AdminSettings(address=address, token=token, **limits)
        self._only_metrics = only_metrics
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: Server | None = None
        self._bound: Bound

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.run(self.agent.catalog.open())
            self._bound = bind_alone(self._settings.address)
            sock, bound = self._bound.sockets[0].dup(), self._bound.address
            if self._only_metrics:
                self._server = self.run(serve_metrics(self.agent, self._settings, self._settings.address, sock, bound))
            else:
                self._server = self.run(serve(self.agent, self._settings, sock, bound))
        except BaseException:
            self._stop()
            raise
        self.address = self._server.address
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self.run(self._server.close())
        self.run(self.agent.catalog.close())
        release(self._bound)
        self._stop()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the server's loop and give its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE)

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)
        self._loop.close()

    @property
    def url(self) -> str:
        return self.address if self.address.startswith("unix:") else f"http://{self.address}"

    def request(self, method: str, path: str, headers: dict[str, str] | None = None, body: Any = None) -> Reply:
        """`body` is sent as JSON, bytes as they are."""
        connection = http.client.HTTPConnection(self.address, timeout=DEADLINE)
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, content, headers=headers or {})
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.request("GET", path, {name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, path: str, body: Any = None, **headers: str) -> Reply:
        return self.request("POST", path, {name.replace("_", "-"): value for name, value in headers.items()}, body)

    def put(self, path: str, body: Any = None) -> Reply:
        return self.request("PUT", path, body=body)

    def delete(self, path: str) -> Reply:
        return self.request("DELETE", path)
