"""The small values of Consul's bodies: durations, addresses, statuses, and keys that may be there and mean nothing.

Names of keys are taken in any case and with or without underscores, as Consul takes them, and a null is an absent key,
as Go's encoder writes them: `FoldedRecord`. Pure.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TypeVar
from urllib.parse import urlsplit

from discovery.model import EndpointState
from proxy.admin.durations import parse_go_duration
from proxy.config.nodes import Mapping, Node, Path, Scalar, Sequence, shown
from proxy.config.reading import Reading
from proxy.config.records import AnyKey, Fields, Key, Record
from proxy.config.shapes import ScalarShape, Shape

T = TypeVar("T")

_PORT = re.compile(r"[0-9]{1,5}")
_TARGET = re.compile(r"/[!-~]*")


# --- addresses ----------------------------------------------------------------------------------------------------


def parse_ip(host: str) -> str:
    """ValueError for everything that would have to be resolved, but for localhost."""
    if host.lower() == "localhost":
        return "127.0.0.1"
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).compressed
    except ValueError:
        raise ValueError(f"'{shown(host)}' is not an IP address, and names are not resolved here") from None


def split_place(text: str) -> tuple[str, int]:
    """Address and port of host:port."""
    host, _, port = text.rpartition(":")
    if not host or not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        raise ValueError(f"'{shown(text)}' is not an address, expected host:port")
    return parse_ip(host), int(port)


def split_url(text: str) -> tuple[bool, str, int, str]:
    """Of an HTTP check: is it https, address, port, path with query."""
    try:
        url = urlsplit(text)
        scheme, host, port = url.scheme.lower(), url.hostname, url.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme not in ("http", "https") or not host or url.username is not None:
        raise ValueError(f"'{shown(text)}' is not a URL, expected one such as http://10.0.0.1:8080/health")
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    if not _TARGET.fullmatch(target):
        raise ValueError(f"'{shown(text)}' has characters that a URL writes as %XX")
    is_https = scheme == "https"
    return is_https, parse_ip(host), port or (443 if is_https else 80), target


def with_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


# --- shapes -------------------------------------------------------------------------------------------------------


class GoDuration(ScalarShape[float]):
    expected = "a duration such as 10s"

    def __init__(self, least: float = 0.0) -> None:
        self.least = least

    def parse(self, text: str) -> float:
        seconds = parse_go_duration(text)
        if seconds <= 0.0 and self.least > 0.0:
            raise ValueError(f"'{shown(text)}' is no time at all, expected more than 0")
        if seconds < self.least:
            raise ValueError(f"'{shown(text)}' is too short, expected at least {self.least:g}s")
        return seconds


STATUSES = {
    "passing": EndpointState.HEALTHY,
    "warning": EndpointState.HEALTHY,  # it takes traffic, as in Consul's DNS
    "critical": EndpointState.UNHEALTHY,
}


class Status(ScalarShape[EndpointState]):
    expected = "passing, warning or critical"

    def parse(self, text: str) -> EndpointState:
        found = STATUSES.get(text.lower())
        if found is None:
            raise ValueError(f"'{shown(text)}' is not a status, expected {self.expected}")
        return found


class Anything(Shape[bool]):
    """The value of a key that changes nothing here."""

    def read(self, node: Node, path: Path, reading: Reading) -> bool:
        return True


class OnlyEmpty(Shape[bool]):
    """The value of a key that would change what happens, and may only say that it does not."""

    def __init__(self, otherwise: str, *words: str) -> None:
        self.otherwise = otherwise
        self.words = frozenset((*words, "", "0", "false", "null"))

    def read(self, node: Node, path: Path, reading: Reading) -> bool | None:
        if self._says_nothing(node):
            return True
        reading.problem(node, path, f"{self.otherwise}, expected no such key")
        return None

    def _says_nothing(self, node: Node) -> bool:
        if isinstance(node, Scalar):
            return node.text in self.words
        if isinstance(node, Sequence):
            return not node.items
        assert isinstance(node, Mapping)
        return all(isinstance(value, Scalar) and value.text in self.words for _, value in node.entries.values())


def ignored(*names: str) -> tuple[AnyKey, ...]:
    return tuple(Key(name, Anything(), "changes nothing here") for name in names)


def refused(sentences: dict[str, str], *words: str) -> tuple[AnyKey, ...]:
    """Keys that may say nothing but `words`, with why."""
    return tuple(Key(name, OnlyEmpty(sentence, *words), sentence) for name, sentence in sentences.items())


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


class FoldedRecord(Record[T]):
    """A record of Consul's."""

    def fields(self, node: Node, path: Path, reading: Reading) -> Fields | None:
        if type(node) is Mapping:
            node = self._canonical(node, path, reading)
        return super().fields(node, path, reading)

    def _canonical(self, node: Mapping, path: Path, reading: Reading) -> Mapping:
        known = {_folded(name): name for name in self.spellings}
        found = Mapping(node.line, node.column)
        for name, (where, value) in node.entries.items():
            if isinstance(value, Scalar) and value.is_null:
                continue
            meant = known.get(_folded(name), name)
            if meant in found.entries:
                reading.problem(where, (path, name), f"says the same as '{found.entries[meant][0].text}'")
            found.entries[meant] = (where, value)
        return found
