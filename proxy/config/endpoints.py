"""The keys of an endpoint.

What is read is a `WrittenEndpoint`, because its health check says only what differs from its service's, which may stand
further down in the file.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from discovery.checks import HealthCheck
from discovery.model import Endpoint
from proxy.config.addresses import followed_name, parse_endpoint_address
from proxy.config.checks import CHECK, written_over
from proxy.config.nodes import Node, Path, Scalar, child
from proxy.config.places import Parts
from proxy.config.reading import Reading
from proxy.config.records import AnyKey, Distinct, Fields, Key, Record, RecordList
from proxy.config.shapes import Flag, Integer, MapOf, Schema, Shape, Text
from proxy.config.words import MAX_NAME, NAME, NOT_IN_NAMES, VERSION, WEIGHT

MAX_METADATA = 64  # entries; they are sent to every worker
MAX_METADATA_TEXT = 1024
MAX_PRIORITY = 65_535  # 16 bits on the wire (RFC 2782)


class WrittenEndpoint(NamedTuple):
    """`endpoint` has no check yet; `check` is what it says about one."""

    endpoint: Endpoint
    check: Fields | None


ENDPOINT_ID = Key("id", NAME, "identity within the service; default: made from the address")
ENDPOINT_ADDRESS = Key(
    "address",
    Text("host:port, [v6]:port, unix:PATH or srv:NAME", parse_endpoint_address),
    "where it listens: IP address and port, path of a unix socket, or a DNS name, which is followed",
    required=True,
)
ENDPOINT_VERSION = Key("version", VERSION, "what traffic_split and a route's version choose by")
ENDPOINT_WEIGHT = Key("weight", WEIGHT, "share among the endpoints of a version; 0 takes no new requests")
NODE = Key("node", NAME, "the machine it runs on")
BACKUP = Key("backup", Flag(), "used only while no other endpoint is usable")
PRIORITY = Key("priority", Integer(0, MAX_PRIORITY), "of its SRV record: lower is asked first; default: 0, a backup 1")
METADATA = Key(
    "metadata",
    MapOf(Text("a text", longest=MAX_METADATA_TEXT, empty=True), Text("a name", longest=256), MAX_METADATA),
    "free texts that logs and the API show",
)


class _OwnCheck(Shape[Fields]):
    """The keys of a service's check, which the schema has once."""

    expected = CHECK.expected

    def read(self, node: Node, path: Path, reading: Reading) -> Fields | None:
        return CHECK.read(node, path, reading)

    def schema(self, defs: Schema) -> Schema:
        defs["health_check"] = CHECK.schema(defs)
        return {"$ref": "#/$defs/health_check"}

    def parts(self, node: Node, path: Path) -> Parts:
        return CHECK.parts(node, path)


ENDPOINT_CHECK = Key("health_check", _OwnCheck(), "where it differs from the service's")

ENDPOINT_KEYS: tuple[AnyKey, ...] = (
    ENDPOINT_ID, ENDPOINT_ADDRESS, ENDPOINT_VERSION, ENDPOINT_WEIGHT, NODE, BACKUP, PRIORITY, METADATA, ENDPOINT_CHECK,
)  # fmt: skip


def endpoint_id(address: str) -> str:
    """The id of an endpoint that was given none: its address, in the characters of a name."""
    return NOT_IN_NAMES.sub("-", address)[:MAX_NAME]


def identity(fields: Fields) -> str | None:
    if fields.given(ENDPOINT_ID):
        return fields.get(ENDPOINT_ID, None)
    address = fields.get(ENDPOINT_ADDRESS, None)
    return address and endpoint_id(address)


def build_endpoint(fields: Fields) -> WrittenEndpoint:
    endpoint = Endpoint(
        id=identity(fields) or "",
        address=fields.get(ENDPOINT_ADDRESS, ""),
        version=fields.get(ENDPOINT_VERSION, ""),
        weight=fields.get(ENDPOINT_WEIGHT, 1),
        node=fields.get(NODE, ""),
        backup=fields.get(BACKUP, False),
        priority=fields.get(PRIORITY, 0),
        metadata=fields.get(METADATA, {}),
    )
    return WrittenEndpoint(endpoint, fields.get(ENDPOINT_CHECK, None))


def finished(written: WrittenEndpoint, service: HealthCheck | None) -> Endpoint:
    """The endpoint, once the check of its service is known."""
    endpoint, check = written
    return endpoint if check is None else msgspec.structs.replace(endpoint, health_check=written_over(check, service))


def _is_name(item: Node) -> bool:
    """The effective configuration has names, which are followed, after places."""
    address = child(item, ENDPOINT_ADDRESS.name)
    return isinstance(address, Scalar) and followed_name(address.text) is not None


ENDPOINT = Record("an endpoint", ENDPOINT_KEYS, build_endpoint)
ENDPOINTS = Key(
    "endpoints",
    RecordList(ENDPOINT, (Distinct(ENDPOINT_ID, identity, "id"),), rank=_is_name),
    "the places that provide the service",
)
