"""/v1/routes: routes with where they were written, and those that the API adds before the file's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from discovery.changes import NotFound, PutRoute, RemoveRoute
from discovery.model import Protocol, Route
from proxy.admin import answers
from proxy.admin.api import Api, encoded, taken
from proxy.admin.problems import invalid_value
from proxy.admin.queries import Parameters
from proxy.admin.services import changed
from proxy.config import bodies

if TYPE_CHECKING:
    from aiohttp import web


class AddedRoute(answers.Answer, frozen=True):
    """`listener` "": it is at every listener of HTTP requests."""

    route: Route
    listener: str


class Routes:
    def __init__(self, api: Api) -> None:
        self.api = api

    def routes(self) -> list[web.RouteDef]:
        from aiohttp import web

        return [
            web.get("/v1/routes", self.listed),
            web.post("/v1/routes", self.post),
            web.get("/v1/routes/{route}", self.get),
            web.delete("/v1/routes/{route}", self.delete),
        ]

    async def listed(self, request: web.Request) -> web.Response:
        Parameters(request)
        return await self.api.answered(answers.routes)

    async def get(self, request: web.Request) -> web.Response:
        """One that the API has added."""
        Parameters(request)
        name = request.match_info["route"]
        found = self.api.catalog.registry.route(name)
        if found is None:
            raise NotFound(f"no route of the API is called {name}")
        return encoded(AddedRoute(route=found.route, listener=found.listener))

    async def post(self, request: web.Request) -> web.Response:
        """One of the same name is replaced."""
        snapshot = self.api.catalog.registry.snapshot
        services = {service.name for service in snapshot.services}
        body, _ = taken(bodies.read_route(await request.read(), self.api.rules, services))
        takers = [each.name for each in snapshot.listeners if each.protocol in (Protocol.HTTP, Protocol.AUTO)]
        if body.listener and body.listener not in takers:
            known = f"expected {', '.join(takers)}" if takers else "and there are none"
            raise invalid_value("listener", f"'{body.listener}' is no listener that takes routes, {known}")
        return changed(await self.api.catalog.change(PutRoute(route=body.route, listener=body.listener)))

    async def delete(self, request: web.Request) -> web.Response:
        return changed(await self.api.catalog.change(RemoveRoute(name=request.match_info["route"])))
