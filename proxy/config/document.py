"""The keys of the file as a whole: what stands at the top."""

from __future__ import annotations

import hashlib
import os
import socket

import msgspec

from discovery.config import AdminSettings, Config, FollowedName, RegistrySettings
from discovery.model import (
    AccessLog,
    DnsSettings,
    EscapePolicy,
    Limits,
    Protocol,
    RecordSettings,
    Service,
    Settings,
    Snapshot,
    Timeouts,
)
from proxy.config import references
from proxy.config.addresses import parse_network
from proxy.config.balancing import METADATA_NAME
from proxy.config.dns import DNS, listeners_of
from proxy.config.listeners import LISTENERS
from proxy.config.records import Fields, Key, Record
from proxy.config.registry import REGISTRY, NodeMap
from proxy.config.samples import TEST
from proxy.config.services import ServiceMap, followed_of, with_idle_timeout
from proxy.config.settings import ACCESS_LOG, ADMIN, LIMITS, METRICS, RECORDS, TIMEOUTS, MetricsSettings
from proxy.config.shapes import Choice, Flag, Integer, ListOf, Text
from proxy.config.words import signing_secret, token
from proxy.stats.slots import MAX_WORKERS

MAX_PROXIES = 1024

SERVICES = Key("services", ServiceMap(), "services by name, with their endpoints")
LIMITS_KEY = Key("limits", LIMITS, "what one request or the instance may take")
TIMEOUTS_KEY = Key("timeouts", TIMEOUTS, "how long things may take")
ACCESS_LOG_KEY = Key("access_log", ACCESS_LOG, "one line per request; default: none")
RECORDS_KEY = Key("records", RECORDS, "what is remembered of requests that are over")
TRUSTED_PROXIES = Key(
    "trusted_proxies",
    ListOf(Text("a network", parse_network), MAX_PROXIES, unique=True),
    "whose X-Forwarded-* and PROXY headers are believed",
)
WORKERS = Key(
    "workers",
    Integer(0, MAX_WORKERS, {"auto": -1}),
    "processes that serve traffic; auto = one per core, 0 = in the process of the agent",
)
PIN_WORKERS = Key("pin_workers", Flag(), "each worker runs on a processor core of its own; false by default")
ADMIN_KEY = Key("admin", ADMIN, "the HTTP API")
METRICS_KEY = Key("metrics", METRICS, "an address of its own for scrapers and probes; default: none")
PATH_ESCAPES = Key("path_escapes", Choice(EscapePolicy), "what is done with %2F, %5C and %00 in a path")
MERGE_SLASHES = Key("merge_slashes", Flag(), "// in a path becomes /, before routes are matched")
ZONE = Key("zone", METADATA_NAME, "where this instance runs, for services that prefer endpoints nearby; default: none")
SECRET = Key("secret", Text("a text", signing_secret, 4096), "affinity cookies are signed with it")
INSTANCE = Key(
    "instance",
    Text("a token", token, 100),
    "name in Via, unique per instance; default: made from host and admin address",
)
REGISTRY_KEY = Key("registry", REGISTRY, "where services come from besides this file, and where registrations are kept")
DNS_KEY = Key("dns", DNS, "the DNS server; default: none")
NODES = Key("nodes", NodeMap(), "machines by name, for DNS and the API; endpoints name theirs, listed here or not")
TESTS = Key("tests", ListOf(TEST), "requests that must be routed as expected before the file comes into force")


def default_instance(admin_address: str) -> str:
    """Two instances on one machine differ in their admin address, two machines in their name; Via needs them apart,
    or a request that passes both looks like a loop. A digest, because clients see it."""
    place = f"{socket.gethostname()} {admin_address}"
    return f"hivemesh-{hashlib.sha256(place.encode()).hexdigest()[:8]}"


def cores() -> int:
    """Cores that this process may use, and as many workers as the statistics table has room for."""
    return min(len(os.sched_getaffinity(0)), MAX_WORKERS)


def _build_config(fields: Fields) -> Config:
    admin = fields.get(ADMIN_KEY, AdminSettings())
    timeouts = fields.get(TIMEOUTS_KEY, Timeouts())
    services: list[Service] = []
    followed: list[FollowedName] = []
    for written in fields.get(SERVICES, {}).values():
        service, names = followed_of(with_idle_timeout(written, timeouts))
        services.append(service)
        followed.extend(names)
    listeners = [
        msgspec.structs.replace(listener, by_domain=True)
        if listener.protocol is Protocol.HTTP and not listener.routes
        else listener
        for listener in fields.get(LISTENERS, ())
    ]
    dns = fields.get(DNS_KEY, DnsSettings())
    if fields.given(DNS_KEY):
        written_at = fields.node.entries[DNS_KEY.name][1]
        listeners.extend(listeners_of(dns, fields.reading.position(written_at)))
    references.check_policies(services, fields.given(ZONE), fields.reading)
    workers = fields.get(WORKERS, 1)
    settings = Settings(
        instance=fields.get(INSTANCE, "") or default_instance(admin.address),
        limits=fields.get(LIMITS_KEY, Limits()),
        timeouts=timeouts,
        access_log=fields.get(ACCESS_LOG_KEY, AccessLog()),
        records=fields.get(RECORDS_KEY, RecordSettings()),
        trusted_proxies=fields.get(TRUSTED_PROXIES, ()),
        path_escapes=fields.get(PATH_ESCAPES, EscapePolicy.REJECT),
        merge_slashes=fields.get(MERGE_SLASHES, True),
        zone=fields.get(ZONE, ""),
        secret=fields.get(SECRET, ""),
        pin_workers=fields.get(PIN_WORKERS, False),
        dns=dns,
    )
    return Config(
        snapshot=Snapshot(
            settings=settings,
            listeners=tuple(listeners),
            services=tuple(services),
            nodes=tuple(fields.get(NODES, {}).values()),
        ),
        workers=workers if workers >= 0 else cores(),
        admin=admin,
        metrics_address=fields.get(METRICS_KEY, MetricsSettings()).address,
        registry=fields.get(REGISTRY_KEY, RegistrySettings()),
        followed=tuple(followed),
        tests=fields.get(TESTS, ()),
    )


DOCUMENT = Record(
    "a configuration",
    (
        ADMIN_KEY,
        METRICS_KEY,
        ACCESS_LOG_KEY,
        RECORDS_KEY,
        INSTANCE,
        WORKERS,
        PIN_WORKERS,
        TRUSTED_PROXIES,
        PATH_ESCAPES,
        MERGE_SLASHES,
        ZONE,
        SECRET,
        LIMITS_KEY,
        TIMEOUTS_KEY,
        REGISTRY_KEY,
        DNS_KEY,
        LISTENERS,
        SERVICES,
        NODES,
        TESTS,
    ),
    _build_config,
)
