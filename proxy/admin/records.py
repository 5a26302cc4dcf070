"""/v1/requests: what the workers have kept of requests that are over (proxy/http1/records.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mesh.record import Record
from mesh.redaction import redacted_path
from proxy.admin.access import is_from_elsewhere
from proxy.admin.answers import Answer
from proxy.admin.api import Api, encoded
from proxy.admin.problems import Refusal
from proxy.admin.queries import Parameters
from proxy.admin.view import Recorded, TooManyQuestions
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
        parameters = Parameters(request, "errors", "count", "open")
        is_open = may_see(request, parameters)
        count = parameters.number("count", COUNT, least=1, most=MOST)
        try:
            found = await self.api.view.newest(count, parameters.flag("errors"))
        except TooManyQuestions as error:
            raise Refusal(429, str(error)) from None
        return encoded(Records(records=shown_to(is_open, found.records), problems=found.problems))

    async def get(self, request: web.Request) -> web.Response:
        is_open = may_see(request, Parameters(request, "open"))
        name = request.match_info["id"]
        try:
            found = await self.api.view.find(name)
        except TooManyQuestions as error:
            raise Refusal(429, str(error)) from None
        if not found.records:
            raise Refusal(404, missing(name, found), kind="not-found")
        return encoded(Records(records=shown_to(is_open, found.records), problems=found.problems))


def may_see(request: web.Request, parameters: Parameters) -> bool:
    """Whether what is hidden is to be shown, as for taps. Raises Refusal when it may not be."""
    is_open = parameters.flag("open")
    if is_open and is_from_elsewhere(request.headers):
        raise Refusal(403, "a page of another site may not see what is hidden")
    return is_open


def shown_to(is_open: bool, records: tuple[Record, ...]) -> tuple[Record, ...]:
    if is_open:
        return records
    return tuple(msgspec.structs.replace(record, path=redacted_path(record.path)) for record in records)


def missing(name: str, found: Recorded) -> str:
    """Why there may be no record of that name, in a sentence."""
    if found.kept:
        have = f"the workers keep {found.kept} of those that ended since {found.since}"
    else:
        have = "the workers keep none"
    return "; ".join((f"no record of request '{shown(name)}': {have}", *found.problems))
