"""What can happen to the registry, as values.

A source says something (`Base`, `Replace`, `Put...`, `Remove...`), an endpoint or node gives a sign of life, a health
check has an opinion, somebody drains. `Registry.apply` is the one door for all of them. Names of sources are part of
the language: "file", "directory:PATH", "api", "names"; precedence is discovery/merge.py's.
Pure values; what they mean is told in discovery/registry.py.
"""

from __future__ import annotations

from discovery.model import Endpoint, EndpointState, Node, Route, Service, Snapshot, Struct

FILE = "file"
API = "api"
NAMES = "names"  # endpoints that DNS names stand for
DIRECTORY = "directory:"  # and the path


class Base(Struct, tag="base"):
    """What the configuration file says: settings, listeners, services with their endpoints. Its version is ignored."""

    snapshot: Snapshot


class Replace(Struct, tag="replace"):
    """All services that `source` knows, in place of what it said before."""

    source: str
    services: tuple[Service, ...] = ()


class PutPolicies(Struct, tag="put_policies"):
    """By the API: these `fields` of `service` (discovery/merge.POLICIES: names of fields of `Service`, but for name,
    endpoints and position, and "policies.access" and its like for parts of `policies`) are as in `service`, whatever
    other sources say. A service that nobody else defines exists from now on."""

    service: Service
    fields: tuple[str, ...]


class RemovePolicies(Struct, tag="remove_policies"):
    """By the API: the named fields are again as other sources say; without names all of them."""

    service: str
    fields: tuple[str, ...] = ()


class PutEndpoint(Struct, tag="put_endpoint"):
    """By the API: the service has this endpoint. `ttl`: it is taken out unless a Heartbeat comes within so many
    seconds; 0 = it stays. `revision`: a number that the reporter lets grow; one that is not above what is known of this
    id (also of one that was removed) is an old report and refused; 0 = no such order. `deregister_after`: it is taken
    out after so many seconds of being unhealthy without a break; 0 = as registry.deregister_unhealthy_after says."""

    service: str
    endpoint: Endpoint
    ttl: float = 0.0
    revision: int = 0
    deregister_after: float = 0.0


class RemoveEndpoint(Struct, tag="remove_endpoint"):
    """By the API. It drains in the data plane; an old report cannot bring it back."""

    service: str
    id: str
    revision: int = 0


class Heartbeat(Struct, tag="heartbeat"):
    """A sign of life of an endpoint: its lease begins anew. `state` HEALTHY or UNHEALTHY reports for a TTL check."""

    service: str
    id: str
    state: EndpointState = EndpointState.HEALTHY
    reason: str = ""


class PutNode(Struct, tag="put_node"):
    node: Node
    ttl: float = 0.0  # as of PutEndpoint; 0 = registry.node_ttl


class RemoveNode(Struct, tag="remove_node"):
    """It leaves, and its endpoints, whoever said them, are taken out until it comes back."""

    name: str


class NodeHeartbeat(Struct, tag="node_heartbeat"):
    name: str


class SetDrain(Struct, tag="set_drain"):
    """By the API: the endpoint, whoever said it, takes no new requests; or does again."""

    service: str
    id: str
    is_draining: bool = True


class PutRoute(Struct, tag="put_route"):
    """By the API: a route before those of the file; `listener` "" = every HTTP listener."""

    route: Route
    listener: str = ""


class RemoveRoute(Struct, tag="remove_route"):
    name: str


class HealthReport(Struct, tag="health_report"):
    """What checking found out. `address` is part of the identity: a report about an endpoint that has moved is void."""

    service: str
    id: str
    address: str
    state: EndpointState  # HEALTHY, CHECKING, UNHEALTHY or EJECTED
    reason: str = ""


class Resolved(Struct, tag="resolved"):
    """The endpoints that the followed name of `service` with this endpoint id stands for now; they count as endpoints
    of `source`, which wrote the name. Their ids are made by the registry (discovery/merge.py)."""

    service: str
    id: str
    endpoints: tuple[Endpoint, ...]
    source: str = FILE


Durable = (
    PutPolicies
    | RemovePolicies
    | PutEndpoint
    | RemoveEndpoint
    | PutNode
    | RemoveNode
    | SetDrain
    | PutRoute
    | RemoveRoute
)
Change = Durable | Base | Replace | Heartbeat | NodeHeartbeat | HealthReport | Resolved


class ChangeError(Exception):
    """A change is refused, and nothing has changed. Message: one sentence for whoever asked."""


class NotFound(ChangeError):
    """What the change is about is not there."""


class Conflict(ChangeError):
    """Something else that is in force speaks against it."""


class LimitReached(ChangeError):
    """There would be more than the configuration allows."""


class Stale(ChangeError):
    """An old report: something newer is known."""


class StoreFailed(ChangeError):
    """It could not be written down; it may be tried again."""
