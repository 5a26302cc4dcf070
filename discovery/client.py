"""`ServiceDiscovery`: register, look up and watch services from a Python program.

    sd = ServiceDiscovery()                                   a registry of this program alone
    sd = ServiceDiscovery.connect("http://127.0.0.1:9900")    that of a running hivemesh

The calls are the same. Both turn into the changes of discovery/changes.py: embedded they go to a `Catalog` of this
process, with its health checks, connected they are requests to the admin API. What is refused raises a `ChangeError`:
NotFound, Conflict, Stale, LimitReached, StoreFailed, Invalid, NotInThisRelease, and connected also Unreachable and
Denied. Every call has a deadline. docs/guide/python.md is the guide.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Protocol, Self

from discovery import terms
from discovery.changes import (
    Durable,
    Heartbeat,
    PutEndpoint,
    RemoveEndpoint,
    RemovePolicies,
    RemoveRoute,
)
from discovery.model import Endpoint, EndpointState, Route, Service
from discovery.terms import (
    HealthCheckConfig,
    LoadBalancingStrategy,
    RoutingRule,
    ServiceConfig,
    ServiceMeshConfig,
    TrafficSplitConfig,
)

WAIT = 60.0  # seconds that a watch waits at a time before it asks whether the other side is still there


class Backend(Protocol):
    """Where the registry is."""

    async def change(self, *changes: Durable | Heartbeat) -> None:
        """Raises ChangeError; then nothing has changed, but for earlier ones of several."""
        ...

    async def names(self) -> list[str]: ...

    async def service(self, name: str) -> Service | None: ...

    async def newer(self, name: str, index: int, wait: float) -> tuple[int, Service | None]:
        """The service when something newer than `index` is known of it, or after `wait` seconds, and the index to ask
        with next. `index` 0: at once."""
        ...

    async def route(self, name: str) -> Route | None:
        """A route that was added by such a program or by the API."""
        ...

    async def close(self) -> None: ...


class ServiceDiscovery:
    """Also an asynchronous context manager, which closes it."""

    def __init__(self, backend: Backend | None = None) -> None:
        """Embedded, unless another `backend` is given; it begins with the first call, in the running event loop."""
        if backend is None:
            from discovery.embedded import Embedded

            backend = Embedded()
        self._backend = backend
        self._turns: dict[str, int] = {}

    @classmethod
    def connect(cls, url: str, token: str = "") -> Self:
        """`url` is the admin address: http://HOST:PORT or unix:PATH. Nothing is sent before the first call. Raises
        Invalid."""
        from discovery.connected import Connected

        return cls(Connected(url, token))

    async def close(self) -> None:
        """End watches and checks. What was registered with an agent stays there."""
        await self._backend.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- who is where -----------------------------------------------------------------------------------------------

    async def register_service(self, config: ServiceConfig, node_id: str, ip_address: str, port: int) -> Endpoint:
        """The service has an endpoint there; the same call again replaces it. The endpoint, with its id."""
        endpoint = terms.registered(config, node_id, ip_address, port)
        put = PutEndpoint(service=config.name, endpoint=endpoint, ttl=float(config.ttl))
        domain = terms.domain_change(config)
        await self._backend.change(*((domain, put) if domain is not None else (put,)))
        return endpoint

    async def deregister_service(self, service_name: str, node_id: str, ip_address: str, port: int) -> None:
        """The endpoint drains: no new requests go there. Raises NotFound."""
        id = terms.endpoint_id(node_id, terms.place(ip_address, port))
        await self._backend.change(RemoveEndpoint(service=terms.checked_name(service_name, "a service"), id=id))

    async def heartbeat(
        self,
        service_name: str,
        node_id: str,
        ip_address: str,
        port: int,
        *,
        is_healthy: bool = True,
        reason: str = "",
    ) -> None:
        """A sign of life: the endpoint's `ttl` begins anew. For a TTL check also how it is. Raises NotFound."""
        id = terms.endpoint_id(node_id, terms.place(ip_address, port))
        state = EndpointState.HEALTHY if is_healthy else EndpointState.UNHEALTHY
        name = terms.checked_name(service_name, "a service")
        await self._backend.change(Heartbeat(service=name, id=id, state=state, reason=reason))

    # --- policies ---------------------------------------------------------------------------------------------------

    async def configure_health_check(self, service_name: str, config: HealthCheckConfig | None) -> None:
        """How the service's endpoints are checked; None takes back what was set here."""
        name = terms.checked_name(service_name, "a service")
        if config is None:
            await self._backend.change(RemovePolicies(service=name, fields=("health_check",)))
        else:
            await self._backend.change(terms.health_check_change(name, config))

    async def configure_load_balancing(self, service_name: str, strategy: LoadBalancingStrategy) -> None:
        await self._backend.change(terms.load_balancing_change(service_name, strategy))

    async def configure_service_mesh(self, service_name: str, config: ServiceMeshConfig) -> None:
        """Sets what `config` says, and takes the rest back that was set here."""
        change = terms.service_mesh_change(service_name, config)
        if not config.enabled:
            await self._backend.change(RemovePolicies(service=service_name, fields=terms.MESH_FIELDS))
            return
        rest = tuple(field for field in terms.MESH_FIELDS if field not in change.fields)
        others = (RemovePolicies(service=service_name, fields=rest),) if rest else ()
        await self._backend.change(change, *others)

    async def configure_traffic_split(self, config: TrafficSplitConfig) -> None:
        if config.splits:
            await self._backend.change(terms.traffic_split_change(config))
        else:
            name = terms.checked_name(config.service_name, "a service")
            await self._backend.change(RemovePolicies(service=name, fields=("traffic_split",)))

    async def add_routing_rule(self, rule: RoutingRule) -> str:
        """The name of the rule, for `remove_routing_rule`. Rules come before those of a file. A share is added to the
        rule as it is then: shares of one rule are for one program to set."""
        former = await self._backend.route(terms.rule_name(rule)) if rule.is_share else None
        change = terms.routing_rule_change(rule, former)
        await self._backend.change(change)
        return change.route.name

    async def remove_routing_rule(self, name: str) -> None:
        """Raises NotFound."""
        await self._backend.change(RemoveRoute(name=terms.checked_name(name, "a rule")))

    # --- looking ----------------------------------------------------------------------------------------------------

    async def list_services(self) -> list[str]:
        """Names, sorted."""
        return sorted(await self._backend.names())

    async def get_service(self, service_name: str) -> Service | None:
        """The service as it is now, with its endpoints and their states."""
        return await self._backend.service(terms.checked_name(service_name, "a service"))

    async def get_service_endpoint(self, service_name: str) -> Endpoint | None:
        """A healthy endpoint, another one with each call; backups while there is no other. None: there is none."""
        service = await self.get_service(service_name)
        if service is None:
            return None
        usable = [e for e in service.endpoints if e.state is EndpointState.HEALTHY and e.weight > 0]
        candidates = [e for e in usable if not e.backup] or usable
        if not candidates:
            return None
        turn = self._turns.get(service_name, 0)
        self._turns[service_name] = turn + 1
        return candidates[turn % len(candidates)]

    async def watch(self, service_name: str) -> AsyncIterator[Service]:
        """The service now, and again whenever something about it has changed, until the caller leaves. While it is
        not there it is a service without endpoints. Changes that follow each other fast come as one. Connected, it
        survives an agent that is away for a while."""
        name = terms.checked_name(service_name, "a service")
        index, shown = 0, None
        while True:
            index, service = await self._backend.newer(name, index, WAIT)
            service = service if service is not None else Service(name=name)
            if service != shown:
                shown = service
                yield service
