"""/v1/explain: what would become of a request, as every worker sees it at this moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mesh.decision import MOST_ENDPOINTS, MOST_ROUTES, Decision, EndpointReport, Question
from proxy.admin.api import Api, encoded
from proxy.admin.described import Described
from proxy.admin.problems import Refusal, invalid_value
from proxy.admin.queries import Parameters
from proxy.admin.view import TooManyQuestions
from proxy.kernel.entropy import new_request_id
from proxy.questions import question_of

if TYPE_CHECKING:
    from aiohttp import web

# The largest Content-Length that any server can count with.
MOST_BODY = 2**63 - 1


class Explain:
    def __init__(self, api: Api) -> None:
        self.api = api

    def routes(self) -> list[web.RouteDef]:
        from aiohttp import web

        return [web.get("/v1/explain", self.explain)]

    async def explain(self, request: web.Request) -> web.Response:
        try:
            asked = await self.api.view.ask(self._question(request))
        except TooManyQuestions as error:
            raise Refusal(429, str(error)) from None
        if not asked.decisions:
            raise Refusal(503, "; ".join(asked.problems) or "no worker is in service")
        decisions = tuple(self._with_reasons(decision) for decision in asked.decisions)
        return encoded({"decisions": decisions, "problems": asked.problems})

    def _question(self, request: web.Request) -> Question:
        one = ("method", "url", "from", "body_size", "listener", "id", "routes", "endpoints")
        parameters = Parameters(request, *one, many=("header",))
        given = parameters.values
        if "url" not in given:
            raise invalid_value("url", "is missing, expected http://HOST/PATH or /PATH")
        fields = []
        for line in parameters.lists["header"]:
            name, colon, value = line.partition(":")
            if not colon:
                raise invalid_value("header", f"'{line}' has no colon, expected Name: value")
            fields.append((name.strip(), value.strip()))
        try:
            question = question_of(
                given.get("method", "GET"),
                given["url"],
                fields,
                given.get("from", "127.0.0.1"),
                parameters.number("body_size", 0, least=-1, most=MOST_BODY),
                given.get("listener", ""),
                # One for all workers: a split must be drawn alike by each of them, as it is for a request.
                given.get("id", "") or new_request_id().decode(),
                self.api.view.snapshot.listeners,
            )
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        return msgspec.structs.replace(
            question,
            most_routes=parameters.number("routes", MOST_ROUTES),
            most_endpoints=parameters.number("endpoints", MOST_ENDPOINTS),
        )

    def _with_reasons(self, decision: Decision) -> Decision:
        """The registry knows why an endpoint has the state that the worker was told."""
        described = Described.find(self.api.catalog, decision.service)
        if described is None:
            return decision
        reasons = {each.endpoint.id: each.reason for each in described.view.endpoints}

        def told(report: EndpointReport) -> EndpointReport:
            if report.usable or report.detail:
                return report
            return msgspec.structs.replace(report, detail=reasons.get(report.id, ""))

        return msgspec.structs.replace(decision, endpoints=tuple(told(each) for each in decision.endpoints))
