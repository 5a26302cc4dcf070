"""The Consul-shaped paths of the API. Errors are plain text, as Consul's clients expect them.

An instance of Consul is an endpoint here, and its ID is the endpoint's. Consul's IDs are unique in an agent and ours in
a service, so `Instances` finds the service of an ID among what the API registered; to register a known ID for another
service moves it, as in Consul. What the file or a directory defines is shown, and cannot be changed here.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from discovery.changes import (
    ChangeError,
    Conflict,
    Durable,
    HealthReport,
    Heartbeat,
    LimitReached,
    NotFound,
    PutEndpoint,
    RemoveEndpoint,
    StoreFailed,
)
from discovery.checks import CheckProtocol
from discovery.model import Endpoint, EndpointState, Service
from discovery.records import EndpointView
from discovery.registry import Applied
from proxy import build
from proxy.admin.api import Api, encoded
from proxy.admin.blocking import Query, index_headers, index_of
from proxy.admin.consul import views
from proxy.admin.consul.registration import REPORT, Allowed, check_id_of, read_registration
from proxy.admin.described import Described, as_met
from proxy.admin.problems import Handler, Refusal
from proxy.config.bodies import FILE_NAME
from proxy.config.json_tree import parse_json
from proxy.config.nodes import shown
from proxy.config.reading import Reading
from proxy.stats.reading import Reading as Numbers

if TYPE_CHECKING:
    from aiohttp import web

LOOPBACK = "127.0.0.1"
DEFAULTS = ("", "default")  # of namespaces and partitions

# Parameters that change nothing: every read is current and complete, and answers have one order.
HARMLESS = frozenset(("pretty", "stale", "consistent", "cached", "near", "token", "merge-central-config", "format"))
# Nor do these, in registering: an instance has one check, so it always replaces those that were there.
HARMLESS_WRITES = frozenset(("pretty", "token", "replace-existing-checks"))

STATUSES = {
    NotFound: 404,
    Conflict: 409,
    LimitReached: 507,
    StoreFailed: 503,
}
CHECK_STATES = {"any": None, "passing": views.PASSING, "critical": views.CRITICAL, "warning": "warning"}


class Instances:
    """The service of each ID that the API registered. The catalog tells which services have changed; they are looked at
    when somebody asks, so that who registers natively pays for nothing here."""

    def __init__(self, api: Api) -> None:
        self._registry = api.catalog.registry
        self._services: dict[str, set[str]] = {}  # of an ID
        self._ids: dict[str, frozenset[str]] = {}  # of a service
        self._changed = set(self._registry.services())
        api.on_close(api.catalog.subscribe(self._applied))

    def service_of(self, id: str) -> str | None:
        """The only or, where somebody registered the ID for several natively, the first by name."""
        self._look_again()
        return min(self._services.get(id, ()), default=None)

    def find(self, id: str) -> PutEndpoint | None:
        service = self.service_of(id)
        return self._registry.registered(service)[id] if service is not None else None

    def by_check(self, check_id: str) -> PutEndpoint | None:
        """The instance whose check is called so: service:ID, or as it was registered."""
        found = self.find(check_id.removeprefix("service:"))
        if found is not None and check_id_of(found.endpoint) in (check_id, f"service:{check_id}"):
            return found
        return next((put for put in self.all() if check_id_of(put.endpoint) == check_id), None)

    def all(self) -> Iterable[PutEndpoint]:
        self._look_again()
        for service in self._ids:
            yield from self._registry.registered(service).values()

    def _applied(self, applied: Applied) -> None:
        self._changed |= applied.services

    def _look_again(self) -> None:
        changed, self._changed = self._changed, set()
        for name in changed:
            self._look(name)

    def _look(self, service: str) -> None:
        former, now = self._ids.get(service, frozenset()), frozenset(self._registry.registered(service))
        for id in former - now:
            self._services[id].discard(service)
            if not self._services[id]:
                del self._services[id]
        for id in now - former:
            self._services.setdefault(id, set()).add(service)
        if now:
            self._ids[service] = now
        else:
            self._ids.pop(service, None)


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of a reading request."""

    query: Query
    tags: tuple[str, ...]
    passing: bool
    node_meta: tuple[tuple[str, str], ...]

    def takes(self, endpoint: Endpoint, place: views.Place) -> bool:
        if self.passing and endpoint.state is not EndpointState.HEALTHY:
            return False
        if not (views.is_shown(endpoint) and views.has_tags(endpoint, self.tags)):
            return False
        meta = place.node_of(endpoint)["Meta"] if self.node_meta else {}
        return all(meta.get(name) == value for name, value in self.node_meta)


class Consul:
    def __init__(self, api: Api) -> None:
        self.api = api
        self.instances = Instances(api)
        self.name = socket.gethostname()

    def routes(self) -> list[web.RouteDef]:
        from aiohttp import web

        return [
            web.put("/v1/agent/service/register", _plain(self.register)),
            web.put("/v1/agent/service/deregister/{id:.+}", _plain(self.deregister)),
            web.put("/v1/agent/check/{verb:pass|warn|fail}/{id:.+}", _plain(self.report)),
            web.put("/v1/agent/check/update/{id:.+}", _plain(self.update)),
            web.get("/v1/agent/self", _plain(self.agent_self)),
            web.get("/v1/agent/services", _plain(self.agent_services)),
            web.get("/v1/status/leader", _plain(self.leader)),
            web.get("/v1/catalog/datacenters", _plain(self.datacenters)),
            web.get("/v1/catalog/nodes", _plain(self.nodes)),
            web.get("/v1/catalog/services", _plain(self.services)),
            web.get("/v1/catalog/service/{name}", _plain(self.service)),
            web.get("/v1/health/service/{name}", _plain(self.health)),
            web.get("/v1/health/checks/{name}", _plain(self.checks)),
            web.get("/v1/health/state/{state}", _plain(self.checks_in_state)),
        ]

    # --- registering ------------------------------------------------------------------------------------------------

    async def register(self, request: web.Request) -> web.Response:
        from aiohttp import web

        _only(request, HARMLESS_WRITES)
        config = self.api.view.config
        reading = Reading(FILE_NAME)
        root = parse_json(await request.read(), reading)
        allowed = Allowed(_peer(request), config.registry.min_interval, config.admin.allow_command_checks)
        registration = read_registration(root, reading, allowed) if root is not None else None
        if registration is None:
            said = "; ".join(f"{each.key}: {each.message}" if each.key else each.message for each in reading.problems())
            raise Refusal(400, said)
        service, endpoint = registration.service, registration.endpoint
        changes: list[Durable] = []
        former = self.instances.service_of(endpoint.id)
        if former is not None and former != service:
            changes.append(RemoveEndpoint(service=former, id=endpoint.id))
        changes.append(PutEndpoint(service=service, endpoint=endpoint, deregister_after=registration.deregister_after))
        await self.api.catalog.change(*changes)
        if registration.initial is not None and endpoint.health_check is not None:
            self._begin(service, endpoint, registration.initial)
        return web.Response()

    def _begin(self, service: str, endpoint: Endpoint, state: EndpointState) -> None:
        """The state before the first check."""
        assert endpoint.health_check is not None
        if endpoint.health_check.protocol is CheckProtocol.TTL:
            self.api.catalog.report(Heartbeat(service=service, id=endpoint.id, state=state, reason="registered so"))
        elif state is EndpointState.HEALTHY:
            self.api.catalog.report(
                HealthReport(
                    service=service, id=endpoint.id, address=endpoint.address, state=state, reason="registered so"
                )
            )

    async def deregister(self, request: web.Request) -> web.Response:
        from aiohttp import web

        _only(request, HARMLESS_WRITES)
        id = request.match_info["id"]
        service = self.instances.service_of(id)
        if service is None:
            raise Refusal(404, f'unknown service ID "{shown(id)}", expected the ID of a registration')
        await self.api.catalog.change(RemoveEndpoint(service=service, id=id))
        return web.Response()

    async def report(self, request: web.Request) -> web.Response:
        _only(request, HARMLESS_WRITES | {"note"})
        verb, note = request.match_info["verb"], request.query.get("note", "")[:1024]
        if verb == "warn":
            note = f"warning: {note}" if note else "warning"
        return self._reported(request, EndpointState.UNHEALTHY if verb == "fail" else EndpointState.HEALTHY, note)

    async def update(self, request: web.Request) -> web.Response:
        _only(request, HARMLESS_WRITES)
        reading = Reading(FILE_NAME)
        root = parse_json(await request.read(), reading)
        report = REPORT.read(root, None, reading) if root is not None else None
        if report is None:
            raise Refusal(400, "; ".join(f"{each.key}: {each.message}" for each in reading.problems()))
        return self._reported(request, report.state, report.output)

    def _reported(self, request: web.Request, state: EndpointState, output: str) -> web.Response:
        from aiohttp import web

        check = request.match_info["id"]
        put = self.instances.by_check(check)
        if put is None:
            raise Refusal(404, f'unknown check ID "{shown(check)}", expected service: and the ID of a registration')
        own = put.endpoint.health_check
        if own is None or own.protocol is not CheckProtocol.TTL:
            raise Refusal(404, f'check "{shown(check)}" is no TTL check')
        self.api.catalog.report(Heartbeat(service=put.service, id=put.endpoint.id, state=state, reason=output))
        return web.Response()

    # --- the agent --------------------------------------------------------------------------------------------------

    async def agent_self(self, request: web.Request) -> web.Response:
        _only(request, HARMLESS)
        return encoded(views.agent_self(self._place(request), build.version()))

    async def agent_services(self, request: web.Request) -> web.Response:
        """What was registered with the API: the rest is not a registrator's to take away."""
        self._asked(request, HARMLESS | {"ns", "partition", "dc"})
        return encoded(
            {
                put.endpoint.id: views.agent_service(put.service, put.endpoint)
                for put in self.instances.all()
                if views.is_shown(put.endpoint)
            }
        )

    async def leader(self, request: web.Request) -> web.Response:
        return encoded(f"{LOOPBACK}:8300")

    async def datacenters(self, request: web.Request) -> web.Response:
        return encoded([views.DATACENTER])

    # --- the catalog and health -------------------------------------------------------------------------------------

    async def nodes(self, request: web.Request) -> web.Response:
        asked = self._asked(request)
        await self.api.waiting.news(self.api.catalog, asked.query)
        found = [
            node
            for node in self._place(request).all_nodes()
            if all(node["Meta"].get(name) == value for name, value in asked.node_meta)
        ]
        return self._found(found, index_of(self.api.catalog))

    async def services(self, request: web.Request) -> web.Response:
        asked = self._asked(request)
        await self.api.waiting.news(self.api.catalog, asked.query)
        services: Iterable[Service] = self.api.catalog.registry.snapshot.services
        place = self._place(request)
        if asked.node_meta:
            services = [_only_those(service, asked, place) for service in services]
        return self._found(views.catalog_services(services), index_of(self.api.catalog))

    async def service(self, request: web.Request) -> web.Response:
        name, place, asked = await self._news_of(request)
        _, shown_views, index = self._views(name, asked, place)
        return self._found(views.catalog_service(name, shown_views, place), index)

    async def health(self, request: web.Request) -> web.Response:
        name, place, asked = await self._news_of(request)
        service, shown_views, index = self._views(name, asked, place)
        return self._found(views.health_service(service, shown_views, place, index), index)

    async def checks(self, request: web.Request) -> web.Response:
        name, place, asked = await self._news_of(request)
        service, shown_views, index = self._views(name, asked, place)
        return self._found([check for view in shown_views for check in views.checks(service, view, place)], index)

    async def checks_in_state(self, request: web.Request) -> web.Response:
        state = request.match_info["state"]
        if state not in CHECK_STATES:
            raise Refusal(400, f"'{shown(state)}' is not a status, expected {', '.join(CHECK_STATES)}")
        asked, place = self._asked(request), self._place(request)
        await self.api.waiting.news(self.api.catalog, asked.query)
        wanted, found, reading = CHECK_STATES[state], [], self.api.reading()
        for name in sorted(self.api.catalog.registry.services()):
            service, shown_views, _ = self._views(name, asked, place, reading)
            checks = [check for view in shown_views for check in views.checks(service, view, place)]
            found += [check for check in checks if wanted is None or check["Status"] == wanted]
        return self._found(found, index_of(self.api.catalog))

    async def _news_of(self, request: web.Request) -> tuple[str, views.Place, Asked]:
        name, asked = request.match_info["name"], self._asked(request)
        await self.api.waiting.news(self.api.catalog, asked.query, name)
        return name, self._place(request), asked

    def _views(
        self, name: str, asked: Asked, place: views.Place, reading: Numbers | None = None
    ) -> tuple[Service, list[EndpointView], int]:
        """A service that is not there has no endpoints; to ask for it is no error in Consul."""
        described = Described.find(self.api.catalog, name)
        index = index_of(self.api.catalog, name)
        if described is None:
            return Service(name=name), [], index
        met = as_met(reading or self.api.reading(), described)
        return described.service, [view for view in met if asked.takes(view.endpoint, place)], index

    def _place(self, request: web.Request) -> views.Place:
        nodes = {node.name: node for node in self.api.catalog.registry.snapshot.nodes}
        return views.Place(self.name, _own_address(request), nodes)

    def _found(self, value: object, index: int) -> web.Response:
        # Clients ask for these; every answer is the present.
        meta = {"X-Consul-KnownLeader": "true", "X-Consul-LastContact": "0"}
        return encoded(value, {**index_headers(index), **meta})

    def _asked(self, request: web.Request, known: frozenset[str] | None = None) -> Asked:
        parameters = request.query
        _only(
            request,
            known or HARMLESS | {"dc", "ns", "partition", "index", "wait", "tag", "passing", "node-meta", "filter"},
        )
        if parameters.get("dc", views.DATACENTER) not in ("", views.DATACENTER):
            raise Refusal(500, "No path to datacenter")  # Consul's words and status
        if parameters.get("filter"):
            raise Refusal(400, "filter expressions are not supported")
        node_meta = []
        for pair in parameters.getall("node-meta", ()):
            name, _, value = pair.partition(":")
            node_meta.append((name, value))
        return Asked(
            query=Query.of(parameters),
            tags=tuple(tag for tag in parameters.getall("tag", ()) if tag),
            passing="passing" in parameters and parameters["passing"].lower() not in ("0", "false"),
            node_meta=tuple(node_meta),
        )


def _only(request: web.Request, known: frozenset[str]) -> None:
    for name, value in request.query.items():
        if name in ("ns", "partition"):
            if value not in DEFAULTS:
                raise Refusal(400, f"there is only the {'namespace' if name == 'ns' else name} default")
        elif name not in known:
            raise Refusal(400, f"parameter {shown(name)} is not supported")


def _only_those(service: Service, asked: Asked, place: views.Place) -> Service:
    import msgspec

    kept = tuple(endpoint for endpoint in service.endpoints if asked.takes(endpoint, place))
    return msgspec.structs.replace(service, endpoints=kept)


def _peer(request: web.Request) -> str:
    """Where a registration comes from; over a unix socket: from this machine."""
    remote = request.remote or ""
    return remote.partition("%")[0] if remote and not remote.startswith("/") else LOOPBACK


def _own_address(request: web.Request) -> str:
    """The address of ours that was asked."""
    name = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return str(name[0]) if isinstance(name, tuple) else LOOPBACK


def _plain(handler: Handler) -> Handler:
    """Errors as Consul says them: the sentence and a status."""

    async def answered(request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        try:
            return await handler(request)
        except Refusal as error:
            status = 400 if error.status == 422 else error.status
            return web.Response(status=status, text=error.detail)
        except ChangeError as error:
            found = (code for kind, code in STATUSES.items() if isinstance(error, kind))
            return web.Response(status=next(found, 409), text=str(error))

    return answered
