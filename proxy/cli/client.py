"""How the commands speak with the agent: one HTTP request per answer, over TCP or a unix socket.

Two errors, because the caller decides between two exit codes: `Unreachable` (nobody answers, or not an agent) and
`Refused` (the agent says no, and why).
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

DEFAULT_ADMIN = "http://127.0.0.1:9900"
CONNECT_TIMEOUT = 5.0
# A reload of a large file is checked before it is answered.
ANSWER_TIMEOUT = 120.0
UNIX_PREFIX = "unix:"
# The agent takes no longer request line than aiohttp does by default.
MOST_TARGET = 8190

# A stream says something at least so often (proxy/admin/tap.py: 15 seconds).
STREAM_SILENCE = 60.0
STREAM_READ = 256 * 1024

T = TypeVar("T")


class Unreachable(Exception):
    """Message: one sentence."""


class Refused(Exception):
    """What the agent said: `detail`, and the `problems` of a configuration if it is about one."""

    def __init__(self, status: int, detail: str, problems: list[dict[str, Any]]) -> None:
        super().__init__(detail)
        self.status = status
        self.problems = problems

    @property
    def says_all(self) -> bool:
        """Is the only problem what the detail says already?"""
        return len(self.problems) == 1 and str(self).endswith(str(self.problems[0].get("message", "")))


class Client:
    def __init__(self, admin: str = DEFAULT_ADMIN, token: str = "") -> None:
        """`admin` is http://HOST:PORT, HOST:PORT or unix:PATH. Raises ValueError."""
        self.admin = admin
        self._token = token
        self._path = ""
        if admin.startswith(UNIX_PREFIX):
            self._path = admin.removeprefix(UNIX_PREFIX).removeprefix("//")
            if not self._path:
                raise ValueError(f"{admin} has no path, expected unix:PATH")
            return
        parts = urlsplit(admin if "://" in admin else f"http://{admin}")
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query:
            raise ValueError(f"{admin} is not an admin address, expected http://HOST:PORT or unix:PATH")
        self._host = parts.hostname
        self._port = parts.port or 80

    def get(self, *path: str, query: Sequence[tuple[str, str]] = ()) -> Any:
        """The JSON of `/v1/...`, each part of the path and of the query quoted."""
        return self._request("GET", path, query=query)

    def stream(self, *path: str, query: Sequence[tuple[str, str]] = ()) -> Stream:
        """What `/v1/...` sends until it ends."""
        connection = self._connect()
        sock = connection.sock
        try:
            response = self._asked(connection, "GET", self._target(path, query))
            if response.status >= 400:
                self._answer(response.status, response.read())
        except BaseException:
            connection.close()
            raise
        return Stream(self.admin, connection, sock, response)

    def post(self, *path: str, body: Any = None) -> Any:
        return self._request("POST", path, body)

    def put(self, *path: str, body: Any = None) -> Any:
        """`body` is sent as JSON; None: without a body."""
        return self._request("PUT", path, body)

    def delete(self, *path: str) -> Any:
        return self._request("DELETE", path)

    def _request(
        self, method: str, path: tuple[str, ...], body: Any = None, query: Sequence[tuple[str, str]] = ()
    ) -> Any:
        target = self._target(path, query)
        connection = self._connect()
        try:
            response = self._asked(connection, method, target, body)
            return self._answer(response.status, self._tried(response.read))
        finally:
            connection.close()

    def _target(self, path: tuple[str, ...], query: Sequence[tuple[str, str]]) -> str:
        target = "/v1/" + "/".join(quote(part, safe="") for part in path)
        target = f"{target}?{urlencode(query)}" if query else target
        if len(target) > MOST_TARGET:
            raise Refused(
                414, f"that is {len(target)} bytes once it is escaped, and the agent reads {MOST_TARGET} at most", []
            )
        return target

    def _asked(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: Any = None
    ) -> http.client.HTTPResponse:
        """The head of the answer."""
        headers = {"Accept": "application/json"}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        self._tried(lambda: connection.request(method, target, content, headers))
        return self._tried(connection.getresponse)

    def _tried(self, step: Callable[[], T]) -> T:
        try:
            return step()
        except OSError as error:
            raise Unreachable(f"the agent at {self.admin} did not answer: {_reason(error)}") from None
        except (http.client.HTTPException, ValueError) as error:
            raise Unreachable(f"{self.admin} does not speak HTTP: {type(error).__name__} {error}".rstrip()) from None

    def _connect(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if self._path:
            connection = _UnixConnection(self._path)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT)
        try:
            connection.connect()
        except OSError as error:
            raise Unreachable(
                f"cannot reach the agent at {self.admin}: {_reason(error)} (is hivemesh running there? "
                f"--admin or HIVEMESH_ADMIN says where it is)"
            ) from None
        connection.sock.settimeout(ANSWER_TIMEOUT)
        return connection

    def _answer(self, status: int, body: bytes) -> Any:
        try:
            value = json.loads(body)
        except ValueError:
            raise Unreachable(f"what answers at {self.admin} is not a hivemesh agent (status {status})") from None
        if status < 400:
            return value
        if not isinstance(value, dict) or "detail" not in value:
            raise Unreachable(f"what answers at {self.admin} is not a hivemesh agent (status {status})")
        raise Refused(status, value["detail"], value.get("problems", []))


class Stream:
    """An answer that goes on. `has_ended`: the agent has ended it."""

    def __init__(
        self,
        admin: str,
        connection: http.client.HTTPConnection,
        sock: socket.socket,
        response: http.client.HTTPResponse,
    ) -> None:
        self.has_ended = False
        self._admin = admin
        self._connection = connection
        self._sock = sock
        self._response = response

    def lines(self, until: float | None = None) -> Iterator[bytes]:
        """Its lines, without their ends, up to this moment of the monotonic clock, or until it ends. Raises Unreachable
        when it breaks off."""
        rest = b""
        left = STREAM_SILENCE  # what it begins with is always waited for
        while left > 0:
            self._sock.settimeout(left)
            try:
                data = self._response.read1(STREAM_READ)
            except TimeoutError:
                if until is not None and time.monotonic() >= until:
                    return
                raise Unreachable(f"the agent at {self._admin} has said nothing for {STREAM_SILENCE:g} s") from None
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(f"the agent at {self._admin} broke off: {error}") from None
            if not data:
                self.has_ended = True
                return
            *lines, rest = (rest + data).split(b"\n")
            yield from lines
            if until is not None:
                left = min(until - time.monotonic(), STREAM_SILENCE)

    def close(self) -> None:
        self._response.close()
        self._connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CONNECT_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_TIMEOUT)
        self.sock.connect(self._path)


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return (error.strerror or str(error)).lower()
