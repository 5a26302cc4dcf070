"""/v1/services: what a service is, and what the API says about it on top of the other sources.

PUT of one of a service's keys sets that key, whatever the file says; DELETE gives it back to the file. PUT of a service
sets the keys of its body and gives back the others; endpoints, if the body has any, are then those of the API. Bodies
are in the words of the file (proxy/config/bodies.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from discovery.changes import Durable, NotFound, PutEndpoint, PutPolicies, RemoveEndpoint, RemovePolicies
from proxy.admin import described
from proxy.admin.api import Api, encoded, taken
from proxy.admin.blocking import Query, index_headers, index_of
from proxy.admin.described import Described
from proxy.admin.problems import Refusal, answer, refused
from proxy.admin.queries import Parameters
from proxy.config import bodies

if TYPE_CHECKING:
    from aiohttp import web


class Services:
    def __init__(self, api: Api) -> None:
        self.api = api

    def routes(self) -> list[web.RouteDef]:
        from aiohttp import web

        one = "/v1/services/{service}"
        return [
            web.get("/v1/services", self.listed),
            web.get(one, self.get),
            web.put(one, self.put),
            web.delete(one, self.delete),
            web.put(one + "/{key:" + "|".join(bodies.POLICIES) + "}", self.put_key),
            web.delete(one + "/{key:" + "|".join(bodies.POLICIES) + "}", self.delete_key),
        ]

    async def listed(self, request: web.Request) -> web.Response:
        query = Query.of(Parameters(request, "index", "wait").values)
        await self.api.waiting.news(self.api.catalog, query)
        services = self.api.catalog.registry.snapshot.services
        headers = index_headers(index_of(self.api.catalog))
        return await self.api.answered(lambda reading: described.summaries(reading, services), headers)

    async def get(self, request: web.Request) -> web.Response:
        name = request.match_info["service"]
        query = Query.of(Parameters(request, "index", "wait").values)
        await self.api.waiting.news(self.api.catalog, query, name)
        headers = index_headers(index_of(self.api.catalog, name))
        try:
            found = Described.of(self.api.catalog, name)
        except NotFound as error:
            return answer(refused(error), headers)  # a reader that waits for it to come needs the index
        return await self.api.answered(lambda reading: described.service_detail(reading, found), headers)

    async def put(self, request: web.Request) -> web.Response:
        name, rules = request.match_info["service"], self.api.rules
        service, given = taken(bodies.read_service(await request.read(), name, rules, self._known(name)))
        fields = tuple(field for field in given if field != "endpoints")
        changes = self._given_back(name, fields, bodies.POLICIES)
        if fields or not changes:  # an empty body makes a service, too
            changes.append(PutPolicies(service=msgspec.structs.replace(service, endpoints=()), fields=fields))
        if "endpoints" in given:
            kept = {endpoint.id for endpoint in service.endpoints}
            known = self.api.catalog.registry.registered(name)
            changes += [RemoveEndpoint(service=name, id=id) for id in known if id not in kept]
            changes += [PutEndpoint(service=name, endpoint=endpoint) for endpoint in service.endpoints]
        return await self._changed(*changes)

    async def delete(self, request: web.Request) -> web.Response:
        """Everything that the API says about it."""
        name = request.match_info["service"]
        registered = self.api.catalog.registry.registered(name)
        changes: list[Durable] = [RemoveEndpoint(service=name, id=id) for id in registered]
        if self._own(name) is not None:
            changes.append(RemovePolicies(service=name))
        if not changes:
            found = Described.of(self.api.catalog, name)
            sources = " and the ".join(found.view.sources)
            raise Refusal(409, f"all that is known of service {name} is from the {sources}", kind="conflict")
        return await self._changed(*changes)

    async def put_key(self, request: web.Request) -> web.Response:
        name, key = request.match_info["service"], request.match_info["key"]
        service, fields = taken(bodies.read_policy(await request.read(), key, name, self.api.rules, self._known(name)))
        changes = self._given_back(name, fields, (key,))
        if fields:
            changes.append(PutPolicies(service=service, fields=fields))
        return await self._changed(*changes)

    async def delete_key(self, request: web.Request) -> web.Response:
        name, key = request.match_info["service"], request.match_info["key"]
        changes = self._given_back(name, (), (key,))
        if not changes:
            raise NotFound(f"the API sets no {key} of a service called {name}")
        return await self._changed(*changes)

    def _known(self, name: str) -> set[str]:
        """What a body about the service `name` may refer to."""
        return {name, *(service.name for service in self.api.catalog.registry.snapshot.services)}

    def _own(self, name: str) -> PutPolicies | None:
        return self.api.catalog.registry.policies(name)

    def _given_back(self, name: str, kept: tuple[str, ...], keys: Iterable[str]) -> list[Durable]:
        """What makes those fields of `keys` the file's again that the API has set and `kept` does not name."""
        own = self._own(name)
        theirs = {field for key in keys for field in bodies.fields_of(key)}
        fields = tuple(field for field in own.fields if field in theirs and field not in kept) if own else ()
        return [RemovePolicies(service=name, fields=fields)] if fields else []

    async def _changed(self, *changes: Durable) -> web.Response:
        return changed(await self.api.catalog.change(*changes))


class Changed(msgspec.Struct, frozen=True):
    """What a change is answered with: a reader that asks with this index sees it, and waits for the next."""

    index: int


def changed(index: int) -> web.Response:
    return encoded(Changed(index), index_headers(index))
