"""The keys of a route of HTTP requests, and how they go together.

Exactly one of service, split, a redirect and a direct response decides what happens to a request; Gateway API's rules
hold for the rest: a rewrite and a redirect exclude each other, a prefix is replaced only where a prefix was matched.
What concerns endpoints means nothing where none is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from discovery.model import Filters, PathKind, Route, RouteMatch, StreamRoute, TrafficSplit
from discovery.policies import RetryPolicy
from proxy.config import balancing, retries
from proxy.config.balancing import SUBSET
from proxy.config.filters import (
    DIRECT_RESPONSE,
    NEW_PREFIX,
    REDIRECT,
    URL_REWRITE,
    FilterList,
)
from proxy.config.guards import MIRROR, check_mirror
from proxy.config.matches import MATCH_RECORD, PATH_EXACT, PATH_PREFIX, PATH_REGEX
from proxy.config.nodes import Mapping, Node, Sequence
from proxy.config.records import AnyKey, Distinct, Fields, Key, Record, RecordList
from proxy.config.retries import check_attempt
from proxy.config.shapes import Again, Duration
from proxy.config.words import NAME, VERSION, WEIGHT, ServiceReference

MAX_SHARES = 16  # Gateway API: backendRefs of a rule

# --- shares of a split ------------------------------------------------------------------------------------------------

SHARE_SERVICE = Key("service", ServiceReference(), "where this share goes", required=True)
SHARE_VERSION = Key("version", VERSION, "only endpoints of this version; default: as the service splits its traffic")
SHARE_WEIGHT = Key("weight", WEIGHT, "share out of the sum of all weights; 1 by default, 0 takes nothing")


def _build_share(fields: Fields) -> TrafficSplit:
    return TrafficSplit(
        service=fields.get(SHARE_SERVICE, ""),
        version=fields.get(SHARE_VERSION, ""),
        weight=fields.get(SHARE_WEIGHT, 1),
    )


SHARE = Record("a share", (SHARE_SERVICE, SHARE_VERSION, SHARE_WEIGHT), _build_share)


def target(fields: Fields) -> str | None:
    """What a share names, so that no two shares name the same."""
    service, version = fields.get(SHARE_SERVICE, None), fields.get(SHARE_VERSION, "")
    return service and f"{service} {version}".strip()


def check_weights(fields: Fields, key: Key[tuple[TrafficSplit, ...]]) -> None:
    """Some share must take what comes."""
    shares = fields.get(key, None)
    if shares is not None and not any(share.weight for share in shares):
        fields.problem("every weight is 0, expected one that is not", key)


# --- the route ----------------------------------------------------------------------------------------------------

ROUTE_NAME = Key("name", NAME, "unique within the listener; in logs, metrics and tests", required=True)
MATCH = Key("match", MATCH_RECORD, "all of it must hold; default: every request")
SERVICE = Key("service", ServiceReference(), "where requests go")
ROUTE_VERSION = Key("version", VERSION, "only endpoints of this version, whatever the service's traffic_split says")
SPLIT = Key(
    "split",
    RecordList(SHARE, (Distinct(SHARE_SERVICE, target, "target"),), MAX_SHARES, 1),
    "requests are drawn among these, in the place of one service",
)
FILTERS = Key("filters", FilterList(), "changes to requests and responses, redirects, fixed answers")
TIMEOUT = Key("timeout", Duration(zero="none"), "whole request including replays; default: the service's; 0 = none")

STICKY_SPLIT = Key(
    balancing.STICKY_SPLIT.name,
    balancing.STICKY_SPLIT.shape,
    "requests of one client are drawn alike by `split`; default: each on its own",
)
RETRY = Key(
    retries.RETRY.name,
    Again(retries.RETRY.shape, "retry"),
    "which failed requests are sent again; default: as the service says",
    aliases=retries.RETRY.aliases,
)

# Filters that have a say in whether the rest of the route makes sense.
_DECIDING: tuple[AnyKey, ...] = (DIRECT_RESPONSE, REDIRECT, URL_REWRITE, MIRROR)


def _filters_written(fields: Fields) -> dict[str, AnyKey]:
    """The kinds of filters in the list, readable or not."""
    found: dict[str, AnyKey] = {}
    entry = fields.node.entries.get(FILTERS.name)
    if entry is not None and isinstance(entry[1], Sequence):
        for item in entry[1].items:
            if isinstance(item, Mapping):
                found |= {key.name: key for key in _DECIDING if key.name in item.entries}
    return found


def _check_decision(fields: Fields, filters: dict[str, AnyKey]) -> None:
    """One and only one thing happens to a request."""
    decisions = [key.name for key in (SERVICE, SPLIT) if fields.given(key)]
    decisions += [key.name for key in (REDIRECT, DIRECT_RESPONSE) if key.name in filters]
    if len(decisions) != 1:
        if not decisions and fields.given(FILTERS) and FILTERS.name not in fields.values:
            return  # what the filters mean to do cannot be told
        got = f"both {' and '.join(decisions)}" if decisions else "none of them"
        fields.problem(f"expected one of service, split, redirect and direct_response, got {got}")
    if not any(fields.given(key) for key in (SERVICE, SPLIT)) and decisions:
        for key in (RETRY, SUBSET):
            if fields.given(key):
                fields.problem(f"means nothing, because {decisions[0]} asks no endpoint, expected no such key", key)
        if MIRROR.name in filters:
            fields.problem(f"mirror copies what is forwarded, and {decisions[0]} forwards nothing", FILTERS)
    if fields.given(STICKY_SPLIT) and not fields.given(SPLIT):
        fields.problem("is about the route's split, which is not given, expected split", STICKY_SPLIT)
    if fields.given(ROUTE_VERSION) and not fields.given(SERVICE):
        fields.problem("pins the version of 'service', which is not given", ROUTE_VERSION)
    if REDIRECT.name in filters and URL_REWRITE.name in filters:
        fields.problem("url_rewrite and redirect exclude each other, expected one of them", FILTERS)
    if DIRECT_RESPONSE.name in filters and URL_REWRITE.name in filters:
        fields.problem("url_rewrite changes what is forwarded, and direct_response forwards nothing", FILTERS)


def _check_prefix(fields: Fields, filters: Filters, match: RouteMatch) -> None:
    if match.path_kind is PathKind.PREFIX:
        return
    for name, change in ((URL_REWRITE.name, filters.url_rewrite), (REDIRECT.name, filters.redirect)):
        if change is not None and change.path_prefix is not None:
            message = f"{name}.{NEW_PREFIX.name} replaces a matched prefix, expected match.{PATH_PREFIX.name}"
            fields.problem(f"{message}, got match.{_PATH_KEYS[match.path_kind]}", FILTERS)


_PATH_KEYS = {PathKind.EXACT: PATH_EXACT.name, PathKind.REGEX: PATH_REGEX.name}


def _check_retry(fields: Fields, retry: RetryPolicy | None) -> None:
    """Against the route's own timeout here; against the service's at the end of reading, which knows it."""
    check_attempt(fields, RETRY, fields.get(TIMEOUT, None) or 0.0)
    service = fields.get(SERVICE, "")
    if retry is not None and retry.per_try_timeout and service and not fields.given(TIMEOUT):
        spelling = fields.written[RETRY.name]
        fields.reading.attempts.append(
            (service, retry.per_try_timeout, fields.node.entries[spelling][1], (fields.path, spelling))
        )


def _build_route(fields: Fields) -> Route:
    filters = fields.get(FILTERS, Filters())
    match = fields.get(MATCH, RouteMatch())
    _check_decision(fields, _filters_written(fields))
    _check_prefix(fields, filters, match)
    check_weights(fields, SPLIT)
    retry = fields.get(RETRY, None)
    _check_retry(fields, retry)
    check_mirror(fields, filters.policies.mirror, fields.get(SERVICE, ""), fields.get(ROUTE_VERSION, ""), FILTERS)
    return Route(
        name=fields.get(ROUTE_NAME, ""),
        match=match,
        service=fields.get(SERVICE, ""),
        version=fields.get(ROUTE_VERSION, ""),
        split=fields.get(SPLIT, ()),
        sticky_split=fields.get(STICKY_SPLIT, None),
        subset=fields.get(SUBSET, None),
        filters=filters,
        timeout=fields.get(TIMEOUT, None),
        retry=retry,
        position=fields.reading.position(fields.node),
    )


# A list of routes may hold both kinds: see streams.py.
AnyRoute: TypeAlias = Route | StreamRoute

# What only a route of requests can say.
OF_REQUESTS: tuple[AnyKey, ...] = (STICKY_SPLIT, SUBSET, FILTERS, TIMEOUT, RETRY)

ROUTE: Record[AnyRoute] = Record(
    "a route", (ROUTE_NAME, MATCH, SERVICE, ROUTE_VERSION, SPLIT, *OF_REQUESTS), _build_route
)


def route_list(route: Record[AnyRoute], rank: Callable[[Node], int] | None = None) -> RecordList[AnyRoute]:
    return RecordList(route, (Distinct(ROUTE_NAME, lambda fields: fields.get(ROUTE_NAME, None), "name"),), rank=rank)
