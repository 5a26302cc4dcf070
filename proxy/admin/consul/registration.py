"""What Consul's clients register: the body of PUT /v1/agent/service/register as an endpoint of ours.

It is read by the machinery of the configuration file, so all problems are found at once and no key is passed over:
a key means something here, or changes nothing (`IGNORED`), or is refused unless it says nothing (`REFUSED`).
docs/guide/consul.md lists them for users. Pure: putting it into the registry is the handlers' business.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import msgspec

from discovery.checks import CheckProtocol, HealthCheck
from discovery.model import Endpoint, EndpointState
from proxy.admin.consul.checks import CHECK, Check
from proxy.admin.consul.words import FoldedRecord, Status, ignored, parse_ip, refused, with_port
from proxy.config.endpoints import MAX_METADATA, MAX_METADATA_TEXT
from proxy.config.nodes import Node, Path, shown
from proxy.config.reading import Reading
from proxy.config.records import Fields, Key
from proxy.config.shapes import Integer, ListOf, MapOf, Text
from proxy.config.words import NAME, VERSION, WEIGHT, header_value

# Entries of an endpoint's metadata for what Consul has fields for and endpoints have not.
TAGS_ENTRY = "consul-tags"  # a JSON list
CHECK_ENTRY = "consul-check"
VERSION_ENTRY = "version"  # of Meta: becomes the endpoint's version

MAX_TAGS = 64
MAX_TAG = 1024
MAX_TAGS_TEXT = 8192  # of all tags of an instance
MAX_OUTPUT = 4096  # of a reported check


@dataclass(frozen=True, slots=True)
class Registration:
    """`initial`: the state it begins with until a check says otherwise; None: as every endpoint begins."""

    service: str
    endpoint: Endpoint
    deregister_after: float
    initial: EndpointState | None


@dataclass(frozen=True, slots=True)
class Allowed:
    """What this instance grants. `address` is where the request came from: it stands for one that is left out."""

    address: str
    min_interval: float
    commands: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What a TTL check says."""

    state: EndpointState
    output: str


WEIGHT_PASSING = Key("Passing", WEIGHT, "share while passing")
WEIGHTS: FoldedRecord[int] = FoldedRecord(
    "weights", (WEIGHT_PASSING, *ignored("Warning")), lambda fields: fields.get(WEIGHT_PASSING, 1)
)

SERVICE_NAME = Key("Name", NAME, "of the service", required=True)
ID = Key("ID", Text("a name", lambda text: NAME.parse(text) if text else "", empty=True), "default: the name")
TAGS = Key("Tags", ListOf(Text("a tag", header_value, MAX_TAG), MAX_TAGS), "free words")
ADDRESS = Key(
    "Address", Text("an IP address", lambda text: parse_ip(text) if text else "", empty=True), "default: the sender's"
)
PORT = Key("Port", Integer(1, 65535), "where it listens", required=True)
META = Key(
    "Meta",
    MapOf(Text("a text", longest=MAX_METADATA_TEXT, empty=True), Text("a name", longest=256), MAX_METADATA - 2),
    "free texts; `version` is the version",
)
WEIGHTS_KEY = Key("Weights", WEIGHTS, "share among the instances")
SINGLE_CHECK = Key("Check", CHECK, "how it is checked")
CHECKS = Key("Checks", ListOf(CHECK), "the same, as a list of one")

IGNORED = ("EnableTagOverride", "TaggedAddresses", "Locality")
REFUSED = {
    "Kind": "proxies and gateways are not registered here",
    "Proxy": "proxies are not registered here",
    "Connect": "Connect is not supported",
    "SocketPath": "sockets are not registered here",
    "Ports": "an instance has one port",
}
DEFAULT_ONLY = {
    "Namespace": "there is only the namespace default",
    "Partition": "there is only the partition default",
}


@dataclass(frozen=True, slots=True)
class _Written:
    service: str
    id: str
    address: str
    port: int
    weight: int
    metadata: dict[str, str]
    check: Check | None


def _build(fields: Fields) -> _Written | None:
    name = fields.get(SERVICE_NAME, "")
    single = fields.get(SINGLE_CHECK, None)
    checks = (*((single,) if single is not None else ()), *fields.get(CHECKS, ()))
    if len(checks) > 1:
        fields.problem(f"an instance has one check here, got {len(checks)}", CHECKS)
    written = fields.get(META, None)
    metadata = dict(written) if written is not None else {}
    for entry in (TAGS_ENTRY, CHECK_ENTRY):
        if entry in metadata:
            fields.problem(f"'{entry}' is taken, expected another name", META)
    try:
        VERSION.parse(metadata.get(VERSION_ENTRY) or "none")
    except ValueError as error:
        fields.problem(f"{VERSION_ENTRY}: {error}", META)
    tags = fields.get(TAGS, ())
    if tags:
        metadata[TAGS_ENTRY] = json.dumps(tags, ensure_ascii=False, separators=(",", ":"))
        if len(metadata[TAGS_ENTRY]) > MAX_TAGS_TEXT:
            fields.problem(f"more than {MAX_TAGS_TEXT} characters, expected fewer or shorter tags", TAGS)
    check = checks[0] if checks else None
    if check is not None and check.id:
        metadata[CHECK_ENTRY] = check.id
    return _Written(
        service=name,
        id=fields.get(ID, "") or name,
        address=fields.get(ADDRESS, ""),
        port=fields.get(PORT, 0),
        weight=fields.get(WEIGHTS_KEY, 1),
        metadata=metadata,
        check=check,
    )


SERVICE: FoldedRecord[_Written] = FoldedRecord(
    "a service registration",
    (
        SERVICE_NAME,
        ID,
        TAGS,
        ADDRESS,
        PORT,
        META,
        WEIGHTS_KEY,
        SINGLE_CHECK,
        CHECKS,
        *ignored(*IGNORED),
        *refused(REFUSED),
        *refused(DEFAULT_ONLY, "default"),
    ),
    _build,
)


def read_registration(root: Node, reading: Reading, allowed: Allowed) -> Registration | None:
    """None when `reading` has problems."""
    written = SERVICE.read(root, None, reading)
    if written is None:
        return None
    check = None
    if written.check is not None:
        at: Path = (None, SINGLE_CHECK.name)
        check = written.check.check
        if check.protocol is CheckProtocol.COMMAND and not allowed.commands:
            reading.problem(
                root,
                (at, "Args"),
                "programs are not run for the API, expected another check (or admin.allow_command_checks)",
            )
        if check.protocol is not CheckProtocol.TTL and check.interval < allowed.min_interval:
            reading.problem(
                root, (at, "Interval"), f"{check.interval:g}s is too often, expected at least {allowed.min_interval:g}s"
            )
        check = _without_own_place(check, written.address or allowed.address, written.port)
    if reading.problems():
        return None
    endpoint = Endpoint(
        id=written.id,
        address=with_port(written.address or allowed.address, written.port),
        version=written.metadata.get(VERSION_ENTRY, ""),
        weight=written.weight,
        metadata=written.metadata,
        health_check=check,
    )
    return Registration(
        service=written.service,
        endpoint=endpoint,
        deregister_after=written.check.deregister_after if written.check is not None else 0.0,
        initial=written.check.initial if written.check is not None else None,
    )


def _without_own_place(check: HealthCheck, address: str, port: int) -> HealthCheck:
    """Consul's checks name a place; one that is the endpoint's own is ours by default."""
    return msgspec.structs.replace(
        check,
        address="" if check.address == address else check.address,
        port=0 if check.port == port else check.port,
    )


STATUS = Key("Status", Status(), "of the check", required=True)
OUTPUT = Key("Output", Text("a text", longest=MAX_OUTPUT, empty=True), "what it found")
REPORT: FoldedRecord[Report] = FoldedRecord(
    "a report",
    (STATUS, OUTPUT),
    lambda fields: Report(fields.get(STATUS, EndpointState.UNHEALTHY), fields.get(OUTPUT, "")),
)


def tags_of(metadata: dict[str, str]) -> list[str]:
    """The tags that an endpoint was registered with."""
    text = metadata.get(TAGS_ENTRY)
    if not text:
        return []
    try:
        return [str(tag) for tag in json.loads(text)]
    except ValueError:  # somebody wrote the entry by hand
        return [shown(text)]


def meta_of(metadata: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in metadata.items() if name not in (TAGS_ENTRY, CHECK_ENTRY)}


def check_id_of(endpoint: Endpoint) -> str:
    return endpoint.metadata.get(CHECK_ENTRY) or f"service:{endpoint.id}"
