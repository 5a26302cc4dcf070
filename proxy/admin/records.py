"""/v1/requests: what the workers have kept of requests that are over (proxy/http1/records.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.record import Record
from proxy.admin.answers import Answer
from proxy.admin.api import Api, encoded
from proxy.admin.problems import Refusal
from proxy.admin.queries import Parameters
from proxy.admin.view import Recorded
from proxy.config.nodes import shown

if TYPE_CHECKING:
    from aiohttp import web

# How many of the newest are listed, if the query does not say it, and at most: from each worker some 100 KiB.
COUNT = 20
MOST = 200


class Records(Answer, frozen=True):
    """Newest first. What is not known of a request is left out of its record. `problems`: workers that said nothing."""

    records: tuple[Record, ...]
    problems: tuple[str, ...]


class Requests:
    def __init__(self, api: Api) -> None:
        self.api = api

    def routes(self) -> list[web.RouteDef]:
        from aiohttp import web

        return [web.get("/v1/requests", self.newest), web.get("/v1/requests/{id}", self.get)]

    async def newest(self, request: web.Request) -> web.Response:
        parameters = Parameters(request, "errors", "count")
        count = parameters.number("count", COUNT, least=1, most=MOST)
        found = await self.api.view.newest(count, parameters.flag("errors"))
        return encoded(Records(records=found.records, problems=found.problems))

    async def get(self, request: web.Request) -> web.Response:
        Parameters(request)
        name = request.match_info["id"]
        found = await self.api.view.find(name)
        if not found.records:
            raise Refusal(404, missing(name, found), kind="not-found")
        return encoded(Records(records=found.records, problems=found.problems))


def missing(name: str, found: Recorded) -> str:
    """Why there may be no record of that name, in a sentence."""
    if found.kept:
        have = f"the workers keep {found.kept} of those that ended since {found.since}"
    else:
        have = "the workers keep none"
    return "; ".join((f"no record of request '{shown(name)}': {have}", *found.problems))
