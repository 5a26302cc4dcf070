"""What Consul's clients are shown: services and endpoints in Consul's words.

An endpoint's state becomes a status: healthy is passing, everything else (ejected too) is critical; a draining endpoint
is in maintenance, which Consul tells by the id of a check. The node of an endpoint that names none is this instance.
Fields that Consul has and we have not are there and empty: clients written in Go and others take them for granted.
Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from discovery.checks import CheckProtocol, HealthCheck
from discovery.model import Endpoint, EndpointState, Node, Service
from discovery.records import EndpointView
from proxy.admin.consul.registration import check_id_of, meta_of, tags_of

DATACENTER = "dc1"  # Consul's default, so that clients that name it find us
PASSING, CRITICAL = "passing", "critical"
MAINTENANCE = "_service_maintenance:"  # and the id: clients tell maintenance by it

CHECK_TYPES = {
    CheckProtocol.TCP: "tcp",
    CheckProtocol.HTTP: "http",
    CheckProtocol.HTTPS: "http",
    CheckProtocol.COMMAND: "script",
    CheckProtocol.GRPC: "grpc",
    CheckProtocol.TTL: "ttl",
}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """This instance as a node: its name and address, and the nodes that are known besides."""

    name: str
    address: str
    nodes: Mapping[str, Node]

    def node_of(self, endpoint: Endpoint) -> Json:
        name = endpoint.node or self.name
        known = self.nodes.get(name)
        address = known.address if known is not None and known.address else host_and_port(endpoint)[0]
        return node_json(name, address or self.address, known.metadata if known is not None else {})

    def all_nodes(self) -> list[Json]:
        own = [] if self.name in self.nodes else [node_json(self.name, self.address, {})]
        return own + [node_json(node.name, node.address, node.metadata) for node in self.nodes.values()]


def node_json(name: str, address: str, metadata: Mapping[str, str]) -> Json:
    return {
        "ID": "",
        "Node": name,
        "Address": address,
        "Datacenter": DATACENTER,
        "TaggedAddresses": None,
        "Meta": dict(metadata),
    }


def host_and_port(endpoint: Endpoint) -> tuple[str, int]:
    """ "" and 0 for one that is no host and port."""
    host, _, port = endpoint.address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(host).compressed, int(port)
    except ValueError:
        return "", 0


def is_shown(endpoint: Endpoint) -> bool:
    """Consul's clients can do nothing with a unix socket."""
    return bool(host_and_port(endpoint)[1])


def status_of(endpoint: Endpoint) -> str:
    return PASSING if endpoint.state is EndpointState.HEALTHY else CRITICAL


def has_tags(endpoint: Endpoint, tags: Sequence[str]) -> bool:
    """All of them; without regard to case, as Consul compares."""
    own = {tag.lower() for tag in tags_of(endpoint.metadata)}
    return all(tag.lower() in own for tag in tags)


# --- the catalog --------------------------------------------------------------------------------------------------


def catalog_services(services: Iterable[Service]) -> dict[str, list[str]]:
    """Names of services that have endpoints, each with all tags of these."""
    found: dict[str, list[str]] = {}
    for service in services:
        shown = [endpoint for endpoint in service.endpoints if is_shown(endpoint)]
        if shown:
            found[service.name] = sorted({tag for endpoint in shown for tag in tags_of(endpoint.metadata)})
    return found


def catalog_service(name: str, views: Iterable[EndpointView], place: Place) -> list[Json]:
    found = []
    for view in views:
        endpoint = view.endpoint
        host, port = host_and_port(endpoint)
        node = place.node_of(endpoint)
        found.append(
            {
                "ID": node["ID"],
                "Node": node["Node"],
                "Address": node["Address"],
                "Datacenter": DATACENTER,
                "TaggedAddresses": None,
                "NodeMeta": node["Meta"],
                "ServiceKind": "",
                "ServiceID": endpoint.id,
                "ServiceName": name,
                "ServiceTags": tags_of(endpoint.metadata),
                "ServiceAddress": host,
                "ServiceTaggedAddresses": {},
                "ServiceWeights": weights(endpoint),
                "ServiceMeta": _meta(endpoint),
                "ServicePort": port,
                "ServiceEnableTagOverride": False,
            }
        )
    return found


# --- health -------------------------------------------------------------------------------------------------------


def health_service(service: Service, views: Iterable[EndpointView], place: Place, index: int) -> list[Json]:
    return [
        {
            "Node": place.node_of(view.endpoint),
            "Service": {**agent_service(service.name, view.endpoint), "CreateIndex": index, "ModifyIndex": index},
            "Checks": checks(service, view, place),
        }
        for view in views
    ]


def checks(service: Service, view: EndpointView, place: Place) -> list[Json]:
    """None for an endpoint that nothing is said about: Consul's clients take it for passing then."""
    endpoint = view.endpoint
    check = endpoint.health_check or service.health_check
    if check is None and endpoint.state is EndpointState.HEALTHY:
        return []
    found = [_check(service.name, view, check, place, check_id_of(endpoint), status_of(endpoint))]
    if endpoint.state is EndpointState.DRAINING:
        found.append(_check(service.name, view, None, place, MAINTENANCE + endpoint.id, CRITICAL))
    return found


def _check(service: str, view: EndpointView, check: HealthCheck | None, place: Place, id: str, status: str) -> Json:
    endpoint = view.endpoint
    return {
        "Node": place.node_of(endpoint)["Node"],
        "CheckID": id,
        "Name": f"Service '{service}' check",
        "Status": status,
        "Notes": "",
        "Output": view.reason,
        "ServiceID": endpoint.id,
        "ServiceName": service,
        "ServiceTags": tags_of(endpoint.metadata),
        "Type": CHECK_TYPES[check.protocol] if check is not None else "",
        "Definition": {},
    }


# --- the agent ----------------------------------------------------------------------------------------------------


def agent_service(name: str, endpoint: Endpoint) -> Json:
    host, port = host_and_port(endpoint)
    return {
        "ID": endpoint.id,
        "Service": name,
        "Tags": tags_of(endpoint.metadata),
        "Meta": _meta(endpoint),
        "Port": port,
        "Address": host,
        "TaggedAddresses": {},
        "Weights": weights(endpoint),
        "EnableTagOverride": False,
        "Datacenter": DATACENTER,
    }


def agent_self(place: Place, version: str) -> Json:
    return {
        "Config": {
            "Datacenter": DATACENTER,
            "PrimaryDatacenter": DATACENTER,
            "NodeName": place.name,
            "NodeID": "",
            "Revision": "",
            "Server": True,
            "Version": version,
        },
        "Member": {"Name": place.name, "Addr": place.address, "Port": 0, "Tags": {}, "Status": 1},
        "Meta": {},
    }


def weights(endpoint: Endpoint) -> dict[str, int]:
    return {"Passing": endpoint.weight, "Warning": endpoint.weight}


def _meta(endpoint: Endpoint) -> dict[str, str]:
    """With the version, also where it was not registered as an entry of Meta."""
    meta = meta_of(endpoint.metadata)
    return {"version": endpoint.version, **meta} if endpoint.version else meta
