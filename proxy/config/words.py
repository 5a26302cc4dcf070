"""The small texts that several parts of the file share: names, header names and values, paths, patterns, references.

Each is a shape, or a function that gives the text back or raises ValueError with the sentence for the user.
"""

from __future__ import annotations

import re

from mesh.edits import PROTECTED
from mesh.patterns import PatternError, compile_pattern
from proxy.config.nodes import Node, Path, shown
from proxy.config.reading import Reading
from proxy.config.shapes import Integer, Text

# Limits of Gateway API (HTTPHeaderMatch, HTTPPathMatch, HTTPBackendRef).
MAX_PATH = 1024
MAX_HEADER_NAME = 256
MAX_HEADER_VALUE = 4096
MAX_WEIGHT = 1_000_000
MIN_SECRET = 16  # characters: 128 bits if they are bytes, and 96 in base64
MAX_CONDITIONS = 16  # headers or query parameters of a match, headers of a filter

# Names become metric labels, parts of URLs and of statistics keys, where "/" separates them.
NAME_PATTERN = r"^[A-Za-z0-9_\[][A-Za-z0-9_.:@\[\]-]{0,252}$"  # [v6]:port is one
MAX_NAME = 253
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.:@\[\]-]")
_NAME = re.compile(NAME_PATTERN)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")  # RFC 9110 section 5.5: no controls but the tab
_PATH = re.compile(r"/[!\"$-;=@-~]*")  # printable ASCII without space, "#", "<", ">", "?"
_QUERY = re.compile(r"[!\"$-;=?-~]*")  # the same with "?"
_PRINTABLE = re.compile(r"[!-~]+")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"'{shown(text)}' is not a name, expected letters, digits and _ . : @ - [ ] (at most 253)")
    return text


def header_name(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"'{shown(text)}' is not a header name, expected letters, digits and !#$%&'*+.^_`|~-")
    return text


def edited_header_name(text: str) -> str:
    """A header that a filter may touch."""
    name = header_name(text).lower()
    if name.encode() in PROTECTED:
        raise ValueError(f"'{text}' belongs to the connection and is written by the proxy, expected another header")
    if name == "host":
        raise ValueError(f"'{text}' is not changed here, expected url_rewrite: {{ host: ... }}")
    return text


def checked_header_name(text: str) -> str:
    """A header that a request of our own may have beside those that every request has."""
    name = header_name(text).lower()
    if name.encode() in PROTECTED or name == "host":
        also = ", or the key 'host'" if name == "host" else ""
        raise ValueError(f"'{text}' is written by the check itself, expected another header{also}")
    return text


def header_value(text: str) -> str:
    if not _VALUE.fullmatch(text) or text != text.strip():
        expected = "expected text without control characters, or space at its ends"
        raise ValueError(f"'{shown(text)}' is not a header value, {expected}")
    return text


def method(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"'{shown(text)}' is not a method, expected one such as GET")
    if text.lower() == text and text != text.upper():
        raise ValueError(f"'{text}' is not a method (they are case-sensitive), did you mean '{text.upper()}'?")
    return text


def path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise ValueError(
            f"'{shown(text)}' is not a path, expected one that starts with / (no ?, no #; other than ASCII as %XX)"
        )
    return text


def path_and_query(text: str) -> str:
    """What a request of our own asks for."""
    before, _, query = text.partition("?")
    if not _PATH.fullmatch(before) or not _QUERY.fullmatch(query):
        raise ValueError(
            f"'{shown(text)}' is not a path, expected one that starts with / (no #; other than ASCII as %XX)"
        )
    return text


def pattern(text: str) -> str:
    try:
        compile_pattern(text)
    except PatternError as error:
        raise ValueError(f"{error}, expected RE2 syntax") from None
    except UnicodeEncodeError:
        raise ValueError(f"'{shown(text)}' is not a regular expression, expected valid Unicode") from None
    return text


def token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"'{shown(text)}' is not a token, expected letters, digits and !#$%&'*+.^_`|~-")
    return text


def secret(text: str) -> str:
    """What an Authorization header can carry. Never repeated in a message."""
    if not _PRINTABLE.fullmatch(text):
        raise ValueError("expected printable ASCII without spaces")
    return text


def signing_secret(text: str) -> str:
    """What nobody may guess. Never repeated in a message."""
    if len(secret(text)) < MIN_SECRET:
        raise ValueError(f"too short to be safe, expected at least {MIN_SECRET} characters")
    return text


NAME = Text("a name", _name, schema={"pattern": NAME_PATTERN})
VERSION = Text("a version", _name, schema={"pattern": NAME_PATTERN})
HEADER_NAME = Text("a header name", header_name, MAX_HEADER_NAME)
EDITED_HEADER_NAME = Text("a header name", edited_header_name, MAX_HEADER_NAME)
HEADER_VALUE = Text("a header value", header_value, MAX_HEADER_VALUE, empty=True)
PATH = Text("a path that starts with /", path, MAX_PATH, schema={"pattern": "^/"})
PATTERN = Text("a regular expression (RE2 syntax)", pattern, MAX_PATH)
WEIGHT = Integer(0, MAX_WEIGHT)


class MatchedPath(Text):
    """A path that requests are compared with; the end of reading checks that some request can have it."""

    def __init__(self) -> None:
        super().__init__(PATH.expected, path, MAX_PATH, schema=PATH.extra)

    def read(self, node: Node, path: Path, reading: Reading) -> str | None:
        text = super().read(node, path, reading)
        if text is not None:
            reading.matched_paths.append((text, node, path))
        return text


class ServiceReference(Text):
    """The name of a service; the end of reading checks that there is one."""

    def __init__(self) -> None:
        super().__init__("the name of a service", _name)

    def read(self, node: Node, path: Path, reading: Reading) -> str | None:
        text = super().read(node, path, reading)
        if text is not None:
            reading.service_references.append((text, node, path))
        return text


class ListenerReference(Text):
    """The name of a listener; checked as above."""

    def __init__(self) -> None:
        super().__init__("the name of a listener", _name)

    def read(self, node: Node, path: Path, reading: Reading) -> str | None:
        text = super().read(node, path, reading)
        if text is not None:
            reading.listener_references.append((text, node, path))
        return text


class BoundAddress(Text):
    """An address that this program listens on; the end of reading checks that it is used once."""

    def read(self, node: Node, path: Path, reading: Reading) -> str | None:
        text = super().read(node, path, reading)
        if text is not None:
            reading.bound_addresses.append((text, node, path))
        return text


class BoundDatagrams(Text):
    """An address that this program receives datagrams at. TCP has ports of its own, so one may be here and above."""

    def read(self, node: Node, path: Path, reading: Reading) -> str | None:
        text = super().read(node, path, reading)
        if text is not None:
            reading.bound_datagrams.append((text, node, path))
        return text


class BoundBoth(BoundAddress):
    """An address that both are received at."""

    def read(self, node: Node, path: Path, reading: Reading) -> str | None:
        text = super().read(node, path, reading)
        if text is not None:
            reading.bound_datagrams.append((text, node, path))
        return text
