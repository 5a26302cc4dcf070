"""/v1/services/{service}/endpoints: who serves it; registration, signs of life, draining."""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from discovery.changes import Heartbeat, NotFound, PutEndpoint, RemoveEndpoint, SetDrain
from discovery.model import EndpointState
from proxy.admin import described
from proxy.admin.answers import Answer
from proxy.admin.api import Api, encoded, json_response, name_of_service, read_json, taken
from proxy.admin.blocking import Query, index_headers, index_of
from proxy.admin.described import Described, Wanted
from proxy.admin.problems import answer, invalid_value, refused
from proxy.admin.queries import Parameters
from proxy.admin.services import changed
from proxy.config import bodies
from proxy.config.records import Key, Record
from proxy.config.shapes import Choice, Text
from proxy.control import circuits
from proxy.stats.reading import Reading

if TYPE_CHECKING:
    from aiohttp import web


class Report(NamedTuple):
    """What a heartbeat may say of a TTL check."""

    state: EndpointState
    reason: str


class Unejected(Answer, frozen=True):
    """`changed`: its breaker was not closed."""

    changed: bool


class ReportedState(StrEnum):
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


STATE = Key("state", Choice(ReportedState), "of an endpoint with a ttl check; healthy by default")
REASON = Key("reason", Text(longest=1024, empty=True), "why")
REPORT: Record[Report] = Record(
    "a heartbeat",
    (STATE, REASON),
    lambda fields: Report(EndpointState(fields.get(STATE, ReportedState.HEALTHY).value), fields.get(REASON, "")),
)
ALIVE = Report(EndpointState.HEALTHY, "")


class Endpoints:
    def __init__(self, api: Api) -> None:
        self.api = api

    def routes(self) -> list[web.RouteDef]:
        from aiohttp import web

        one = "/v1/services/{service}/endpoints/{id}"
        return [
            web.get("/v1/endpoints", self.all),
            web.get("/v1/services/{service}/endpoints", self.listed),
            web.get(one, self.get),
            web.put(one, self.put),
            web.delete(one, self.delete),
            web.put(one + "/heartbeat", self.heartbeat),
            web.post(one + "/drain", self.drain),
            web.delete(one + "/drain", self.undrain),
            web.post(one + "/uneject", self.uneject),
        ]

    async def all(self, request: web.Request) -> web.Response:
        """Those of every service. Asked for service by service, so that other work of the agent comes in between."""
        wanted = _wanted(Parameters(request, "passing", "version"))
        found = []
        for name in sorted(self.api.catalog.registry.services()):
            one = Described.find(self.api.catalog, name)
            if one is not None:
                found.append(one)
            await asyncio.sleep(0)
        return await self.api.answered(
            lambda reading: [line for one in found for line in described.endpoints(reading, one, wanted)]
        )

    async def listed(self, request: web.Request) -> web.Response:
        name = request.match_info["service"]
        parameters = Parameters(request, "passing", "version", "index", "wait")
        wanted = _wanted(parameters)
        await self.api.waiting.news(self.api.catalog, Query.of(parameters.values), name)
        headers = index_headers(index_of(self.api.catalog, name))
        try:
            found = Described.of(self.api.catalog, name)
        except NotFound as error:
            return answer(refused(error), headers)
        return await self.api.answered(lambda reading: described.endpoints(reading, found, wanted), headers)

    async def get(self, request: web.Request) -> web.Response:
        name, id = request.match_info["service"], request.match_info["id"]
        Parameters(request)
        catalog = self.api.catalog
        found = Described.of(catalog, name)
        view, history = found.endpoint(id), catalog.registry.history(name, id)
        reading = Reading.take(self.api.view)
        check = self.api.view.check_status(name, id)
        answered = described.endpoint_history(reading, found, view, history, check)
        return json_response(msgspec.json.encode(answered), index_headers(index_of(catalog, name)))

    async def put(self, request: web.Request) -> web.Response:
        name, id = request.match_info["service"], request.match_info["id"]
        name_of_service(name)
        found = Described.find(self.api.catalog, name)
        check = found.service.health_check if found is not None else None
        body, _ = taken(bodies.read_endpoint(await request.read(), id, self.api.rules, check))
        put = PutEndpoint(
            service=name,
            endpoint=body.endpoint,
            ttl=body.ttl,
            revision=body.revision,
            deregister_after=body.deregister_after,
        )
        return changed(await self.api.catalog.change(put))

    async def delete(self, request: web.Request) -> web.Response:
        revision = _revision(Parameters(request, "revision").values.get("revision", ""))
        name, id = request.match_info["service"], request.match_info["id"]
        return changed(await self.api.catalog.change(RemoveEndpoint(service=name, id=id, revision=revision)))

    async def heartbeat(self, request: web.Request) -> web.Response:
        body = await request.read()
        report = read_json(body, REPORT) if body else ALIVE
        name, id = request.match_info["service"], request.match_info["id"]
        beat = Heartbeat(service=name, id=id, state=report.state, reason=report.reason)
        return changed(await self.api.catalog.change(beat))

    async def drain(self, request: web.Request) -> web.Response:
        return await self._drain(request, True)

    async def undrain(self, request: web.Request) -> web.Response:
        return await self._drain(request, False)

    async def uneject(self, request: web.Request) -> web.Response:
        """Close its circuit breaker."""
        Parameters(request)
        name, id = request.match_info["service"], request.match_info["id"]
        view = self.api.view
        found = Described.of(self.api.catalog, name)
        endpoint = found.endpoint(id).endpoint
        now_ms = int(time.monotonic() * 1000)
        is_other = circuits.close(view.table, view.slot_numbers, found.service, endpoint, now_ms)
        if is_other:
            view.circuit_moved(name)
        return encoded(Unejected(changed=is_other))

    async def _drain(self, request: web.Request, is_draining: bool) -> web.Response:
        name, id = request.match_info["service"], request.match_info["id"]
        return changed(await self.api.catalog.change(SetDrain(service=name, id=id, is_draining=is_draining)))


def _wanted(parameters: Parameters) -> Wanted:
    return Wanted(parameters.flag("passing"), parameters.values.get("version"))


def _revision(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise invalid_value("revision", "expected a whole number")
    return int(text or 0)
