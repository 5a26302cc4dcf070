"""The admin API and the metrics address: HTTP for the operator, the scraper and the prober.

One `Server` per address. A request passes the access rules (proxy/admin/access.py), then a handler takes a `Reading`
of the agent on its loop and leaves the work of reading, encoding and compressing to a thread, so that a scrape of
10,000 endpoints delays nothing that the agent does. Only POST changes anything. Errors are problem+json (RFC 9457).

aiohttp is imported when the first address is served; requests are not logged. Never touches a worker.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from discovery.model import AdminSettings
from proxy.admin import answers
from proxy.admin.access import Access
from proxy.admin.scrapes import Scrapes
from proxy.admin.view import AgentView, ReloadResult
from proxy.config.problems import Problem
from proxy.stats.reading import Reading

if TYPE_CHECKING:
    from aiohttp import web

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"

# No request that is answered here has a body worth reading.
MAX_BODY = 64 * 1024
# One thread per kind of work: a long scrape does not hold up `hivemesh stats`.
THREADS = 2
CLOSE_TIMEOUT = 2.0
# Clients that wait while the agent is started again; the kernel takes less where net.core.somaxconn is less.
BACKLOG = 4096
# Nothing that is served here is to be kept by a cache or guessed at by a browser.
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Server:
    """An address that is served. `address` is as bound, so port 0 has become a port."""

    def __init__(self, runner: web.AppRunner, address: str, threads: ThreadPoolExecutor) -> None:
        self.address = address
        self._runner = runner
        self._threads = threads

    async def stop_accepting(self) -> None:
        """Leave new connections to another process that accepts on the same socket; those that are open go on."""
        for site in list(self._runner.sites):
            await site.stop()

    async def close(self) -> None:
        """Stop listening, give requests in flight a moment, then close what is left."""
        await self._runner.cleanup()
        self._threads.shutdown(wait=False, cancel_futures=True)


async def serve(view: AgentView, settings: AdminSettings, sock: socket.socket, bound: str) -> Server:
    """The whole API on `sock`, which listens on `settings.address` and is this object's from now on; `bound` is the
    address with the port that it got."""
    return await _serve(view, sock, bound, Access(settings.address, settings.token), whole=True)


async def serve_metrics(view: AgentView, address: str, sock: socket.socket, bound: str) -> Server:
    """Only /metrics, /livez and /readyz. An address that others can reach is reached by names of their choice."""
    from proxy.config.addresses import is_loopback

    access = Access(address, any_host=not is_loopback(address))
    return await _serve(view, sock, bound, access, whole=False)


async def _serve(view: AgentView, sock: socket.socket, bound: str, access: Access, whole: bool) -> Server:
    from aiohttp import web

    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="admin")
    api = _Api(view, threads)
    app = web.Application(middlewares=[_guard(access)], client_max_size=MAX_BODY)
    app.add_routes([web.get(route, handler) for route, handler in (api.routes() if whole else api.probes())])
    if whole:
        app.add_routes([web.post("/v1/reload", api.reload)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_TIMEOUT, handle_signals=False)
    await runner.setup()
    await web.SockSite(runner, sock, backlog=BACKLOG).start()
    return Server(runner, bound, threads)


# --- errors -----------------------------------------------------------------------------------------------------


class ProblemDetails(msgspec.Struct, frozen=True):
    """RFC 9457 section 3.1. `problems` are those of a configuration that was refused."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    problems: tuple[Problem, ...] = ()


def _problem(status: int, detail: str, problems: tuple[Problem, ...] = (), headers: Any = None) -> web.Response:
    from http import HTTPStatus

    from aiohttp import web

    body = msgspec.json.encode(ProblemDetails(HTTPStatus(status).phrase, status, detail, problems=problems))
    return web.Response(status=status, body=body, content_type=PROBLEM_JSON, headers=headers)


def _guard(access: Access) -> Any:
    """The middleware around every request: access rules before, one shape of errors after."""
    from aiohttp import web

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = access.refusal(request.method, request.path, request.headers)
        if refusal is not None:
            response: web.StreamResponse = _problem(refusal.status, refusal.detail)
            if refusal.status == 401:
                response.headers["WWW-Authenticate"] = 'Bearer realm="hivemesh"'
        else:
            try:
                response = await handler(request)
            except web.HTTPMethodNotAllowed as error:
                allowed = ", ".join(sorted(error.allowed_methods))
                detail = f"{request.method} is not possible on {request.path}; possible: {allowed}"
                response = _problem(405, detail, headers={"Allow": allowed})
            except web.HTTPNotFound:
                response = _problem(404, f"there is no {request.path} here")
            except web.HTTPException as error:
                response = _problem(error.status, error.text or error.reason)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return guard


# --- what is served ---------------------------------------------------------------------------------------------


class _Api:
    def __init__(self, view: AgentView, threads: ThreadPoolExecutor) -> None:
        self.view = view
        self.threads = threads
        self.scrapes = Scrapes(view, threads)

    def probes(self) -> Iterable[tuple[str, Handler]]:
        return [("/metrics", self.metrics), ("/livez", self.livez), ("/readyz", self.readyz)]

    def routes(self) -> Iterable[tuple[str, Handler]]:
        return [
            *self.probes(),
            ("/v1/config", self.config),
            ("/v1/problems", self.problems),
            ("/v1/services", partial(self.read, answers.services)),
            ("/v1/services/{service}", partial(self.of_service, answers.service)),
            ("/v1/services/{service}/endpoints", partial(self.of_service, answers.endpoints)),
            ("/v1/endpoints", partial(self.read, answers.all_endpoints)),
            ("/v1/routes", partial(self.read, answers.routes)),
            ("/v1/stats", partial(self.read, answers.stats)),
            ("/v1/workers", partial(self.read, answers.workers)),
            ("/v1/version", partial(self.read, answers.version)),
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

        reason = unready_reason(self.view)
        return _problem(503, reason) if reason else web.Response(text="ok\n")

    async def config(self, request: web.Request) -> web.Response:
        from aiohttp import web

        body = await self._off_loop(partial(_effective, self.view.config))
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}  # may be kept, if it is asked for again by its tag
        asked = {part.strip().removeprefix("W/") for part in request.headers.get("If-None-Match", "").split(",")}
        if asked & {tag, "*"}:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=JSON, headers=headers)

    async def problems(self, request: web.Request) -> web.Response:
        return _json(msgspec.json.encode(self.view.problems()))

    async def reload(self, request: web.Request) -> web.Response:
        result: ReloadResult = await self.view.reload()
        if not result.ok:
            detail = "the configuration was refused; what was in force stays in force"
            return _problem(422, detail, result.problems)
        return _json(msgspec.json.encode(msgspec.structs.asdict(result)))

    async def read(self, answer: Callable[[Reading], object], request: web.Request) -> web.Response:
        reading = Reading.take(self.view)
        return _json(await self._off_loop(lambda: msgspec.json.encode(answer(reading))))

    async def of_service(self, answer: Callable[[Reading, str], object], request: web.Request) -> web.Response:
        reading = Reading.take(self.view)
        name = request.match_info["service"]
        body = await self._off_loop(lambda: msgspec.json.encode(answer(reading, name)))
        return _problem(404, f"there is no service {name}") if body == b"null" else _json(body)

    async def _off_loop(self, work: Callable[[], bytes]) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)


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


def _json(body: bytes) -> web.Response:
    from aiohttp import web

    return web.Response(body=body, content_type=JSON)
