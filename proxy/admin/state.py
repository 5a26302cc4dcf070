"""What the admin API says about the program as a whole: probes, metrics, configuration, problems, traffic, workers."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.admin import answers
from proxy.admin.api import JSON, Api, encoded
from proxy.admin.problems import Refusal
from proxy.admin.queries import Parameters
from proxy.admin.scrapes import Scrapes
from proxy.admin.view import AgentView, ReloadResult

if TYPE_CHECKING:
    from aiohttp import web


class Probes:
    """What the metrics address serves, and the whole API too."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.scrapes = Scrapes(api.view, api.threads)

    def routes(self) -> list[web.RouteDef]:
        from aiohttp import web

        return [
            web.get("/metrics", self.metrics),
            web.get("/livez", self.livez),
            web.get("/readyz", self.readyz),
        ]

    async def metrics(self, request: web.Request) -> web.Response:
        from aiohttp import web

        compress = "gzip" in request.headers.get("Accept-Encoding", "")
        body, content_type = await self.scrapes.get(request.headers.get("Accept", ""), compress)
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if compress:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)

    async def livez(self, request: web.Request) -> web.Response:
        from aiohttp import web

        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        from aiohttp import web

        reason = unready_reason(self.api.view)
        if reason:
            raise Refusal(503, reason)
        return web.Response(text="ok\n")


class State:
    def __init__(self, api: Api) -> None:
        self.api = api

    def routes(self) -> list[web.RouteDef]:
        from aiohttp import web

        return [
            web.get("/v1/config", self.config),
            web.post("/v1/reload", self.reload),
            web.get("/v1/problems", self.problems),
            web.get("/v1/stats", self.stats),
            web.get("/v1/workers", self.workers),
            web.get("/v1/version", self.version),
        ]

    async def config(self, request: web.Request) -> web.Response:
        from aiohttp import web

        if Parameters(request, "origins").flag("origins"):
            body = await self._with_origins()
        else:
            body = await self.api.off_loop(partial(_effective, self.api.view.config))
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}  # may be kept, if it is asked for again by its tag
        asked = {part.strip().removeprefix("W/") for part in request.headers.get("If-None-Match", "").split(",")}
        if asked & {tag, "*"}:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=JSON, headers=headers)

    async def _with_origins(self) -> bytes:
        """Another process reads the file's text again, because that is slow."""
        from proxy.config.attributed import in_child
        from proxy.config.child import ChildFailed

        view = self.api.view
        if not view.config_text:
            raise Refusal(503, "what the configuration in force was read from is not known; a reload tells")
        try:
            return await in_child(view.config_file, view.config_text, view.config)
        except ChildFailed as error:
            raise Refusal(500, f"the origins cannot be told: {error}") from None

    async def reload(self, request: web.Request) -> web.Response:
        result: ReloadResult = await self.api.view.reload()
        if not result.ok:
            detail = "the configuration was refused; what was in force stays in force"
            raise Refusal(422, detail, problems=result.problems)
        return encoded(msgspec.structs.asdict(result))

    async def problems(self, request: web.Request) -> web.Response:
        return encoded(self.api.view.problems())

    async def stats(self, request: web.Request) -> web.Response:
        return await self.api.answered(answers.stats)

    async def workers(self, request: web.Request) -> web.Response:
        return await self.api.answered(answers.workers)

    async def version(self, request: web.Request) -> web.Response:
        return await self.api.answered(answers.version)


def unready_reason(view: AgentView) -> str:
    """Why no new traffic should come here; empty when it should."""
    if view.draining:
        return "draining"
    if view.ready:
        return ""
    workers = view.workers()
    ready = sum(worker.state == "ready" for worker in workers)
    return f"starting: {ready} of {len(workers)} workers ready" if workers else "starting: no worker yet"


def _effective(config: Any) -> bytes:
    from proxy.config.effective import effective

    return msgspec.json.encode(effective(config))
