"""The keys of a route's filters: what changes in requests and responses, or answers in the place of a service.

Meaning and limits are those of Gateway API's HTTPRouteFilter: at most 16 of them, and a rewrite and a redirect exclude
each other. How filters go together with the rest of a route is checked in routes.py. What requests have to pass
(guards.py) are filters, too.
"""

from __future__ import annotations

from typing import TypeVar

from discovery.model import DirectResponse, Filters, HeaderEdit, Redirect, UrlRewrite
from proxy.config.addresses import parse_host_name
from proxy.config.guards import GUARDS, build_policies
from proxy.config.nodes import Mapping, Node, Path
from proxy.config.places import Parts
from proxy.config.reading import Reading
from proxy.config.records import AnyKey, Fields, Key, Record
from proxy.config.shapes import Again, Integer, Json, ListOf, MapOf, ScalarShape, Schema, Shape, Text
from proxy.config.words import EDITED_HEADER_NAME, HEADER_VALUE, MAX_CONDITIONS, PATH

T = TypeVar("T")

MAX_FILTERS = 16

# A body that stands in the configuration is a message, not a download.
MAX_BODY = 64 * 1024

REDIRECT_STATUSES = (301, 302, 303, 307, 308)
NO_BODY_STATUSES = (204, 205, 304)

_EDITS = MapOf(HEADER_VALUE, EDITED_HEADER_NAME, MAX_CONDITIONS, folded=True)
SET = Key("set", _EDITS, "put in place of every header of that name")
ADD = Key("add", _EDITS, "put beside the headers of that name")
REMOVE = Key("remove", ListOf(EDITED_HEADER_NAME, MAX_CONDITIONS, unique=True), "taken away, before set and add")


def _build_edit(fields: Fields) -> HeaderEdit:
    if not fields.node.entries:
        fields.problem("empty, expected set, add or remove")
    return HeaderEdit(set=fields.get(SET, {}), add=fields.get(ADD, {}), remove=fields.get(REMOVE, ()))


HEADER_EDIT = Record("header changes", (SET, ADD, REMOVE), _build_edit)

NEW_HOST = Key("host", Text("a host name", parse_host_name), "Host of the new URL")
NEW_PATH = Key("path", PATH, "replaces the whole path; the query stays")
NEW_PREFIX = Key("path_prefix", PATH, "replaces the prefix that the route matched")
SCHEME = Key("scheme", Text("http or https", lambda text: _one_of(text, ("http", "https"))), "scheme of the new URL")
PORT = Key("port", Integer(1, 65535), "port of the new URL; default: the scheme's own")


def _one_of(text: str, words: tuple[str, ...]) -> str:
    if text not in words:
        raise ValueError(f"'{text}' is not known, expected {' or '.join(words)}")
    return text


class Status(ScalarShape[int]):
    """A status code out of a few, or of a range."""

    bare = True

    def __init__(self, allowed: tuple[int, ...] | range) -> None:
        self.allowed = allowed
        self.numbers = Integer(100, 599)
        span = f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else ", ".join(map(str, allowed))
        self.expected = f"a status code: {span}"

    def parse(self, text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 3 or int(text) not in self.allowed:
            raise ValueError(f"'{text[:40]}' is not possible here, expected {self.expected}")
        return int(text)

    def schema(self, defs: Schema) -> Schema:
        if isinstance(self.allowed, range):
            return Integer(self.allowed[0], self.allowed[-1]).schema(defs)
        words: list[Json] = list(self.allowed)
        return {"enum": words}

    def render(self, value: int) -> Json:
        return value


def _build_rewrite(fields: Fields) -> UrlRewrite:
    fields.only_one(NEW_PATH, NEW_PREFIX)
    if not fields.node.entries:
        fields.problem("empty, expected host, path or path_prefix")
    return UrlRewrite(
        host=fields.get(NEW_HOST, None), path=fields.get(NEW_PATH, None), path_prefix=fields.get(NEW_PREFIX, None)
    )


URL_REWRITE_RECORD = Record("a rewrite", (NEW_HOST, NEW_PATH, NEW_PREFIX), _build_rewrite)

REDIRECT_STATUS = Key("status", Status(REDIRECT_STATUSES), "302 by default")


def _build_redirect(fields: Fields) -> Redirect:
    fields.only_one(NEW_PATH, NEW_PREFIX)
    aims = any(fields.given(key) for key in (SCHEME, NEW_HOST, PORT, NEW_PATH, NEW_PREFIX))
    if not aims and not fields.failed:
        fields.problem("leads to the same URL again, expected scheme, host, port, path or path_prefix")
    return Redirect(
        scheme=fields.get(SCHEME, None),
        host=fields.get(NEW_HOST, None),
        port=fields.get(PORT, None),
        path=fields.get(NEW_PATH, None),
        path_prefix=fields.get(NEW_PREFIX, None),
        status=fields.get(REDIRECT_STATUS, 302),
    )


REDIRECT_RECORD = Record("a redirect", (SCHEME, NEW_HOST, PORT, NEW_PATH, NEW_PREFIX, REDIRECT_STATUS), _build_redirect)

RESPONSE_STATUS = Key("status", Status(range(200, 600)), "200 by default")
BODY = Key("body", Text("a text", longest=MAX_BODY, empty=True), "sent as UTF-8")
CONTENT_TYPE = Key("content_type", HEADER_VALUE, "text/plain; charset=utf-8 by default")
RESPONSE_FIELDS = Key("headers", _EDITS, "headers of the response")


def _build_response(fields: Fields) -> DirectResponse:
    response = DirectResponse(
        status=fields.get(RESPONSE_STATUS, 200),
        body=fields.get(BODY, ""),
        content_type=fields.get(CONTENT_TYPE, "text/plain; charset=utf-8"),
        headers=fields.get(RESPONSE_FIELDS, {}),
    )
    if response.body and response.status in NO_BODY_STATUSES:
        fields.problem(f"a {response.status} response has no body, expected none", BODY)
    return response


DIRECT_RESPONSE_RECORD = Record("a response", (RESPONSE_STATUS, BODY, CONTENT_TYPE, RESPONSE_FIELDS), _build_response)

REQUEST_HEADERS = Key("request_headers", HEADER_EDIT, "changes headers before a request is forwarded")
RESPONSE_HEADERS = Key("response_headers", HEADER_EDIT, "changes headers before a response is sent")
URL_REWRITE = Key("url_rewrite", URL_REWRITE_RECORD, "changes host or path before a request is forwarded")
REDIRECT = Key("redirect", REDIRECT_RECORD, "answers with a redirect; the query is kept")
DIRECT_RESPONSE = Key("direct_response", DIRECT_RESPONSE_RECORD, "answers without a service")


def _build_filter(fields: Fields) -> Fields:
    if len(fields.node.entries) != 1:
        fields.problem(f"{len(fields.node.entries)} keys, expected one filter per entry")
    return fields


_GUARDS: tuple[AnyKey, ...] = tuple(Key(key.name, Again(key.shape, key.name), key.about) for key in GUARDS)
FILTER = Record(
    "a filter", (REQUEST_HEADERS, RESPONSE_HEADERS, URL_REWRITE, REDIRECT, DIRECT_RESPONSE, *_GUARDS), _build_filter
)


_ORDER = {name: index for index, name in enumerate(FILTER.spellings)}


def _order(item: Node) -> int:
    """Filters apply in the order of their kinds."""
    return min((_ORDER.get(name, 0) for name in item.entries), default=0) if isinstance(item, Mapping) else 0


class FilterList(Shape[Filters]):
    """A list of filters, each kind at most once. They apply in a fixed order, so theirs in the list means nothing."""

    expected = "a list of filters"

    def __init__(self) -> None:
        self.entries = ListOf(FILTER, MAX_FILTERS, rank=_order)

    def read(self, node: Node, path: Path, reading: Reading) -> Filters | None:
        entries = self.entries.read(node, path, reading)
        if entries is None:
            return None
        once: dict[str, Fields] = {}
        for fields in entries:
            name = next(iter(fields.written))
            if once.setdefault(name, fields) is not fields:
                reading.problem(fields.node, fields.path, f"a second '{name}', expected at most one of a kind")
        if len(once) != len(entries):
            return None
        return Filters(
            request_headers=_only(once, REQUEST_HEADERS),
            response_headers=_only(once, RESPONSE_HEADERS),
            url_rewrite=_only(once, URL_REWRITE),
            redirect=_only(once, REDIRECT),
            direct_response=_only(once, DIRECT_RESPONSE),
            policies=build_policies({key.name: _only(once, key) for key in GUARDS if key.name in once}),
        )

    def schema(self, defs: Schema) -> Schema:
        return self.entries.schema(defs)

    def parts(self, node: Node, path: Path) -> Parts:
        return self.entries.parts(node, path)


def _only(once: dict[str, Fields], key: Key[T]) -> T | None:
    return once[key.name].get(key, None) if key.name in once else None
