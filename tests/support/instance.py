"""A hivemesh with one HTTP listener in front of a test's origins: what most end-to-end tests start from.

The configuration is made from the few values that matter to the test. Everything is logged, so a test can ask not only
what the client saw but also why: `instance.logged(...)`.

By default the data plane runs inside the test's process (see inside.py), which starts in milliseconds. A test that
needs processes says `program=True`; HIVEMESH_E2E=program makes every test use the real program.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from inside import Inside
from ports import free_address
from program import Hivemesh, run_hivemesh
from raw_client import RawClient
from waiting import eventually

from proxy.stats.slots import PENDING


class HasAddress(Protocol):
    address: str


# What may stand for an endpoint: something with an address, an address, or the endpoint written out.
EndpointLike = HasAddress | str | Mapping[str, Any]


class Instance:
    """`routes` None: everything goes to the service "app", which has the endpoints `origins`. `listener`: more keys of
    the listener."""

    def __init__(
        self,
        directory: Path,
        *origins: EndpointLike,
        routes: Sequence[Mapping[str, Any]] | None = None,
        services: Mapping[str, Mapping[str, Any]] | None = None,
        app: Mapping[str, Any] | None = None,
        listener: Mapping[str, Any] | None = None,
        program: bool = False,
        **settings: Any,
    ) -> None:
        self.address = free_address()
        self.admin = free_address()
        self.access_log = directory / "access.log"
        self.origins: Sequence[EndpointLike] = origins
        self.config: dict[str, Any] = {
            "admin": {"address": self.admin},
            "access_log": {"path": str(self.access_log), "format": "json"},
            "listeners": [
                {
                    "name": "web",
                    "address": self.address,
                    "protocol": "http",
                    "routes": list(routes) if routes is not None else [{"name": "all", "service": "app"}],
                    **(listener or {}),
                }
            ],
            "services": {**(services or {})},
            **settings,
        }
        if origins or app is not None:
            self.config["services"]["app"] = {"endpoints": endpoints(*origins), **(app or {})}
        self.clients: list[RawClient] = []
        self._inside: Inside | None = None
        self._program: Hivemesh | None = None
        if program or os.environ.get("HIVEMESH_E2E") == "program":
            self._program = run_hivemesh(self.config_text(), directory, self.admin)
        else:
            self._inside = Inside(self.config_text())

    @property
    def inside(self) -> Inside:
        assert self._inside is not None, "this instance has a process of its own"
        return self._inside

    @property
    def program(self) -> Hivemesh:
        assert self._program is not None, "this instance has no process of its own; start it with program=True"
        return self._program

    def config_text(self) -> str:
        return json.dumps(self.config, indent=2)  # JSON is YAML

    def client(self, source: str = "") -> RawClient:
        """A new connection to the listener, closed with the instance."""
        client = RawClient(self.address, source)
        self.clients.append(client)
        return client

    def reload(self) -> None:
        """Put `config`, as the test has edited it, in force."""
        if self._inside is not None:
            self._inside.apply(self.config_text())
            return
        self.program.config_file.write_text(self.config_text())
        answer = self.program.api("POST", "/v1/reload")
        assert answer.status == 200, (answer.status, answer.text)  # type: ignore[attr-defined]

    def entries(self) -> list[dict[str, Any]]:
        """The access log so far."""
        if not self.access_log.exists():
            return []
        lines = self.access_log.read_text().split("\n")[:-1]  # the last one may be half written
        return [json.loads(line) for line in lines]

    def logged(self, **expected: Any) -> dict[str, Any]:
        """Wait for an access log entry with these values and return it."""

        def found() -> dict[str, Any] | None:
            for entry in self.entries():
                if all(entry.get(key) == value for key, value in expected.items()):
                    return entry
            return None

        try:
            return eventually(found, f"an access log entry with {expected}", limit=5.0)
        except AssertionError as error:
            raise AssertionError(f"{error}\nlogged: {self.entries()}") from None

    def waiting(self, service: str = "app") -> int:
        """How many requests wait for a connection to `service`."""
        if self._inside is not None:
            return self._inside.embedded.stats(f"service/{service}")[0][PENDING]
        metrics = self.program.api("GET", "/metrics").text  # type: ignore[attr-defined]
        return sum(
            int(value)
            for labels, value in re.findall(r"^hivemesh_pending_requests\{(.*?)\} (\d+)", metrics, re.MULTILINE)
            if f'service="{service}"' in labels
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is served inside the block, so whatever peers send meanwhile is found all at once."""
        if self._inside is not None:
            with self._inside.paused():
                yield
        else:
            with self.program.paused():
                yield

    def close(self) -> None:
        for client in self.clients:
            client.close()
        if self._inside is not None:
            self._inside.stop()
        if self._program is not None:
            self._program.stop()


def endpoints(*origins: EndpointLike) -> list[dict[str, Any]]:
    """Endpoints e1, e2, ... for `origins`; ids and addresses that are written out stay."""
    return [_endpoint(number, origin) for number, origin in enumerate(origins, start=1)]


def _endpoint(number: int, origin: EndpointLike) -> dict[str, Any]:
    if isinstance(origin, str):
        return {"id": f"e{number}", "address": origin}
    if isinstance(origin, Mapping):
        return {"id": f"e{number}", **origin}
    return {"id": f"e{number}", "address": origin.address}
