"""The values of a configuration file: its snapshot, and what only the agent goes by.

The admin API, where registrations come from and are kept, endpoints that are names, and the tests of routes. Frozen
structs as all values (discovery/model.py); durations are seconds. No worker is sent any of it but the snapshot.
"""

from __future__ import annotations

from enum import StrEnum

from discovery.model import Endpoint, Position, Snapshot
from discovery.values import Struct


class RequestSample(Struct):
    """The request of a route test: "GET http://host/path?query", headers, client address."""

    method: str = "GET"
    host: str = ""
    target: str = "/"
    headers: dict[str, str] = {}
    client: str = "127.0.0.1"
    listener: str = ""  # "" = every HTTP listener must agree


class RouteTest(Struct):
    """`expect` holds any of route, service, version, status; a key that is absent is not compared."""

    request: RequestSample
    expect: dict[str, str | int]
    position: Position | None = None


class AdminSettings(Struct):
    address: str = "127.0.0.1:9900"  # host:port or unix:PATH
    token: str = ""  # needed when the address is not loopback
    allow_command_checks: bool = False  # may the API set health checks that run programs?
    max_connections: int = 5000  # open at a time, of each admin address
    max_waiting: int = 4096  # readers that wait for news, and streams that are open
    request_timeout: float = 10.0  # connection made, or first byte of a further request, to all of it received
    idle_timeout: float = 75.0  # between two requests
    write_timeout: float = 30.0  # an answer of which nothing is taken


class NameKind(StrEnum):
    ADDRESS = "address"  # A and AAAA; the port is the configuration's
    SRV = "srv"  # port, priority and weight are the record's


class FollowedName(Struct):
    """An endpoint whose address is a DNS name: one endpoint for each address that it resolves to, made from
    `endpoint` with `address` replaced. They are followed by the records' TTL."""

    service: str
    endpoint: Endpoint
    kind: NameKind
    name: str
    port: int = 0  # 0 for SRV


class RegistrySettings(Struct):
    """Where registrations come from besides the file and the API, and where those of the API are kept."""

    store: str = "memory:"  # memory: | sqlite:PATH
    directories: tuple[str, ...] = ()  # of service files, YAML or JSON; watched
    resolvers: tuple[str, ...] = ()  # host:port asked for endpoints that are names; none: those of /etc/resolv.conf
    max_services: int = 10_000
    max_endpoints: int = 50_000  # of all services; each needs a row of statistics
    max_lease: float = 86_400.0  # longest TTL that a registration may ask for
    node_ttl: float = 0.0  # silence after which a node that ever sent a heartbeat is taken out; 0 = never
    check_concurrency: int = 1024  # health checks under way at a time
    command_concurrency: int = 8  # of these, programs
    min_interval: float = 1.0  # the API may not ask for checks more often
    deregister_unhealthy_after: float = 0.0  # of API registrations; 0 = never


class Config(Struct):
    """A configuration file, checked and with all defaults filled in."""

    snapshot: Snapshot
    workers: int = 1  # 0 = in the agent's process; "auto" is resolved before it gets here
    admin: AdminSettings = AdminSettings()
    metrics_address: str = ""  # "" = none
    registry: RegistrySettings = RegistrySettings()
    followed: tuple[FollowedName, ...] = ()
    tests: tuple[RouteTest, ...] = ()
    digest: str = ""  # of the file's bytes, first 12 hex digits of SHA-256
