"""What a snapshot becomes inside a worker: services with their endpoints, and routes compiled per listener.

`Tables.steps` carries out a change: only services that it names are touched, and within them only endpoints that are
other than they were. What has the same identity is the same object afterwards: an endpoint keeps its connections and
statistics, a service its queue, a listener its connections.

A large change takes many steps, and traffic goes on between them, so their order matters: new services with their
endpoints, then the routes that lead to them; services that changed, new endpoints before old ones leave; listeners;
and last the services that are gone. Whatever a request meets on its way is there. But a route that is still in force
may then lead to endpoints that are already those of the new snapshot, so whoever carries out a change that is not large
(`Tables.size`) lets no traffic in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

from discovery.delta import Identity, ServiceChange, SnapshotChange, change_between, identity
from discovery.model import Endpoint, Listener, ProxyHeader, Route, Service, Snapshot, StreamRoute, TrafficSplit
from discovery.policies import Affinity, RetryPolicy
from mesh.balance import Balancer
from mesh.domains import Domains, domain_route
from mesh.draws import Draws
from mesh.edits import NO_EDIT, compile_request_edit
from mesh.retry import RetryBudget, RetryPlan
from mesh.strategies import make_balancer
from mesh.streams import StreamRouter
from mesh.subsets import SubsetRule
from proxy.clients import Clients
from proxy.http1.parties import ListenerRuntime, RouteRuntime
from proxy.http1.phases import PhaseTools, request_phases, service_phases
from proxy.kernel.cells import Shared, Slot, Table
from proxy.kernel.emit import FieldEdits
from proxy.kernel.entropy import random_unit
from proxy.l4.routes import StreamRouteRuntime
from proxy.stats.slots import WORKER_SLOT, endpoint_key, listener_key, route_key, service_key
from proxy.stats.words import RETRY_FLOOR_WORD
from proxy.upstream.breakers import Breakers
from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime, nobody
from proxy.upstream.queue import serve
from proxy.upstream.split import ServiceSplit

if TYPE_CHECKING:  # imported where they are configured
    from mesh.affinity import Stickiness
    from proxy.http1.mirror import Mirrors

# Endpoints that one step deals with; each takes some microseconds.
STEP = 16

AnyRouteRuntime = RouteRuntime | StreamRouteRuntime


# In force before the first one.
NOTHING = Snapshot()


class Follower(Protocol):
    """Who else goes by the services, DNS above all: it is told in the same step in which the proxy begins to decide by
    them, so the two never disagree."""

    def put(self, service: Service) -> None:
        """The service is new or other than it was."""

    def remove(self, name: str) -> None: ...


class Lease:
    """Says that a row of statistics is written to no more, when the last that held it is gone."""

    def __init__(self, number: int, released: Callable[[int], None]) -> None:
        self.number = number
        self.released = released

    def __del__(self) -> None:
        self.released(self.number)


class Rows:
    """The worker's rows of the statistics table by key, one object per row for all who write to it. `numbers` is the
    owner's: it has every key that a step of `Tables` may need."""

    def __init__(self, table: Table, worker: int, released: Callable[[int], None]) -> None:
        self.table = table
        self.worker = worker
        self.released = released
        self.rows: dict[str, Slot] = {}
        self.leases: WeakValueDictionary[int, Lease] = WeakValueDictionary()
        self.numbers: Mapping[str, int] = {}

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

    def shared(self, row: Slot) -> Shared:
        """The words of a row that all processes write to."""
        return self.table.shared(row.number)

    def forget(self, numbers: Iterable[tuple[str, int]]) -> None:
        """These keys have these rows no more; each is released once nobody writes to it."""
        for key, number in numbers:
            if self.rows.pop(key, None) is None and number not in self.leases:
                self.released(number)  # nobody ever did


class Tables:
    """The state in force. `services` and `listeners` are by name; `shared` are the services whose connections are
    limited over all workers."""

    def __init__(self, rows: Rows, review: Callable[[EndpointRuntime], None] = lambda _: None) -> None:
        """`review` is called with an endpoint that may be used for more, or for less, than before."""
        self.rows = rows
        self.review = review
        self.draws = Draws(int(random_unit() * 2**53))
        self.breakers = Breakers(rows.table.shared(WORKER_SLOT), self.draws)
        self.mirrors: Mirrors | None = None  # where copies of requests go; the data plane says
        self.secret = ""  # what cookies are signed with
        self.instance = ""  # whose draws they are
        self.snapshot = NOTHING
        self.zone = ""
        self.services: dict[str, ServiceRuntime] = {}
        self.shared: set[ServiceRuntime] = set()
        self.listeners: dict[str, ListenerRuntime] = {}
        self.clients: Clients | None = None  # who counts what each client has, while that is limited
        self.applied: dict[str, Listener] = {}
        self.followers: list[Follower] = []
        self.ring: Callable[[], None] = nobody  # wakes the other workers
        self.crowded: set[ServiceRuntime] = set()  # those that wait for connections of any worker to end
        self.domains: dict[str, Domains] = {}  # of every listener
        # Routes of every listener by the service that they name, whether it is there or not.
        self.named: dict[str, dict[str, list[AnyRouteRuntime]]] = {}

    def limit_clients(self, clients: Clients | None) -> None:
        """None: each may have as much as it wants."""
        if clients is not self.clients:
            self.clients = clients
            for listener in self.listeners.values():
                listener.clients = clients

    def apply(self, snapshot: Snapshot, slots: Mapping[str, int]) -> None:
        """Decide by `snapshot` at once. What is other than it was is found out here."""
        before, self.rows.numbers = self.rows.numbers, slots
        self.rows.forget([(key, number) for key, number in before.items() if slots.get(key, number) != number])
        for _ in self.steps(change_between(self.snapshot, snapshot)):
            pass
        self.rows.forget([(key, number) for key, number in before.items() if key not in slots])

    def steps(self, change: SnapshotChange) -> Iterator[None]:
        """Carry `change` out; it is in force when the iterator has ended. Traffic may go on between two steps."""
        snapshot = change.snapshot
        new = [each.now for each in change.services if each.was is None and each.now is not None]
        changed = [(each, each.now) for each in change.services if each.was is not None and each.now is not None]
        gone = [each.name for each in change.services if each.now is None]
        wanted = {listener.name: listener for listener in snapshot.listeners}
        settings = snapshot.settings
        is_another = self.secret != settings.secret or self.instance != settings.instance
        self.secret, self.instance = settings.secret, settings.instance
        # The others are made anew below, and need no care until then.
        lasting = {
            name: listener for name, listener in wanted.items() if self.applied.get(name) is listener and not is_another
        }
        if is_another:
            for runtime in self.services.values():
                self.take_fields(runtime, runtime.service)
                yield
        order = _Order(snapshot)
        if snapshot.settings.zone != self.zone:
            self.zone = snapshot.settings.zone
            for runtime in self.services.values():
                self.balance(runtime, runtime.service)
                yield
        for service in new:
            yield from self.add(service)
        for service in new:
            runtime = self.services[service.name]
            for routes in self.named.values():
                for route in routes.get(service.name, ()):
                    route.service = runtime
            self.follow(service, lasting, order)
            yield
        for each, service in changed:
            yield from self.change(each, service)
            self.follow(service, lasting, order)
            yield
        for name, listener in wanted.items():
            if name not in lasting:
                yield from self.put_listener(listener, snapshot.services, order)
        for name in self.listeners.keys() - wanted.keys():
            for table in (self.listeners, self.domains, self.named):
                del table[name]
        self.applied = wanted
        for name in gone:
            yield from self.remove(name)
        self.snapshot = snapshot

    def size(self, change: SnapshotChange) -> int:
        """How many endpoints, routes and services `steps` has to look at; each costs some tens of microseconds at
        most."""
        snapshot = change.snapshot
        count = sum(1 + len(each.put()) + len(each.taken()) for each in change.services)
        settings = snapshot.settings
        if (self.zone, self.secret, self.instance) != (settings.zone, settings.secret, settings.instance):
            count += sum(1 + len(runtime.endpoints) for runtime in self.services.values())
        for listener in snapshot.listeners:
            if self.applied.get(listener.name) is not listener or self.secret != settings.secret:
                count += 1 + len(listener.routes) + len(listener.streams)
                count += len(snapshot.services) if listener.by_domain else 0
        return count

    def follow(self, service: Service, listeners: Mapping[str, Listener], order: Callable[[str], int]) -> None:
        """The service is as it should be: its domain leads to it, and whoever else goes by it may know."""
        for listener in listeners.values():
            if listener.by_domain:
                self.put_domain(listener, self.domains[listener.name], service, order)
        for follower in self.followers:
            follower.put(service)

    # --- services -------------------------------------------------------------------------------------------------

    def add(self, service: Service) -> Iterator[None]:
        """A service that was not there; no route leads to it yet."""
        row = self.rows.row(service_key(service.name))
        runtime = ServiceRuntime(service, row, self.rows.shared(row), self.crowded, self.breakers)
        runtime.ring = self.ring
        runtime.proxy_header = _proxy_header(service)
        endpoints: dict[Identity, EndpointRuntime] = {}
        for count, endpoint in enumerate(service.endpoints, 1):
            endpoints[identity(endpoint)] = self.endpoint_for(runtime, service, endpoint)
            if count % STEP == 0:
                yield
        runtime.endpoints = endpoints
        self.balance(runtime, service)
        self.take_fields(runtime, service)
        self.services[service.name] = runtime
        self.breakers.sweeps.follow(runtime)
        yield

    def change(self, each: ServiceChange, service: Service) -> Iterator[None]:
        """A service that is other than it was, `service` now: in one step unless much of it is."""
        runtime = self.services[each.name]
        was = runtime.service
        runtime.proxy_header = _proxy_header(service)
        fresh: dict[Identity, EndpointRuntime] = {}
        known: list[tuple[EndpointRuntime, Endpoint]] = []
        for count, endpoint in enumerate(each.put(), 1):
            there = runtime.endpoints.get(identity(endpoint))
            if there is not None:
                known.append((there, endpoint))
            else:
                there = fresh[identity(endpoint)] = self.endpoint_for(runtime, service, endpoint)
                if there.usable:
                    there.came_back(int(time.monotonic() * 1000))
            if count % STEP == 0:
                yield
        runtime.endpoints.update(fresh)
        self.exchange(runtime, (), list(fresh.values()))
        self.take_fields(runtime, service)
        if was.pool != service.pool or was.proxy_protocol != service.proxy_protocol:
            told = {id(there) for there, _ in known}
            known.extend((there, there.endpoint) for there in runtime.endpoints.values() if id(there) not in told)
        for count, (there, endpoint) in enumerate(known, 1):
            self.update(runtime, there, endpoint)
            if count % STEP == 0:
                yield
        left = []
        for count, endpoint in enumerate(each.gone(), 1):
            there = runtime.endpoints.pop(identity(endpoint))
            there.retire()
            self.review(there)
            left.append(there)
            if count % STEP == 0:
                yield
        self.exchange(runtime, left, ())
        if was.load_balancing is not service.load_balancing or was.balancing != service.balancing:
            self.balance(runtime, service)
        if runtime.pending:
            serve(runtime)

    def remove(self, name: str) -> Iterator[None]:
        for routes in self.named.values():
            for route in routes.get(name, ()):
                route.service = None
        for domains in self.domains.values():
            domains.drop(name)
        runtime = self.services.pop(name)
        for follower in self.followers:
            follower.remove(name)
        self.shared.discard(runtime)
        for count, endpoint in enumerate(runtime.endpoints.values(), 1):
            endpoint.retire()
            self.review(endpoint)
            if count % STEP == 0:
                yield
        runtime.retire()
        if runtime.pending:
            serve(runtime)
        yield

    def take_fields(self, runtime: ServiceRuntime, service: Service) -> None:
        runtime.service = service
        runtime.timeout = service.timeout
        runtime.phases = service_phases(service, self.tools(runtime.slot, f"service {service.name}"))
        runtime.limit(service)
        runtime.retry = self.retry_plan(service.retry, runtime.shared, runtime.retry)
        runtime.deadline_header = service.deadline_header
        if runtime.max_total:
            self.shared.add(runtime)
            if runtime.pending:
                self.crowded.add(runtime)
        else:
            self.shared.discard(runtime)
        runtime.make_balancer = partial(self.balancer_for, service)
        self.bind(runtime, service)

    def bind(self, runtime: ServiceRuntime, service: Service) -> None:
        """What ties clients to endpoints and versions of a service."""
        runtime.split = (
            ServiceSplit(
                service.traffic_split,
                service.name,
                self.services,
                self.stickiness(f"service/{service.name}", service.sticky_split, service.traffic_split),
                owner=f"service {service.name}",
                instance=self.instance,
                is_nested=True,
            )
            if service.traffic_split
            else None
        )
        affinity = service.affinity
        if affinity is None:
            runtime.affinities = None
            return
        from mesh.affinity import affinities_for

        if runtime.affinities is None or not runtime.affinities.is_of(affinity, self.secret):
            runtime.affinities = affinities_for(service.name, affinity, self.secret, runtime.endpoints.values())

    def stickiness(self, owner: str, affinity: Affinity | None, shares: Sequence[TrafficSplit]) -> Stickiness | None:
        if affinity is None:
            return None
        from mesh.affinity import stickiness_for

        return stickiness_for(owner, affinity, self.secret, shares)

    # --- endpoints ------------------------------------------------------------------------------------------------

    def endpoint_for(self, runtime: ServiceRuntime, service: Service, endpoint: Endpoint) -> EndpointRuntime:
        row = self.rows.row(endpoint_key(service.name, endpoint.id, endpoint.address))
        made = EndpointRuntime(runtime, endpoint, service.pool, row, self.rows.shared(row))
        if not made.is_closed():
            self.breakers.open.add(made)  # others have ejected it before it was known here
        # What is there when the process starts does not start slowly: nobody else would take the load meanwhile.
        made.is_first = made.is_first and self.snapshot is NOTHING
        return made

    def update(self, runtime: ServiceRuntime, there: EndpointRuntime, endpoint: Endpoint) -> None:
        was = there.endpoint
        there.update(endpoint, runtime.service.pool)
        if was.version != endpoint.version:
            self.exchange_version(runtime, was.version, [there], ())
            self.exchange_version(runtime, endpoint.version, (), [there])
        if was.version != endpoint.version or was.metadata != endpoint.metadata:
            runtime.subsets.exchange([there], [there])
        if was.state is not endpoint.state:
            self.review(there)

    def balance(self, runtime: ServiceRuntime, service: Service) -> None:
        """New balancers for all endpoints there are."""
        runtime.balancer = self.balancer_for(service, list(runtime.endpoints.values()))
        by_version = _by_version(runtime.endpoints.values())
        runtime.versions = {
            version: self.balancer_for(service, some) for version, some in by_version.items() if version
        }
        runtime.subsets.clear()

    def balancer_for(self, service: Service, candidates: Sequence[EndpointRuntime]) -> Balancer:
        # Workers begin at different endpoints, or all of them would send their first request to the same one.
        start = self.draws.below(len(candidates)) if candidates else 0
        return make_balancer(service.load_balancing, candidates, start, service.balancing, self.zone, self.draws)

    def exchange(
        self, runtime: ServiceRuntime, gone: Sequence[EndpointRuntime], new: Sequence[EndpointRuntime]
    ) -> None:
        """Tell the balancers who has left and who has come."""
        if not gone and not new:
            return
        assert runtime.balancer is not None
        runtime.balancer.exchange(gone, new)
        runtime.subsets.exchange(gone, new)
        if runtime.affinities is not None:
            runtime.affinities.exchange(gone, new)
        gone_by, new_by = _by_version(gone), _by_version(new)
        for version in gone_by.keys() | new_by.keys():
            self.exchange_version(runtime, version, gone_by.get(version, ()), new_by.get(version, ()))

    def exchange_version(
        self, runtime: ServiceRuntime, version: str, gone: Sequence[EndpointRuntime], new: Sequence[EndpointRuntime]
    ) -> None:
        if not version:
            return
        balancer = runtime.versions.get(version)
        if balancer is None:
            runtime.versions[version] = self.balancer_for(runtime.service, new)
            return
        balancer.exchange(gone, new)
        if not balancer.candidates:
            del runtime.versions[version]

    # --- listeners ------------------------------------------------------------------------------------------------

    def put_listener(
        self, listener: Listener, services: Iterable[Service], order: Callable[[str], int]
    ) -> Iterator[None]:
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

    def stream_route_for(self, listener: Listener, route: StreamRoute) -> StreamRouteRuntime:
        return StreamRouteRuntime(
            route,
            self.rows.row(route_key(listener.name, route.name)),
            self.services.get(route.service) if route.service else None,
            ServiceSplit(route.split, route.service, self.services) if route.split else None,
            self.draws,
        )

    def tools(self, slot: Slot, owner: str) -> PhaseTools:
        return PhaseTools(slot, self.rows.shared(slot), self.rows.table, owner, self.instance, self.mirrors)

    def retry_plan(self, policy: RetryPolicy | None, shared: Shared, was: RetryPlan | None) -> RetryPlan | None:
        """A policy has its budget in its own row, and keeps it while it stays what it `was`."""
        if policy is None:
            return None
        if was is not None and was.policy == policy:
            return was
        return RetryPlan(policy, RetryBudget(policy, shared, RETRY_FLOOR_WORD), self.draws)

    def route_for(self, listener: Listener, route: Route) -> RouteRuntime:
        runtime = RouteRuntime()
        runtime.route = route
        runtime.listener = listener.name
        runtime.slot = self.rows.row(route_key(listener.name, route.name))
        runtime.service = self.services.get(route.service) if route.service else None
        runtime.version = route.version
        runtime.split = None
        if route.split:
            sticky = self.stickiness(f"route/{route.name}", route.sticky_split, route.split)
            runtime.split = ServiceSplit(
                route.split, route.service, self.services, sticky, owner=f"route {route.name}", instance=self.instance
            )
        runtime.subset = SubsetRule(route.subset) if route.subset is not None else None
        runtime.phases = request_phases(route, self.tools(runtime.slot, f"route {route.name}"))
        runtime.request_edits = field_edits(compile_request_edit(route.filters.request_headers))
        runtime.response_edits = field_edits(compile_request_edit(route.filters.response_headers))
        runtime.rewrite = route.filters.url_rewrite
        runtime.log_part = None
        runtime.matched_prefix = route.match.path.encode()
        # A service's timeout may change while its routes do not, so it is asked for at each request.
        runtime.timeout = -1.0 if route.timeout is None else route.timeout
        runtime.retry = self.retry_plan(route.retry, self.rows.shared(runtime.slot), None)
        return runtime


class _Order:
    """Where the services of a snapshot stand; looked up only where two of them claim the same."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.positions: dict[str, int] | None = None

    def __call__(self, name: str) -> int:
        if self.positions is None:
            self.positions = {service.name: index for index, service in enumerate(self.snapshot.services)}
        return self.positions.get(name, len(self.positions))  # one that is gone is about to let go


def _by_version(endpoints: Iterable[EndpointRuntime]) -> dict[str, list[EndpointRuntime]]:
    found: dict[str, list[EndpointRuntime]] = {}
    for each in endpoints:
        found.setdefault(each.endpoint.version, []).append(each)
    return found


def _proxy_header(service: Service) -> ProxyHeader | None:
    return service.proxy_protocol if service.proxy_protocol is not ProxyHeader.OFF else None


def field_edits(plan: tuple[frozenset[bytes], bytes]) -> FieldEdits | None:
    """The compiled form of a header plan; None when it changes nothing."""
    return None if plan == NO_EDIT else FieldEdits(sorted(plan[0]), plan[1])
