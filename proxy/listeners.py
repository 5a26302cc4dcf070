"""Listeners of a snapshot and their routes, as a worker uses them.

The routes of a listener are compiled to one router for requests and one for connections, made beside those in force
and put in their place in one step. Which routes name a service is kept, so that they find it when it comes and let go
of it when it goes; a listener that serves services by domain has a route for each that has one (mesh/domains.py).

Listening sockets are none of this file's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from discovery.model import Listener, Route, Service, StreamRoute
from mesh.domains import Domains, domain_route
from mesh.edits import NO_EDIT, compile_request_edit
from mesh.streams import StreamRouter
from mesh.subsets import SubsetRule
from proxy.clients import Clients
from proxy.http1.parties import ListenerRuntime, RouteRuntime
from proxy.http1.phases import request_phases
from proxy.kernel.emit import FieldEdits
from proxy.l4.routes import StreamRouteRuntime
from proxy.policies import PolicyTools
from proxy.stats.rows import Rows
from proxy.stats.slots import listener_key, route_key
from proxy.upstream.endpoint import ServiceRuntime
from proxy.upstream.split import ServiceSplit

AnyRouteRuntime = RouteRuntime | StreamRouteRuntime


class ListenerTable:
    """`listeners` are by name. `services` are those that routes may lead to."""

    def __init__(self, rows: Rows, policies: PolicyTools, services: Mapping[str, ServiceRuntime]) -> None:
        self.rows = rows
        self.policies = policies
        self.services = services
        self.listeners: dict[str, ListenerRuntime] = {}
        self.clients: Clients | None = None  # who counts what each client has, while that is limited
        self.domains: dict[str, Domains] = {}  # of every listener
        # Routes of every listener by the service that they name, whether it is there or not.
        self.named: dict[str, dict[str, list[AnyRouteRuntime]]] = {}

    def limit_clients(self, clients: Clients | None) -> None:
        """None: each may have as much as it wants."""
        if clients is not self.clients:
            self.clients = clients
            for listener in self.listeners.values():
                listener.clients = clients

    # --- services come and go -------------------------------------------------------------------------------------

    def link(self, runtime: ServiceRuntime) -> None:
        """The service is there: routes that name it lead to it."""
        for routes in self.named.values():
            for route in routes.get(runtime.name, ()):
                route.service = runtime

    def unlink(self, name: str) -> None:
        """The service is about to go: no route leads to it any more."""
        for routes in self.named.values():
            for route in routes.get(name, ()):
                route.service = None
        for domains in self.domains.values():
            domains.drop(name)

    def follow(self, service: Service, listeners: Iterable[Listener], order: Callable[[str], int]) -> None:
        """The service is as it should be: on these listeners its domain leads to it."""
        for listener in listeners:
            if listener.by_domain:
                self.put_domain(listener, self.domains[listener.name], service, order)

    # --- listeners ------------------------------------------------------------------------------------------------

    def put(self, listener: Listener, services: Iterable[Service], order: Callable[[str], int]) -> Iterator[None]:
        """A listener that is new or other than it was; its routes are made beside those in force."""
        named: dict[str, list[AnyRouteRuntime]] = {}
        pairs = [(route, self.route_for(listener, route)) for route in listener.routes]
        streams = [(route, self.stream_route_for(listener, route)) for route in listener.streams]
        made: list[AnyRouteRuntime] = [route for _, route in pairs]
        for route in made + [route for _, route in streams]:
            if route.route.service:
                named.setdefault(route.route.service, []).append(route)
        domains = Domains(pairs)
        if listener.by_domain:
            for service in services:
                self.put_domain(listener, domains, service, order)
                yield
        runtime = self.listeners.get(listener.name)
        if runtime is None:
            runtime = ListenerRuntime(listener.name, listener.protocol, self.rows.row(listener_key(listener.name)))
            runtime.clients = self.clients
            self.listeners[listener.name] = runtime
        self.named[listener.name] = named
        self.domains[listener.name] = domains
        runtime.protocol = listener.protocol
        runtime.accept_proxy = listener.accept_proxy
        runtime.router = domains.router
        runtime.streams = StreamRouter(streams)
        runtime.limit(listener.max_connections)
        yield

    def put_domain(self, listener: Listener, domains: Domains, service: Service, order: Callable[[str], int]) -> None:
        if not service.domain:
            domains.drop(service.name)
            return
        route = domain_route(service)
        if not domains.has(service.name, route):
            domains.put(service.name, route, self.route_for(listener, route), order)

    def remove(self, name: str) -> None:
        for table in (self.listeners, self.domains, self.named):
            del table[name]

    # --- routes ---------------------------------------------------------------------------------------------------

    def stream_route_for(self, listener: Listener, route: StreamRoute) -> StreamRouteRuntime:
        return StreamRouteRuntime(
            route,
            self.rows.row(route_key(listener.name, route.name)),
            self.services.get(route.service) if route.service else None,
            ServiceSplit(route.split, route.service, self.services) if route.split else None,
            self.policies.draws,
        )

    def route_for(self, listener: Listener, route: Route) -> RouteRuntime:
        runtime = RouteRuntime()
        runtime.route = route
        runtime.listener = listener.name
        runtime.slot = self.rows.row(route_key(listener.name, route.name))
        runtime.service = self.services.get(route.service) if route.service else None
        runtime.version = route.version
        runtime.split = None
        if route.split:
            sticky = self.policies.stickiness(f"route/{route.name}", route.sticky_split, route.split)
            runtime.split = ServiceSplit(
                route.split,
                route.service,
                self.services,
                sticky,
                owner=f"route {route.name}",
                instance=self.policies.instance,
            )
        runtime.subset = SubsetRule(route.subset) if route.subset is not None else None
        runtime.phases = request_phases(route, self.policies.phases(runtime.slot, f"route {route.name}"))
        runtime.request_edits = field_edits(compile_request_edit(route.filters.request_headers))
        runtime.response_edits = field_edits(compile_request_edit(route.filters.response_headers))
        runtime.rewrite = route.filters.url_rewrite
        runtime.log_part = None
        runtime.matched_prefix = route.match.path.encode()
        # A service's timeout may change while its routes do not, so it is asked for at each request.
        runtime.timeout = -1.0 if route.timeout is None else route.timeout
        runtime.retry = self.policies.retry_plan(route.retry, self.rows.shared(runtime.slot), None)
        return runtime


def field_edits(plan: tuple[frozenset[bytes], bytes]) -> FieldEdits | None:
    """The compiled form of a header plan; None when it changes nothing."""
    return None if plan == NO_EDIT else FieldEdits(sorted(plan[0]), plan[1])
