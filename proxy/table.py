"""What a snapshot becomes inside a worker: services with their endpoints, and routes compiled per listener.

`Tables.apply` builds the new state beside the old one and then swaps references. What has the same identity is the
same object afterwards: an endpoint keeps its connections and statistics, a service its queue, a listener its
connections. A service or listener whose value did not change is not even looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from weakref import WeakValueDictionary

from discovery.model import Endpoint, Listener, ProxyHeader, Route, Service, Snapshot, StreamRoute
from mesh.balance import Balancer, make_balancer
from mesh.edits import NO_EDIT, compile_request_edit
from mesh.router import Router
from mesh.streams import StreamRouter
from proxy.http1.parties import ListenerRuntime, RouteRuntime
from proxy.http1.phases import request_phases
from proxy.kernel.cells import Slot, Table
from proxy.kernel.emit import FieldEdits
from proxy.kernel.entropy import random_unit
from proxy.l4.routes import StreamRouteRuntime
from proxy.stats.slots import endpoint_key, listener_key, route_key, service_key
from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime
from proxy.upstream.split import ServiceSplit

Identity = tuple[str, str]  # id and address; the service's name is the third part


class Lease:
    """Says that a row of statistics is written to no more, when the last that held it is gone."""

    def __init__(self, number: int, released: Callable[[int], None]) -> None:
        self.number = number
        self.released = released

    def __del__(self) -> None:
        self.released(self.number)


class Rows:
    """The worker's rows of the statistics table by key, one object per row for all who write to it."""

    def __init__(self, table: Table, worker: int, released: Callable[[int], None]) -> None:
        self.table = table
        self.worker = worker
        self.released = released
        self.rows: dict[str, Slot] = {}
        self.leases: WeakValueDictionary[int, Lease] = WeakValueDictionary()
        self.numbers: Mapping[str, int] = {}

    def update(self, numbers: Mapping[str, int]) -> None:
        """From now on these keys have rows. A key that is gone is released once nobody writes to its row."""
        self.numbers = numbers
        self.rows = {key: row for key, row in self.rows.items() if numbers.get(key) == row.number}

    def row(self, key: str) -> Slot:
        row = self.rows.get(key)
        if row is None:
            row = self.table.slot(self.worker, self.numbers[key])
            # A key that comes back while an old stream still writes to its row gets the same row again.
            lease = self.leases.get(row.number)
            if lease is None:
                lease = self.leases[row.number] = Lease(row.number, self.released)
            row.lease = lease
            self.rows[key] = row
        return row


class Tables:
    """The state in force. `services` and `listeners` are by name; `shared` are the services with `pool.max_total`."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.services: dict[str, ServiceRuntime] = {}
        self.shared: list[ServiceRuntime] = []
        self.listeners: dict[str, ListenerRuntime] = {}
        self.applied: dict[str, Listener] = {}
        self.crowded: set[ServiceRuntime] = set()  # those that wait for connections of any worker to end

    def apply(self, snapshot: Snapshot, slots: Mapping[str, int]) -> None:
        self.rows.update(slots)
        names_before = set(self.services)
        self.apply_services(snapshot.services)
        services_moved = names_before != set(self.services)
        for listener in snapshot.listeners:
            if self.applied.get(listener.name) is listener and not services_moved:
                continue
            self.apply_listener(listener)
        wanted = {listener.name: listener for listener in snapshot.listeners}
        for name in set(self.listeners) - set(wanted):
            del self.listeners[name]
        self.applied = wanted

    # --- services -------------------------------------------------------------------------------------------------

    def apply_services(self, services: tuple[Service, ...]) -> None:
        wanted = {service.name: service for service in services}
        for name in set(self.services) - set(wanted):
            for endpoint in self.services.pop(name).endpoints.values():
                endpoint.retire()
        fresh = []
        for name, service in wanted.items():
            runtime = self.services.get(name)
            if runtime is None:
                runtime = ServiceRuntime(service, self.rows.row(service_key(name)), self.crowded)
                self.services[name] = runtime
            elif runtime.service is service:
                continue
            fresh.append((runtime, service))
        # Splits may name any service, so they are made when all services are there.
        for runtime, service in fresh:
            self.apply_service(runtime, service)
        self.shared = [runtime for runtime in self.services.values() if runtime.max_total]

    def apply_service(self, runtime: ServiceRuntime, service: Service) -> None:
        runtime.service = service
        runtime.timeout = service.timeout
        runtime.max_pending = service.pool.max_pending
        runtime.max_total = service.pool.max_total
        runtime.proxy_header = service.proxy_protocol if service.proxy_protocol is not ProxyHeader.OFF else None
        if runtime.max_total and runtime.pending:
            self.crowded.add(runtime)
        endpoints: dict[Identity, EndpointRuntime] = {}
        for endpoint in service.endpoints:
            identity = (endpoint.id, endpoint.address)
            endpoints[identity] = self.endpoint_for(runtime, service, endpoint, identity)
        for identity, gone in runtime.endpoints.items():
            if identity not in endpoints:
                gone.retire()
        runtime.endpoints = endpoints
        runtime.balancer = self.balancer_for(service, list(endpoints.values()))
        versions = {endpoint.version for endpoint in service.endpoints if endpoint.version}
        runtime.versions = {
            version: self.balancer_for(
                service, [entry for entry in endpoints.values() if entry.endpoint.version == version]
            )
            for version in versions
        }
        runtime.split = (
            ServiceSplit(service.traffic_split, service.name, self.services) if service.traffic_split else None
        )

    def endpoint_for(
        self, runtime: ServiceRuntime, service: Service, endpoint: Endpoint, identity: Identity
    ) -> EndpointRuntime:
        known = runtime.endpoints.get(identity)
        if known is not None:
            known.update(endpoint, service.pool)
            return known
        row = self.rows.row(endpoint_key(service.name, endpoint.id, endpoint.address))
        return EndpointRuntime(runtime, endpoint, service.pool, row)

    def balancer_for(self, service: Service, candidates: list[EndpointRuntime]) -> Balancer:
        # Workers begin at different endpoints, or all of them would send their first request to the same one.
        start = int(random_unit() * len(candidates)) if candidates else 0
        return make_balancer(service.load_balancing, candidates, start)

    # --- listeners ------------------------------------------------------------------------------------------------

    def apply_listener(self, listener: Listener) -> None:
        runtime = self.listeners.get(listener.name)
        if runtime is None:
            runtime = ListenerRuntime(listener.name, listener.protocol, self.rows.row(listener_key(listener.name)))
            self.listeners[listener.name] = runtime
        runtime.protocol = listener.protocol
        runtime.accept_proxy = listener.accept_proxy
        runtime.router = Router([(route, self.route_for(listener, route)) for route in listener.routes])
        runtime.streams = StreamRouter([(route, self.stream_route_for(listener, route)) for route in listener.streams])
        runtime.limit(listener.max_connections)

    def stream_route_for(self, listener: Listener, route: StreamRoute) -> StreamRouteRuntime:
        return StreamRouteRuntime(
            route,
            self.rows.row(route_key(listener.name, route.name)),
            self.services.get(route.service) if route.service else None,
            ServiceSplit(route.split, route.service, self.services) if route.split else None,
        )

    def route_for(self, listener: Listener, route: Route) -> RouteRuntime:
        runtime = RouteRuntime()
        runtime.route = route
        runtime.listener = listener.name
        runtime.slot = self.rows.row(route_key(listener.name, route.name))
        runtime.service = self.services.get(route.service) if route.service else None
        runtime.version = route.version
        runtime.split = ServiceSplit(route.split, route.service, self.services) if route.split else None
        runtime.phases = request_phases(route)
        runtime.request_edits = field_edits(compile_request_edit(route.filters.request_headers))
        runtime.response_edits = field_edits(compile_request_edit(route.filters.response_headers))
        runtime.rewrite = route.filters.url_rewrite
        runtime.log_part = None
        runtime.matched_prefix = route.match.path.encode()
        # A service's timeout may change while its routes do not, so it is asked for at each request.
        runtime.timeout = -1.0 if route.timeout is None else route.timeout
        return runtime


def field_edits(plan: tuple[frozenset[bytes], bytes]) -> FieldEdits | None:
    """The compiled form of a header plan; None when it changes nothing."""
    return None if plan == NO_EDIT else FieldEdits(sorted(plan[0]), plan[1])
