"""The keys of how an endpoint is chosen: load balancing, affinity of a client, subsets by metadata.

`load_balancing` is the name of a strategy, or a mapping with its parameters; a parameter that means nothing to the
strategy is an error. Parts of a request are written `client_ip`, `header:NAME`, `cookie:NAME`, `query:NAME`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from discovery.policies import (
    Affinity,
    Balancing,
    BrokenAffinity,
    KeyKind,
    LoadBalancingStrategy,
    RequestKey,
    Subset,
    SubsetFallback,
)
from proxy.config.endpoints import METADATA
from proxy.config.nodes import Mapping, Node, Path, shown
from proxy.config.numbers import Number, Percent
from proxy.config.places import Parts, Place
from proxy.config.reading import Reading
from proxy.config.records import AnyKey, Fields, Key, Record
from proxy.config.shapes import Again, Always, Choice, Duration, Flag, Integer, Json, MapOf, ScalarShape, Schema, Text
from proxy.config.words import HEADER_NAME, MAX_CONDITIONS, MAX_HEADER_NAME, MAX_PATH, header_name, path, token

MAX_NAME = 256  # of a cookie, a query parameter, a key of metadata
# Two choices do nearly all there is to gain (Mitzenmacher, 2001); beyond this it is the least loaded of all.
MOST_CHOICES = 64

METADATA_NAME = Text("a name", longest=MAX_NAME)

# --- a part of a request ------------------------------------------------------------------------------------------

NAMED: Final = (KeyKind.HEADER, KeyKind.COOKIE, KeyKind.QUERY)


def _cookie_name(text: str) -> str:
    return token(text)


def _parameter(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"'{shown(text)}' is not a query parameter, expected printable text")
    return text


_CHECKS = {KeyKind.HEADER: header_name, KeyKind.COOKIE: _cookie_name, KeyKind.QUERY: _parameter}


def show_request_key(key: RequestKey) -> str:
    return f"{key.kind.value}:{key.name}" if key.kind in NAMED else key.kind.value


class RequestKeyShape(ScalarShape[RequestKey]):
    def __init__(self, *kinds: KeyKind) -> None:
        self.kinds = kinds
        words = [f"{kind.value}:NAME" if kind in NAMED else kind.value for kind in kinds]
        self.expected = " or ".join(words)
        self.pattern = "^(" + "|".join(word.replace("NAME", ".+") for word in words) + ")$"

    def parse(self, text: str) -> RequestKey:
        word, colon, name = text.partition(":")
        kind = next((each for each in self.kinds if each.value == word), None)
        if kind is None or (kind in NAMED) != bool(colon):
            raise ValueError(f"'{shown(text)}' is no part of a request, expected {self.expected}")
        if kind not in NAMED:
            return RequestKey(kind=kind)
        if not name or len(name) > MAX_NAME:
            raise ValueError(f"'{shown(text)}' names none, expected {kind.value}: and a name of at most {MAX_NAME}")
        name = _CHECKS[kind](name)
        return RequestKey(kind=kind, name=name.lower() if kind is KeyKind.HEADER else name)

    def schema(self, defs: Schema) -> Schema:
        return {"type": "string", "pattern": self.pattern}

    def render(self, value: RequestKey) -> Json:
        return show_request_key(value)


# --- load balancing -----------------------------------------------------------------------------------------------


class LoadBalancing(NamedTuple):
    strategy: LoadBalancingStrategy = LoadBalancingStrategy.ROUND_ROBIN
    parameters: Balancing = Balancing()


# The spellings of the source document.
STRATEGIES: Choice[LoadBalancingStrategy] = Choice(
    LoadBalancingStrategy,
    {
        "RoundRobin": LoadBalancingStrategy.ROUND_ROBIN,
        "LeastConnections": LoadBalancingStrategy.LEAST_CONNECTIONS,
        "Random": LoadBalancingStrategy.RANDOM,
        "WeightedRoundRobin": LoadBalancingStrategy.WEIGHTED_ROUND_ROBIN,
        "IPHash": LoadBalancingStrategy.IP_HASH,
    },
)

_BY_KEY = (LoadBalancingStrategy.MAGLEV, LoadBalancingStrategy.RING_HASH)
_HASHING = (*_BY_KEY, LoadBalancingStrategy.IP_HASH)
_ALL = tuple(LoadBalancingStrategy)

STRATEGY = Key("strategy", STRATEGIES, "how an endpoint is picked; round_robin by default")
HASH_ON = Key(
    "hash_on",
    RequestKeyShape(KeyKind.CLIENT_IP, *NAMED),
    "what requests are told apart by; the client's address by default",
)
BOUNDED_LOAD = Key(
    "bounded_load",
    Number(1, 100, zero=True),
    "no endpoint gets more than so many times the average load, 1.25 to 2 make sense; 0, the default, is no bound",
)
CHOICES = Key("choices", Integer(2, MOST_CHOICES), "endpoints compared at random where there are many; 2 by default")
DECAY = Key("decay", Duration(), "after which a measured time counts for 1/e; 10s by default")
SLOW_START = Key(
    "slow_start",
    Duration(zero="at once"),
    "an endpoint that comes, or comes back, gets its full share within this time; 0, the default, is at once",
)
SLOW_START_AGGRESSION = Key(
    "slow_start_aggression", Number(0.01, 100), "1, the default, is linear; more is faster at first"
)
SLOW_START_MIN = Key(
    "slow_start_min", Percent(), "the share that it begins with; 10% by default", field="slow_start_min_pct"
)
PANIC_THRESHOLD = Key(
    "panic_threshold",
    Percent(),
    "with fewer usable endpoints all are used that are not draining; 0%, the default, is never",
    field="panic_threshold_pct",
)
PREFER_ZONE = Key("prefer_zone", Flag(), "endpoints of this instance's zone first; false by default")
ZONE_KEY = Key("zone_key", METADATA_NAME, "the metadata of an endpoint that names its zone; zone by default")
ZONE_MIN = Key(
    "zone_min",
    Percent(),
    "share of the zone's endpoints that must be usable to keep all traffic in it; 70% by default",
    field="zone_min_pct",
)

# Which strategies a parameter means something to.
PARAMETERS: dict[AnyKey, tuple[LoadBalancingStrategy, ...]] = {
    HASH_ON: _BY_KEY,
    BOUNDED_LOAD: _HASHING,
    CHOICES: (LoadBalancingStrategy.LEAST_CONNECTIONS,),
    DECAY: (LoadBalancingStrategy.PEAK_EWMA,),
    SLOW_START: _ALL,
    SLOW_START_AGGRESSION: _ALL,
    SLOW_START_MIN: _ALL,
    PANIC_THRESHOLD: _ALL,
    PREFER_ZONE: _ALL,
    ZONE_KEY: _ALL,
    ZONE_MIN: _ALL,
}


def _build_load_balancing(fields: Fields) -> LoadBalancing | None:
    strategy = fields.get(STRATEGY, LoadBalancingStrategy.ROUND_ROBIN)
    if not (fields.given(STRATEGY) and STRATEGY.name not in fields.values):
        for key, meant in PARAMETERS.items():
            if fields.given(key) and strategy not in meant:
                others = " or ".join(meant)
                fields.problem(f"means nothing to {strategy}, expected 'strategy: {others}' or no such key", key)
    if fields.get(PREFER_ZONE, False):
        entry = fields.node.entries[fields.written[PREFER_ZONE.name]]
        fields.reading.zone_preferences.append(("", entry[1], (fields.path, PREFER_ZONE.name)))
    values = {key.field: fields.values[key.name] for key in PARAMETERS if key.name in fields.values}
    return None if fields.failed else LoadBalancing(strategy, msgspec.structs.replace(Balancing(), **values))


def show_load_balancing(strategy: LoadBalancingStrategy, parameters: Balancing) -> Json:
    shown: dict[str, Json] = {STRATEGY.name: strategy.value}
    for key, meant in PARAMETERS.items():
        if strategy in meant:
            shown[key.name] = key.shape.render(getattr(parameters, key.field))
    return shown


class LoadBalancingShape(Record[LoadBalancing]):
    """The name of a strategy, or {strategy: ..., hash_on: ...}."""

    def __init__(self) -> None:
        super().__init__(
            "load balancing",
            (STRATEGY, *PARAMETERS),
            _build_load_balancing,
            lambda value: show_load_balancing(value.strategy, value.parameters),
        )

    def read(self, node: Node, path: Path, reading: Reading) -> LoadBalancing | None:
        if type(node) is Mapping:
            return super().read(node, path, reading)
        strategy = STRATEGIES.read(node, path, reading)
        return None if strategy is None else LoadBalancing(strategy)

    def schema(self, defs: Schema) -> Schema:
        return {"anyOf": [STRATEGIES.schema(defs), super().schema(defs)]}

    def parts(self, node: Node, path: Path) -> Parts:
        return super().parts(node, path) if type(node) is Mapping else {STRATEGY.name: Place(node, path)}


# --- affinity -----------------------------------------------------------------------------------------------------


class SameSite(StrEnum):
    LAX = "Lax"
    STRICT = "Strict"
    NONE = "None"


def _cookie_path(text: str) -> str:
    if ";" in text:
        raise ValueError(f"'{shown(text)}' has a ; in it, which ends a cookie's path, expected one without")
    return path(text)


COOKIE = Key("cookie", Text("a cookie's name", _cookie_name, MAX_NAME), "a cookie of the proxy's own, signed")
HEADER = Key(
    "header", Text("a header name", header_name, MAX_HEADER_NAME), "by hash of this header; without it: spread"
)
CLIENT_IP = Key("client_ip", Always(True, "no affinity is no such key"), "by hash of the client's address")
TTL = Key("ttl", Duration(zero="session"), "of the cookie; 0, the default, is until the browser ends")
COOKIE_PATH = Key("path", Text("a path that starts with /", _cookie_path, MAX_PATH), "of the cookie; / by default")
SECURE = Key("secure", Flag(), "the cookie is sent over HTTPS only; false by default")
SAME_SITE = Key(
    "same_site",
    Choice(SameSite, {"lax": SameSite.LAX, "strict": SameSite.STRICT, "none": SameSite.NONE}),
    "of the cookie; Lax by default",
)
BROKEN = Key(
    "broken",
    Choice(BrokenAffinity),
    "what happens to a client whose endpoint cannot be used: repick, the default, gives it another one; fail: 503",
)

_OF_COOKIES: tuple[AnyKey, ...] = (TTL, COOKIE_PATH, SECURE, SAME_SITE)
_SOURCES: tuple[AnyKey, ...] = (COOKIE, HEADER, CLIENT_IP)


def _build_affinity(fields: Fields) -> Affinity:
    given = [key for key in _SOURCES if fields.given(key)]
    if len(given) != 1:
        got = f"both {' and '.join(key.name for key in given)}" if given else "none of them"
        fields.problem(f"expected one of cookie, header and client_ip, got {got}")
    kind = KeyKind(given[0].name) if given else KeyKind.COOKIE
    if kind is not KeyKind.COOKIE:
        for key in _OF_COOKIES:
            if fields.given(key):
                fields.problem("is about a cookie, and there is none, expected 'cookie: NAME' or no such key", key)
    name = fields.get(HEADER, "").lower() if kind is KeyKind.HEADER else fields.get(COOKIE, "")
    same_site = fields.get(SAME_SITE, SameSite.LAX)
    if same_site is SameSite.NONE and not fields.get(SECURE, False):
        fields.problem("None is refused by browsers without secure, expected 'secure: true' beside it", SAME_SITE)
    return Affinity(
        kind=kind,
        name=name if kind is not KeyKind.CLIENT_IP else "",
        ttl=fields.get(TTL, 0.0),
        path=fields.get(COOKIE_PATH, "/"),
        secure=fields.get(SECURE, False),
        same_site=same_site.value,
        broken=fields.get(BROKEN, BrokenAffinity.REPICK),
    )


def _show_client(affinity: Affinity) -> dict[str, Json]:
    shown: dict[str, Json] = {affinity.kind.value: affinity.kind is KeyKind.CLIENT_IP or affinity.name}
    if affinity.kind is KeyKind.COOKIE:
        shown |= {
            TTL.name: TTL.shape.render(affinity.ttl),
            COOKIE_PATH.name: affinity.path,
            SECURE.name: affinity.secure,
            SAME_SITE.name: affinity.same_site,
        }
    return shown


def _show_affinity(affinity: Affinity) -> Json:
    return {**_show_client(affinity), BROKEN.name: affinity.broken.value}


AFFINITY_RECORD = Record("affinity", (*_SOURCES, *_OF_COOKIES, BROKEN), _build_affinity, _show_affinity)
# Of a split there is nothing that could break: a version without endpoints is not drawn.
STICKY_RECORD: Record[Affinity] = Record("a sticky split", (*_SOURCES, *_OF_COOKIES), _build_affinity, _show_client)

AFFINITY = Key("affinity", AFFINITY_RECORD, "requests of one client go to one endpoint; default: they do not")
STICKY_SPLIT = Key(
    "sticky_split",
    Again(STICKY_RECORD, "sticky_split"),
    "requests of one client are drawn alike by the split; default: each on its own",
)

# --- subsets ------------------------------------------------------------------------------------------------------

WANTED = Key("metadata", METADATA.shape, "endpoints must have all of this metadata")
WANTED_HEADERS = Key(
    "headers",
    MapOf(HEADER_NAME, METADATA_NAME, MAX_CONDITIONS),
    "metadata -> the header whose value it must have; a header that is absent asks nothing",
)
FALLBACK = Key(
    "fallback",
    Choice(SubsetFallback),
    "where no endpoint is such: none, the default, answers 503; any takes every endpoint; default those of `default`",
)
DEFAULT = Key("default", METADATA.shape, "metadata of the endpoints taken instead, with fallback: default")


def _build_subset(fields: Fields) -> Subset:
    metadata, headers = fields.get(WANTED, {}), fields.get(WANTED_HEADERS, {})
    if not fields.failed and not metadata and not headers:
        fields.problem("asks for nothing, expected metadata or headers")
    for name in headers:
        if name in metadata:
            fields.problem(f"'{shown(name)}' is asked for by metadata already, expected it once", WANTED_HEADERS)
    fallback, default = fields.get(FALLBACK, SubsetFallback.NONE), fields.get(DEFAULT, {})
    if fallback is SubsetFallback.DEFAULT and not default and not fields.failed:
        fields.problem("default takes the endpoints of `default`, which is not given", FALLBACK)
    if default and fallback is not SubsetFallback.DEFAULT:
        fields.problem("is for 'fallback: default', expected that beside it or no such key", DEFAULT)
    return Subset(
        metadata=metadata,
        headers={name: header.lower() for name, header in headers.items()},
        fallback=fallback,
        default=default,
    )


def _show_subset(subset: Subset) -> Json:
    return {
        **({WANTED.name: dict(subset.metadata)} if subset.metadata else {}),
        **({WANTED_HEADERS.name: dict(subset.headers)} if subset.headers else {}),
        FALLBACK.name: subset.fallback.value,
        **({DEFAULT.name: dict(subset.default)} if subset.default else {}),
    }


SUBSET = Key(
    "subset",
    Record("a subset", (WANTED, WANTED_HEADERS, FALLBACK, DEFAULT), _build_subset, _show_subset),
    "only endpoints with this metadata",
)
