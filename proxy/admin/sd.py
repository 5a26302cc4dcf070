"""GET /v1/prometheus/sd: every endpoint as a target of Prometheus' http_sd_configs.

One target group for each endpoint, because their labels differ. Endpoints that are no host and port (unix sockets) are
left out: Prometheus cannot scrape them. `target_groups` is pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from discovery.model import Endpoint, EndpointState, Service
from proxy.admin.api import Api
from proxy.admin.blocking import index_headers, index_of
from proxy.admin.consul.registration import meta_of, tags_of
from proxy.admin.queries import Parameters

if TYPE_CHECKING:
    from aiohttp import web

PREFIX = "__meta_hivemesh_"
_NOT_IN_LABELS = re.compile(r"[^a-zA-Z0-9_]")


class TargetGroup(msgspec.Struct, frozen=True):
    targets: tuple[str, ...]
    labels: dict[str, str]


def target_groups(services: Iterable[Service], passing: bool = False) -> list[TargetGroup]:
    return [
        TargetGroup((endpoint.address,), _labels(service, endpoint))
        for service in sorted(services, key=lambda service: service.name)
        for endpoint in service.endpoints
        if not endpoint.address.startswith("unix:") and (not passing or endpoint.state is EndpointState.HEALTHY)
    ]


def _labels(service: Service, endpoint: Endpoint) -> dict[str, str]:
    labels = {
        PREFIX + "service": service.name,
        PREFIX + "endpoint": endpoint.id,
        PREFIX + "version": endpoint.version,
        PREFIX + "node": endpoint.node,
        PREFIX + "state": endpoint.state.value,
    }
    tags = tags_of(endpoint.metadata)
    if tags:
        # With the separator at both ends, as Consul's, so that a rule need not care where a tag stands.
        labels[PREFIX + "tags"] = f",{','.join(tags)},"
    for name, value in meta_of(endpoint.metadata).items():
        labels[f"{PREFIX}metadata_{_NOT_IN_LABELS.sub('_', name)}"] = value
    return labels


class PrometheusTargets:
    def __init__(self, api: Api) -> None:
        self.api = api

    def routes(self) -> list[web.RouteDef]:
        from aiohttp import web

        return [web.get("/v1/prometheus/sd", self.targets)]

    async def targets(self, request: web.Request) -> web.Response:
        """A service that is not there has no targets: to say otherwise would leave Prometheus with the former ones."""
        parameters = Parameters(request, "service", "passing")
        name, passing = parameters.values.get("service"), parameters.flag("passing")
        services = [
            service for service in self.api.catalog.registry.snapshot.services if name is None or service.name == name
        ]
        headers = index_headers(index_of(self.api.catalog))
        return await self.api.answered(lambda _: target_groups(services, passing), headers)
