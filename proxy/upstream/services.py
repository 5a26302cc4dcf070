"""Services of a snapshot and their endpoints, as a worker uses them.

What has the same identity is the same object after a change: an endpoint keeps its connections and statistics, a
service its queue. Only endpoints that are other than they were are touched, new ones before old ones leave, and the
balancers are told who has come and who has gone. Iterators do a part at a time; traffic may go on in between.

Which services change when, and who else is told, is decided in proxy/table.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from discovery.delta import Identity, ServiceChange, identity
from discovery.model import Endpoint, ProxyHeader, Service
from mesh.balance import Balancer
from mesh.strategies import make_balancer
from proxy.http1.phases import service_phases
from proxy.policies import PolicyTools
from proxy.stats.rows import Rows
from proxy.stats.slots import WORKER_SLOT, endpoint_key, service_key
from proxy.upstream.breakers import Breakers
from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime
from proxy.upstream.queue import serve
from proxy.upstream.split import ServiceSplit

# Endpoints that one step deals with; each takes some microseconds.
STEP = 16


class ServiceTable:
    """`services` are by name; `shared` are those whose connections are limited over all workers, `crowded` those that
    wait for connections of any worker to end."""

    def __init__(
        self,
        rows: Rows,
        policies: PolicyTools,
        review: Callable[[EndpointRuntime], None],
        ring: Callable[[], None],
    ) -> None:
        """`review` is called with an endpoint that may be used for more, or for less, than before; `ring` wakes the
        other workers."""
        self.rows = rows
        self.policies = policies
        self.review = review
        self.ring = ring
        self.draws = policies.draws
        self.breakers = Breakers(rows.table.shared(WORKER_SLOT), self.draws)
        self.zone = ""
        self.is_starting = True  # nothing has been in force before
        self.services: dict[str, ServiceRuntime] = {}
        self.shared: set[ServiceRuntime] = set()
        self.crowded: set[ServiceRuntime] = set()

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
        """A service that no route leads to any more."""
        runtime = self.services.pop(name)
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
        runtime.phases = service_phases(service, self.policies.phases(runtime.slot, f"service {service.name}"))
        runtime.limit(service)
        runtime.retry = self.policies.retry_plan(service.retry, runtime.shared, runtime.retry)
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
                self.policies.stickiness(f"service/{service.name}", service.sticky_split, service.traffic_split),
                owner=f"service {service.name}",
                instance=self.policies.instance,
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

        if runtime.affinities is None or not runtime.affinities.is_of(affinity, self.policies.secret):
            runtime.affinities = affinities_for(
                service.name, affinity, self.policies.secret, runtime.endpoints.values()
            )

    # --- endpoints ------------------------------------------------------------------------------------------------

    def endpoint_for(self, runtime: ServiceRuntime, service: Service, endpoint: Endpoint) -> EndpointRuntime:
        row = self.rows.row(endpoint_key(service.name, endpoint.id, endpoint.address))
        made = EndpointRuntime(runtime, endpoint, service.pool, row, self.rows.shared(row))
        if not made.is_closed():
            self.breakers.open.add(made)  # others have ejected it before it was known here
        # What is there when the process starts does not start slowly: nobody else would take the load meanwhile.
        made.is_first = made.is_first and self.is_starting
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


def _by_version(endpoints: Iterable[EndpointRuntime]) -> dict[str, list[EndpointRuntime]]:
    found: dict[str, list[EndpointRuntime]] = {}
    for each in endpoints:
        found.setdefault(each.endpoint.version, []).append(each)
    return found


def _proxy_header(service: Service) -> ProxyHeader | None:
    return service.proxy_protocol if service.proxy_protocol is not ProxyHeader.OFF else None
