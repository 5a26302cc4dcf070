"""POST /v1/plan: what a configuration would change, before it is in force. Nothing is changed by asking.

The plan is made here and not by who asks: here is what the API, directories and names say besides the file, here
`Registry` can tell what a reload would lead to, and here are the numbers of what is under way. Secrets are compared
here and never answered. The body is a checked configuration as values, as `hivemesh plan` encodes it: its file is
read where the command runs, with the variables of that environment, and the agent's are shown to nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from discovery.changes import Base, ChangeError
from discovery.config import Config
from discovery.delta import identity
from proxy.admin.api import Api, json_response
from proxy.admin.problems import Refusal, invalid_value
from proxy.admin.queries import Parameters
from proxy.config.problems import Problem
from proxy.control.reload import with_running
from proxy.plan.making import make
from proxy.plan.values import Live, Load, Plan, as_json
from proxy.stats import slots
from proxy.stats.families import Scope
from proxy.stats.reading import Reading, Row

if TYPE_CHECKING:
    from aiohttp import web

# A file of 32 MiB, the largest that is read, is hardly longer as values.
MAX_BODY = 64 * 1024 * 1024

# Plans that are received or made at a time: each is a configuration in memory, and some work of the agent's loop.
MOST_PLANS = 2


class Plans:
    def __init__(self, api: Api) -> None:
        self.api = api
        self._under_way = 0

    def routes(self) -> list[web.RouteDef]:
        from aiohttp import web

        return [web.post("/v1/plan", self.post)]

    async def post(self, request: web.Request) -> web.Response:
        Parameters(request)
        if self._under_way >= MOST_PLANS:
            raise Refusal(429, f"{MOST_PLANS} plans are being made, which is the most; ask again")
        self._under_way += 1
        try:
            return await self._plan(request)
        finally:
            self._under_way -= 1

    async def _plan(self, request: web.Request) -> web.Response:
        wanted = await _config_of(request)
        view, registry = self.api.view, self.api.catalog.registry
        in_force, restarts = with_running(wanted, view.config)
        (checked,) = registry.check([[Base(snapshot=in_force.snapshot)]], in_force.registry)
        if isinstance(checked, ChangeError):
            refused = Plan(problems=(Problem(message=str(checked)),), is_refused=True, version=registry.index)
            return json_response(msgspec.json.encode(as_json(refused)))
        was, then = registry.snapshot, registry.would_be(in_force.snapshot)
        running, reading = view.config, self.api.reading()

        def answer() -> bytes:
            plan = make(running, wanted, was, then, live=live_of(reading), restarts=restarts)
            return msgspec.json.encode(as_json(plan))

        return json_response(await self.api.off_loop(answer))


async def _config_of(request: web.Request) -> Config:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY:
            raise Refusal(413, f"the body is larger than {MAX_BODY} bytes")
    try:
        return msgspec.json.decode(bytes(body), type=Config)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"no configuration of this version of hivemesh, as `hivemesh plan` sends it: {error}"
        raise invalid_value("body", message) from None


def live_of(reading: Reading) -> Live:
    """What is under way, of all workers."""
    endpoints = {}
    for service in reading.snapshot.services:
        for endpoint in service.endpoints:
            key = slots.endpoint_key(service.name, endpoint.id, endpoint.address)
            load = _load(reading.row(key, ()))
            if load != Load():
                endpoints[service.name, identity(endpoint)] = load
    return Live(
        listeners={row.labels[0]: _load(row) for row in reading.rows(Scope.LISTENER)},
        routes={(row.labels[0], row.labels[1]): _load(row) for row in reading.rows(Scope.ROUTE)},
        services={row.labels[0]: _load(row) for row in reading.rows(Scope.SERVICE)},
        endpoints=endpoints,
        workers=tuple(cells[slots.WORKER_CONNECTIONS] for cells in reading.worker_cells()),
    )


def _load(row: Row) -> Load:
    cells = row.cells
    return Load(requests=cells[slots.ACTIVE], connections=cells[slots.CONNECTIONS_ACTIVE], idle=cells[slots.POOL_IDLE])
