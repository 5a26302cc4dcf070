"""The admin API and the metrics address: HTTP for the operator, the scraper, the prober and whoever registers.

One `Server` per address. A request passes the access rules (proxy/admin/access.py) and then the handler of its path;
these are grouped by what they are about, one file each. Work that takes its time (reading statistics, encoding,
compressing) is left to a thread, so that a scrape of 10,000 endpoints delays nothing that the agent does. Only PUT,
POST and DELETE change anything. Errors are problem+json (problems.py); Consul's paths have Consul's.

aiohttp is imported when the first address is served; requests are not logged. Never touches a worker.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from discovery.config import AdminSettings
from proxy.admin.access import Access
from proxy.admin.api import Api
from proxy.admin.connections import Connections
from proxy.admin.consul.handlers import Consul
from proxy.admin.endpoints import Endpoints
from proxy.admin.explain import Explain
from proxy.admin.nodes import Nodes
from proxy.admin.plan import Plans
from proxy.admin.problems import Handler, guard
from proxy.admin.records import Requests
from proxy.admin.routes import Routes
from proxy.admin.sd import PrometheusTargets
from proxy.admin.services import Services
from proxy.admin.state import Probes, State
from proxy.admin.tap import Taps
from proxy.admin.view import AgentView
from proxy.admin.watch import Watch

if TYPE_CHECKING:
    from aiohttp import web

# A service with a thousand endpoints that say everything is less.
MAX_BODY = 1024 * 1024
# One thread per kind of work: a long scrape does not hold up `hivemesh stats`.
THREADS = 2
CLOSE_TIMEOUT = 2.0
# Clients that wait while the agent is started again; the kernel takes less where net.core.somaxconn is less.
BACKLOG = 4096


class Server:
    """An address that is served. `address` is as bound, so port 0 has become a port."""

    def __init__(
        self, runner: web.AppRunner, address: str, api: Api, listening: asyncio.Server, connections: Connections
    ) -> None:
        self.address = address
        self._runner = runner
        self._api = api
        self._listening = listening
        self._connections = connections

    async def stop_accepting(self) -> None:
        """Leave new connections to another process that accepts on the same socket; those that are open go on, but
        nobody waits for news here any more."""
        self._listening.close()
        self._api.leave()

    async def close(self) -> None:
        """Stop listening, give requests in flight a moment, then close what is left."""
        self._listening.close()
        self._api.leave()
        self._connections.close()
        await self._runner.cleanup()
        self._api.close()


async def serve(view: AgentView, settings: AdminSettings, sock: socket.socket, bound: str) -> Server:
    """The whole API on `sock`, which listens on `settings.address` and is this object's from now on; `bound` is the
    address with the port that it got."""
    return await _serve(view, settings, sock, bound, Access(settings.address, settings.token), whole=True)


async def serve_metrics(
    view: AgentView, settings: AdminSettings, address: str, sock: socket.socket, bound: str
) -> Server:
    """Only /metrics, /livez and /readyz. An address that others can reach is reached by names of their choice."""
    from proxy.config.addresses import is_loopback

    access = Access(address, any_host=not is_loopback(address))
    return await _serve(view, settings, sock, bound, access, whole=False)


def is_ours(record: logging.LogRecord) -> bool:
    """A request that is none has its 400. Told of each, with its stack, a scanner would fill the log."""
    from aiohttp.http_exceptions import HttpProcessingError

    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


async def _serve(
    view: AgentView, settings: AdminSettings, sock: socket.socket, bound: str, access: Access, whole: bool
) -> Server:
    from aiohttp import web

    api = Api(view, ThreadPoolExecutor(THREADS, thread_name_prefix="admin"), settings.max_waiting)
    connections = Connections(settings, view.admin)
    app = web.Application(middlewares=[timed(connections), guard(access)], client_max_size=MAX_BODY)
    app.add_routes(Probes(api).routes())
    if whole:
        # The native paths first: where Consul's are the same, they are not served.
        native = (State, Explain, Services, Endpoints, Routes, Nodes, Plans, Watch, Requests, Taps, PrometheusTargets)
        for part in (*native, Consul):
            app.add_routes(part(api).routes())
    log = logging.getLogger("hivemesh.admin")
    log.addFilter(is_ours)
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=log,
        shutdown_timeout=CLOSE_TIMEOUT,
        handle_signals=False,
        handler_cancellation=True,  # a reader that has gone does not go on waiting
    )
    await runner.setup()
    assert runner.server is not None
    connections.understand = runner.server
    listening = await asyncio.get_running_loop().create_server(connections.accept, sock=sock, backlog=BACKLOG)
    return Server(runner, bound, api, listening, connections)


def timed(connections: Connections) -> Any:
    """The middleware around everything: the connection is busy while a request has its handler."""
    from aiohttp import web

    @web.middleware
    async def handled(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = connections.began(request.transport, request.content)
        try:
            return await handler(request)
        finally:
            if connection is not None:
                connection.answered()

    return handled
