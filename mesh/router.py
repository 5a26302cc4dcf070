"""The routes of a listener compiled to tables: which route takes a request.

Precedence is Gateway API's. Routes are ranked once, when the router is made:

    1. host: exact, then the longest wildcard, then none
    2. path: exact, then regular expression (the longer pattern first), then the longest prefix
    3. a condition on the method before none
    4. more header conditions      5. more query conditions      6. position in the list

The first route in that order whose conditions all hold wins, so a route that fails on its method lets a shorter
prefix or a less specific host have the request. Finding it costs a few look-ups however many routes there are:

    host -> chain of host tables, most specific first
        table: exact path -> bucket | patterns -> buckets | tree of path elements -> buckets, deepest first
            bucket: the routes of one host and path (see mesh/buckets.py)

`match` answers for live traffic, `explain` for people; both use the same tables and conditions.
Never changes a request and keeps nothing of it afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from discovery.model import EscapePolicy, PathKind, Route, RouteMatch
from mesh.buckets import Bucket, PatternTable, Rule
from mesh.conditions import ClientIn, Condition, HeaderIs, MethodIn, Probe, QueryIs
from mesh.explanation import Explanation
from mesh.networks import NetworkError
from mesh.paths import PathError, normalise
from mesh.patterns import PatternError, compile_pattern
from mesh.request import RequestView
from mesh.verdict import Verdict

SLASH = ord("/")
MAX_HOST = 253  # RFC 1035 section 2.3.4, as text without the final dot
MAX_PATH = 1024  # Gateway API's limit on the value of a path match

# How kinds of path rank, and of hosts.
PATH_RANK = {PathKind.EXACT: 0, PathKind.REGEX: 1, PathKind.PREFIX: 2}
EXACT_HOST, WILDCARD_HOST, ANY_HOST = 0, 1, 2


class RouteError(ValueError):
    """A route that cannot be compiled. `route` is its name, `key` the part of its match that is wrong."""

    def __init__(self, route: str, key: str, message: str) -> None:
        super().__init__(f"route {route}: {key}: {message}")
        self.route = route
        self.key = key
        self.message = message


class Router:
    """Decides by the routes of `pairs`; each route comes with the payload that `match` returns for it."""

    def __init__(self, pairs: Iterable[tuple[Route, object]]) -> None:
        """RouteError names the first route that is wrong."""
        rules = _ranked(pairs)
        self.size = len(rules)  # routes
        self.probe = Probe()
        by_host: dict[str, list[Rule]] = {}
        for rule in rules:
            by_host.setdefault(rule.route.match.host, []).append(rule)
        tables = {host: HostTable(rules) for host, rules in by_host.items()}
        self.any_host: tuple[HostTable, ...] = (tables[""],) if "" in tables else ()
        # A chain holds every table that a host falls through to, so following it needs no further look-ups.
        self.wildcards: dict[bytes, tuple[HostTable, ...]] = {}
        self.hosts: dict[bytes, tuple[HostTable, ...]] = {}
        self.longest_wildcard = max((len(host) - 1 for host in tables if host.startswith("*")), default=0)
        for host in sorted((host for host in tables if host.startswith("*")), key=len):
            suffix = host[1:].encode()
            self.wildcards[suffix] = (tables[host], *self.by_wildcard(suffix[1:]))
        for host in tables:
            if host and not host.startswith("*"):
                self.hosts[host.encode()] = (tables[host], *self.by_wildcard(host.encode()))

    def match(self, view: RequestView) -> object | None:
        """The payload of the route that takes the request; None when none does."""
        chain = self.hosts.get(view.host)  # as `chain` does
        if chain is None:
            chain = self.by_wildcard(view.host)
        probe = self.probe
        probe.ask(view)
        payload = None
        for table in chain:
            rule = table.first(probe)
            if rule is not None:
                payload = rule.payload
                break
        probe.forget()
        return payload

    def put_host(self, host: str, pairs: Iterable[tuple[Route, object]]) -> None:
        """From now on these are the routes of `host`, which is no wildcard; without any it is a host like others.
        Costs what the routes of this host cost. Raises RouteError."""
        rules = _ranked(pairs)
        name = host.encode()
        before = self.hosts.pop(name, None)
        if before is not None:
            self.size -= len(before[0].rules)
        if rules:
            self.size += len(rules)
            self.hosts[name] = (HostTable(rules), *self.by_wildcard(name))

    def chain(self, host: bytes) -> tuple[HostTable, ...]:
        """The tables that a request for `host` asks, in order."""
        chain = self.hosts.get(host)
        return self.by_wildcard(host) if chain is None else chain

    def tables(self) -> list[HostTable]:
        """Those of all hosts, in order of precedence."""
        found = [chain[0] for chain in self.hosts.values()]
        found += [chain[0] for chain in reversed(self.wildcards.values())]  # made with the shortest first
        return found + list(self.any_host)

    def by_wildcard(self, host: bytes) -> tuple[HostTable, ...]:
        """The chain of a host that has no routes of its own: from its longest wildcard on."""
        if self.longest_wildcard:
            # Starting where the longest wildcard could begin bounds the work for a host of any length.
            dot = host.find(b".", max(1, len(host) - self.longest_wildcard))
            while dot > 0:
                chain = self.wildcards.get(host[dot:])
                if chain is not None:
                    return chain
                dot = host.find(b".", dot + 1)
        return self.any_host

    def explain(self, view: RequestView, most: int = 0) -> list[Verdict]:
        """Every route with the reason why it lost, or `most` of them; the winner is the one that `match` takes.
        mesh/explanation.py does the same in steps."""
        explanation = Explanation(self, view, most)
        for _ in explanation.steps():
            pass
        return explanation.verdicts


class HostTable:
    """The routes of one host, by path."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.ranks = tuple(rule.rank for rule in rules)
        exact: dict[bytes, list[Rule]] = {}
        patterns: dict[str, list[Rule]] = {}
        prefixes: dict[tuple[bytes, ...], list[Rule]] = {}
        for rule in rules:
            kind, path = rule.route.match.path_kind, rule.route.match.path
            if kind is PathKind.EXACT:
                exact.setdefault(path.encode(), []).append(rule)
            elif kind is PathKind.REGEX:
                patterns.setdefault(path, []).append(rule)
            else:
                prefixes.setdefault(path_elements(path), []).append(rule)
        self.exact = {path: Bucket(members) for path, members in exact.items()}
        self.patterns = PatternTable(patterns) if patterns else None
        self.root = PathNode(()) if prefixes else None
        for elements in sorted(prefixes, key=len):  # short first, so that every node knows the prefixes above it
            assert self.root is not None
            self.root.file(elements, Bucket(prefixes[elements]))

    def first(self, probe: Probe) -> Rule | None:
        """The rule of lowest rank that takes the request; None when none of this host does."""
        path = probe.view.path
        bucket = self.exact.get(path)
        if bucket is not None:
            rule = bucket.first(probe)
            if rule is not None:
                return rule
        if self.patterns is not None:
            rule = self.patterns.first(probe, path)
            if rule is not None:
                return rule
        if self.root is not None:
            for bucket in self.root.prefixes_of(path):
                rule = bucket.first(probe)
                if rule is not None:
                    return rule
        return None

    def reached(self, path: bytes) -> list[Bucket]:
        """Every bucket whose path condition holds for `path`."""
        buckets = [self.exact[path]] if path in self.exact else []
        if self.patterns is not None:
            buckets += self.patterns.matching(path)
        if self.root is not None:
            buckets += self.root.prefixes_of(path)
        return buckets


class PathNode:
    """A path element of a prefix. `buckets` are the prefixes that end here or above, the longest first."""

    def __init__(self, buckets: tuple[Bucket, ...]) -> None:
        self.children: dict[bytes, PathNode] = {}
        self.buckets = buckets

    def file(self, elements: tuple[bytes, ...], bucket: Bucket) -> None:
        """Put the bucket of a prefix where it belongs; prefixes with fewer elements must be there already."""
        node = self
        for element in elements:
            child = node.children.get(element)
            if child is None:
                child = node.children[element] = PathNode(node.buckets)
            node = child
        node.buckets = (bucket, *node.buckets)

    def prefixes_of(self, path: bytes) -> tuple[Bucket, ...]:
        """The buckets of all prefixes of `path`, the longest first. Goes no deeper than the prefixes do."""
        size = len(path)
        if size == 0 or path[0] != SLASH:
            # "*" asks about the server as a whole: what is routed by "/" answers for it.
            return self.buckets if path == b"*" else ()
        node = self
        start = 1
        while start <= size and node.children:
            end = start
            while end < size and path[end] != SLASH:
                end += 1
            child = node.children.get(path[start:end])
            if child is None:
                break
            node = child
            start = end + 1
        return node.buckets


def _ranked(pairs: Iterable[tuple[Route, object]]) -> list[Rule]:
    checked = [(route, payload, _conditions(route)) for route, payload in pairs]
    checked.sort(key=lambda entry: precedence(entry[0].match))  # stable: the list's order decides last
    return [Rule(rank, route, payload, conditions) for rank, (route, payload, conditions) in enumerate(checked)]


def precedence(match: RouteMatch) -> tuple[int, int, int, int, bool, int, int]:
    """Sorts the matches that a request may fall through in the order they are asked in."""
    if not match.host:
        host = (ANY_HOST, 0)
    elif match.host.startswith("*"):
        host = (WILDCARD_HOST, -len(match.host))
    else:
        host = (EXACT_HOST, 0)
    size = len(path_elements(match.path)) if match.path_kind is PathKind.PREFIX else len(match.path)
    return (*host, PATH_RANK[match.path_kind], -size, not match.methods, -len(match.headers), -len(match.query))


def path_elements(prefix: str) -> tuple[bytes, ...]:
    """Path elements of a prefix; a slash at its end means nothing (/abc and /abc/ are the same prefix)."""
    stripped = prefix.rstrip("/")
    return tuple(stripped.encode().split(b"/")[1:])


def _conditions(route: Route) -> tuple[Condition, ...]:
    """The route's conditions, the cheap ones first; RouteError when its match is wrong."""
    match = route.match
    _check_host(route)
    _check_path(route)
    conditions: list[Condition] = [MethodIn(match.methods)] if match.methods else []
    for header in match.headers:
        try:
            conditions.append(HeaderIs(header))
        except PatternError as error:
            raise RouteError(route.name, f"headers.{header.name}", str(error)) from None
    for parameter in match.query:
        try:
            conditions.append(QueryIs(parameter))
        except PatternError as error:
            raise RouteError(route.name, f"query.{parameter.name}", str(error)) from None
    if match.clients:
        try:
            conditions.append(ClientIn(match.clients))
        except NetworkError as error:
            raise RouteError(route.name, "clients", str(error)) from None
    return tuple(conditions)


def _check_host(route: Route) -> None:
    host = route.match.host
    name = host.removeprefix("*.")
    if host and (not name or "*" in name or name != name.lower() or len(name) > MAX_HOST or name.startswith(".")):
        expected = f'expected a lower-case name of at most {MAX_HOST} characters, or "*." and such a name'
        raise RouteError(route.name, "host", f"{host!r}: {expected}")


def _check_path(route: Route) -> None:
    path = route.match.path
    if route.match.path_kind is PathKind.REGEX:
        try:
            compile_pattern(path)
        except PatternError as error:
            raise RouteError(route.name, "path", str(error)) from None
        return
    if len(path) > MAX_PATH:
        raise RouteError(route.name, "path", f"{len(path)} characters are more than {MAX_PATH}")
    try:
        # Requests are matched by their normalised path, so another spelling would never match.
        normal = normalise(path.encode(), EscapePolicy.KEEP, False).decode()
    except PathError as error:
        raise RouteError(route.name, "path", f"{path!r}: {error}") from None
    if normal != path:
        raise RouteError(route.name, "path", f"{path!r} never matches; requests for it are seen as {normal!r}")
