"""The keys of the registry, and of nodes."""

from __future__ import annotations

import msgspec

from discovery.config import RegistrySettings
from discovery.model import Node
from proxy.config.addresses import parse_ip, parse_resolver_address
from proxy.config.endpoints import METADATA
from proxy.config.nodes import Scalar, shown
from proxy.config.reading import Reading
from proxy.config.records import Fields, Key, Record, StructRecord
from proxy.config.shapes import Duration, Integer, MapOf, OneOrMore, Text
from proxy.config.words import NAME

MAX_DIRECTORIES = 64
MAX_RESOLVERS = 16
# Every endpoint has a row of statistics in shared memory, for each worker.
MOST_SERVICES = 1_000_000
MOST_ENDPOINTS = 1_000_000
MOST_CHECKS = 65_536

MEMORY = "memory:"
SQLITE = "sqlite:"
ETCD = "etcd:"


def _store(text: str) -> str:
    if text == MEMORY or (text.startswith(SQLITE) and len(text) > len(SQLITE) and "\0" not in text):
        return text
    if text.startswith(ETCD):
        raise ValueError(f"'{shown(text)}': etcd is not in this release, expected memory: or sqlite:PATH")
    raise ValueError(f"'{shown(text)}' is not a store, expected memory: or sqlite:PATH")


def _directory(text: str) -> str:
    if "\0" in text:
        raise ValueError(f"'{shown(text)}' is not a directory, expected its path")
    return text.rstrip("/") or "/"


STORE = Key(
    "store", Text("memory: or sqlite:PATH", _store), "where registrations of the API are kept; memory: by default"
)

REGISTRY: Record[RegistrySettings] = StructRecord(
    "registry settings",
    RegistrySettings,
    (
        STORE,
        Key(
            "directories",
            OneOrMore(Text("the path of a directory", _directory), MAX_DIRECTORIES, least=0),
            "watched: files of services, YAML or JSON",
            aliases=("directory",),
        ),
        Key(
            "resolvers",
            OneOrMore(Text("an IP address, or host:port", parse_resolver_address), MAX_RESOLVERS, least=0),
            "asked for endpoints that are names; default: those of /etc/resolv.conf",
        ),
        Key("max_services", Integer(1, MOST_SERVICES), "services of all sources"),
        Key("max_endpoints", Integer(1, MOST_ENDPOINTS), "endpoints of all services"),
        Key("max_lease", Duration(), "longest time that a registration may ask to live without a heartbeat"),
        Key("node_ttl", Duration(zero="never"), "silence after which a node that sent a heartbeat is taken out"),
        Key("check_concurrency", Integer(1, MOST_CHECKS), "health checks under way at a time"),
        Key("command_concurrency", Integer(1, MOST_CHECKS), "of these, programs"),
        Key("min_interval", Duration(zero="any"), "the API may not ask for health checks more often"),
        Key(
            "deregister_unhealthy_after",
            Duration(zero="never"),
            "registrations of the API that are unhealthy so long are removed; 0 = never",
        ),
    ),
)

# --- nodes --------------------------------------------------------------------------------------------------------

NODE_ADDRESS = Key("address", Text("an IP address", parse_ip), "what DNS answers for it; default: its endpoints'")


def _build_node(fields: Fields) -> Node:
    return Node(name="", address=fields.get(NODE_ADDRESS, ""), metadata=fields.get(METADATA, {}))


NODE_RECORD = Record("a node", (NODE_ADDRESS, METADATA), _build_node)


class NodeMap(MapOf[Node]):
    """Nodes by name."""

    def __init__(self) -> None:
        super().__init__(NODE_RECORD, NAME)

    def finish(self, key: Scalar, name: str, value: Node, reading: Reading) -> Node:
        return msgspec.structs.replace(value, name=name)
