"""Routes in the shadow of others, compared with what the router does and with the definition."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discovery.model import MatchKind, NameMatch, PathKind, Route, RouteMatch, StreamRoute
from mesh.matching import Conditions, Network, beginning_of, covers, literal_of, overlaps
from mesh.patterns import PatternError, compile_pattern
from mesh.request import SampleRequest
from mesh.router import Router, precedence
from mesh.shadows import Shadow, dead_streams, entries_of, spot_of
from mesh.shadows import dead_routes as dead_entries
from mesh.shadows import ordered_routes as ordered_entries
from mesh.streams import StreamRouter

# Few enough values that routes meet each other.
HOSTS = ["", "a.test", "*.test", "*.a.test"]
PATHS = [
    (PathKind.EXACT, "/a"),
    (PathKind.EXACT, "/a/b"),
    (PathKind.PREFIX, "/"),
    (PathKind.PREFIX, "/a"),
    (PathKind.PREFIX, "/a/"),
    (PathKind.PREFIX, "/a/b"),
    (PathKind.REGEX, ".*"),
    (PathKind.REGEX, "/.*"),
    (PathKind.REGEX, "/.+"),
    (PathKind.REGEX, "/a(/.*)?"),
    (PathKind.REGEX, "(?:/.*)?"),
    (PathKind.REGEX, "/a"),
    (PathKind.REGEX, "/a/[a-z]"),
    (PathKind.REGEX, "/a\\.*"),
]
VALUES = [
    (MatchKind.EXACT, "1"),
    (MatchKind.EXACT, "22"),
    (MatchKind.EXACT, ""),
    (MatchKind.REGEX, "[0-9]+"),
    (MatchKind.REGEX, "[0-9]"),
    (MatchKind.PRESENT, ""),
]
NETWORKS = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "::ffff:10.1.0.0/112", "fd00::/8", "0.0.0.0/0"]
METHODS = ["GET", "POST", "PUT"]


def conditions(names: list[str]) -> st.SearchStrategy[tuple[NameMatch, ...]]:
    def made(found: dict[str, tuple[MatchKind, str]]) -> tuple[NameMatch, ...]:
        return tuple(NameMatch(name=name, kind=kind, value=value) for name, (kind, value) in found.items())

    return st.dictionaries(st.sampled_from(names), st.sampled_from(VALUES), max_size=len(names)).map(made)


def some(values: list[str], most: int = 2) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=most, unique=True).map(tuple)


MATCHES = st.builds(
    lambda host, path, methods, headers, query, clients: RouteMatch(
        host=host,
        path_kind=path[0],
        path=path[1],
        methods=methods,
        headers=headers,
        query=query,
        clients=clients,
    ),
    st.sampled_from(HOSTS[:2]) | st.sampled_from(HOSTS),
    st.sampled_from(PATHS),
    some(METHODS),
    conditions(["x", "y"]),
    conditions(["p"]),
    some(NETWORKS),
)


def routes_of(matches: list[RouteMatch]) -> list[Route]:
    return [Route(name=str(place), match=match, service="s") for place, match in enumerate(matches)]


ROUTES = st.lists(MATCHES, min_size=2, max_size=8).map(routes_of)

# Of one path and with as many conditions, so that precedence tells few of them apart.
ALIKE = st.lists(
    st.builds(
        lambda path, methods, header, clients: RouteMatch(
            path_kind=path[0], path=path[1], methods=methods, headers=header, clients=clients
        ),
        st.sampled_from([(PathKind.PREFIX, "/a"), (PathKind.REGEX, "/a/[a-z]")]),
        st.sampled_from([(), ("GET",), ("GET", "POST"), ("POST", "PUT")]),
        conditions(["x"]) | conditions(["y"]),
        some(NETWORKS, 1),
    ),
    min_size=2,
    max_size=8,
).map(routes_of)


def dead_routes(routes: Sequence[Route]) -> list[Shadow]:
    return dead_entries(entries_of(routes))


def ordered_routes(routes: Sequence[Route], dead: Iterable[int]) -> list[Shadow]:
    return ordered_entries(entries_of(routes), dead)


@st.composite
def asking(draw: st.DrawFn, match: RouteMatch) -> SampleRequest:
    """A request that `match` takes, mostly."""
    host = draw(st.sampled_from(["a.test", "b.a.test", "b.test"])) if not match.host else match.host.replace("*", "b")
    below = draw(st.sampled_from(["", "/", "/b", "/b/c"]))
    paths = {
        PathKind.EXACT: [match.path],
        PathKind.PREFIX: [match.path.rstrip("/") + below or "/", "*" if match.path == "/" else match.path],
        PathKind.REGEX: ["/", "/a", "/a/b", "/a/b/c", "*", "/a.", "/a..", "/c"],
    }[match.path_kind]
    fields = {"x": draw(ANY_VALUE), "y": draw(ANY_VALUE), "p": draw(ANY_VALUE)}
    for each in (*match.headers, *match.query):
        fields[each.name] = each.value if each.kind is MatchKind.EXACT else draw(st.sampled_from(["1", "22"]))
    client = draw(st.sampled_from(["", "10.1.2.3", "10.9.9.9", "192.0.2.1", "fd00::1"]))
    if match.clients:
        network = ipaddress.ip_network(draw(st.sampled_from(match.clients)))
        client = str(network[draw(st.integers(0, min(network.num_addresses - 1, 70_000)))])
    return request(draw(st.sampled_from(match.methods or METHODS)), host, draw(st.sampled_from(paths)), fields, client)


ANY_VALUE = st.sampled_from([None, "1", "22", "", "z"])


def request(method: str, host: str, path: str, fields: Mapping[str, str | None], client: str) -> SampleRequest:
    query = "" if fields["p"] is None else f"p={fields['p']}"
    headers = [(name.encode(), value.encode()) for name in "xy" if (value := fields[name]) is not None]
    return SampleRequest(method.encode(), host.encode(), path.encode(), query.encode(), headers, client.encode())


def router(*routes: Route) -> Router:
    return Router([(route, route.name) for route in routes])


# --- routes that never win ------------------------------------------------------------------------------------------


@given(st.data(), ROUTES)
@settings(max_examples=60)
def test_no_request_goes_to_a_dead_route(data: st.DataObject, routes: list[Route]) -> None:
    whole = router(*routes)
    for shadow in dead_routes(routes):
        alone = router(routes[shadow.route])
        for _ in range(4):
            asked = data.draw(asking(routes[shadow.route].match))
            assert whole.match(asked) != routes[shadow.route].name
            if alone.match(asked) is not None:
                assert router(routes[shadow.by]).match(asked) is not None


def takes_paths(wide: RouteMatch, narrow: RouteMatch) -> bool:
    """By definition: the same path, or a kind that comes first and is known to match all of them."""
    if spot_of(wide) == spot_of(narrow):
        return True
    if wide.host != narrow.host:
        return False
    if wide.path_kind is PathKind.EXACT and narrow.path_kind is PathKind.REGEX:
        return literal_of(narrow.path) == wide.path
    if wide.path_kind is PathKind.REGEX and narrow.path_kind is PathKind.PREFIX:
        beginning = beginning_of(wide.path)
        return beginning is not None and beginning.covers(narrow.path)
    return False


@given(ROUTES)
@settings(max_examples=60)
def test_every_route_is_found_that_one_before_it_covers(routes: list[Route]) -> None:
    ranked = sorted(range(len(routes)), key=lambda place: precedence(routes[place].match))
    found = {shadow.route for shadow in dead_routes(routes)}
    expected = {
        place
        for rank, place in enumerate(ranked)
        for other in ranked[:rank]
        if takes_paths(routes[other].match, routes[place].match)
        and covers(Conditions.of(routes[other].match), Conditions.of(routes[place].match))
    }
    assert found == expected


@given(
    st.text("ab/.*+()?[]\\-", max_size=8), st.lists(st.sampled_from(["a", "b", "ab", "."]), max_size=3), st.text("ab/.")
)
@settings(max_examples=100)
def test_what_is_said_of_a_pattern_is_what_it_matches(pattern: str, elements: list[str], rest: str) -> None:
    try:
        compiled = compile_pattern(pattern)
    except PatternError:
        return
    literal, beginning = literal_of(pattern), beginning_of(pattern)
    if literal is not None:
        assert compiled.fullmatch(literal.encode())
        assert literal + rest == literal or not compiled.fullmatch((literal + rest).encode())
    prefix = "/" + "/".join(elements)
    if beginning is not None and beginning.covers(prefix):
        assert compiled.fullmatch(prefix.encode())
        assert compiled.fullmatch(f"{prefix.rstrip('/')}/{rest}".encode())
        assert elements or compiled.fullmatch(b"*")


@pytest.mark.parametrize(
    ("pattern", "prefix", "expected"),
    [
        (".*", "/", True),
        ("/.*", "/", False),  # OPTIONS *
        ("/.*", "/a", True),
        ("/a.*", "/a/b", True),
        ("/a/.*", "/a", False),
        ("/a(/.*)?", "/a", True),
        ("/a(/.*)?", "/ab", False),
        ("/a\\.b.*", "/a.b", True),
        ("/a.b.*", "/a.b", False),
        ("/a.+", "/a", False),
        ("/a.+", "/ab", True),
        ("/[a-z]+.*", "/a", False),
    ],
)
def test_patterns_that_take_all_below_a_prefix(pattern: str, prefix: str, expected: bool) -> None:
    beginning = beginning_of(pattern)
    assert (beginning is not None and beginning.covers(prefix)) == expected


# --- routes that only the order tells apart -------------------------------------------------------------------------


def both(one: RouteMatch, other: RouteMatch) -> SampleRequest:
    """A request that both take."""
    methods = sorted(set(one.methods or METHODS) & set(other.methods or METHODS))
    fields: dict[str, str | None] = {"x": None, "y": None, "p": None}
    for name in fields:
        asked = [each for each in (*one.headers, *other.headers, *one.query, *other.query) if each.name == name]
        if asked:
            fields[name] = next(value for value in ["1", "22", "", "z"] if all(holds(each, value) for each in asked))
    networks = sorted((Network.of(text) for text in (*one.clients, *other.clients)), key=lambda each: -each.length)
    clients = [
        str(ipaddress.IPv4Address(each.first) if each.bits == 32 else ipaddress.IPv6Address(each.first))
        for each in networks
    ]
    path = {PathKind.REGEX: next((p for p in ["/a", "/a/b", "/", "/a.."] if re.fullmatch(one.path, p)), "/a")}
    place = path.get(one.path_kind, one.path)
    for client in clients or [""]:
        asked_for = request(methods[0], one.host.replace("*", "b") or "c.test", place, fields, client)
        if all(router(Route(name="r", match=match)).match(asked_for) for match in (one, other)):
            return asked_for
    raise AssertionError(f"nothing that both take: {one} {other}")


def holds(condition: NameMatch, value: str) -> bool:
    if condition.kind is MatchKind.REGEX:
        return re.fullmatch(condition.value, value) is not None
    return condition.kind is MatchKind.PRESENT or condition.value == value


@given(ROUTES | ALIKE)
@settings(max_examples=60)
def test_only_the_order_decides_between_routes_that_are_told(routes: list[Route]) -> None:
    dead = {shadow.route for shadow in dead_routes(routes)}
    for shadow in ordered_routes(routes, dead):
        route, by = routes[shadow.route], routes[shadow.by]
        asked = both(route.match, by.match)
        assert router(by, route).match(asked) == by.name
        assert router(route, by).match(asked) == route.name
        assert shadow.by < shadow.route
        assert shadow.route not in dead


@given(ROUTES | ALIKE)
@settings(max_examples=60)
def test_every_such_route_is_found(routes: list[Route]) -> None:
    dead = {shadow.route for shadow in dead_routes(routes)}
    alive = [place for place in range(len(routes)) if place not in dead]
    made = {place: Conditions.of(routes[place].match) for place in alive}

    def rank(place: int) -> tuple[object, ...]:
        match = routes[place].match
        return spot_of(match), bool(match.methods), len(match.headers), len(match.query)

    expected = {
        place
        for place in alive
        for other in alive
        if other < place
        and rank(other) == rank(place)
        and overlaps(made[other], made[place])
        and not covers(made[place], made[other])
    }
    assert {shadow.route for shadow in ordered_routes(routes, dead)} == expected


# --- routes of connections ------------------------------------------------------------------------------------------

NAMES = ["a.test", "b.test", "*.test", "*.a.test"]
STREAMS = st.lists(
    st.builds(
        lambda sni, clients: StreamRoute(name="", sni=sni, clients=clients, service="s"), some(NAMES), some(NETWORKS)
    ),
    min_size=2,
    max_size=8,
)


@given(STREAMS)
@settings(max_examples=60)
def test_no_connection_goes_to_a_dead_route(routes: list[StreamRoute]) -> None:
    whole = StreamRouter([(route, place) for place, route in enumerate(routes)])
    asked = [
        (sni, client)
        for sni in (b"", b"a.test", b"b.test", b"x.test", b"x.a.test", b"test")
        for client in (b"", b"10.0.0.1", b"10.1.0.1", b"10.1.2.3", b"192.0.2.1", b"fd00::1")
    ]
    winners = {whole.match(*each) for each in asked}
    dead = {shadow.route for shadow in dead_streams(routes)}
    assert not winners & dead
    # What covers it takes what it would have at its first name.
    for shadow in dead_streams(routes):
        assert routes[shadow.by].sni == () or set(routes[shadow.by].sni) & set(routes[shadow.route].sni)


# --- many -----------------------------------------------------------------------------------------------------------

MANY = 3_000


def by_header(place: int) -> RouteMatch:
    return RouteMatch(headers=(NameMatch(name="x", value=str(place)),))


def by_client(place: int) -> RouteMatch:
    return RouteMatch(clients=(f"10.{place >> 8}.{place & 255}.0/24",))


def by_path(place: int) -> RouteMatch:
    return RouteMatch(path=f"/p{place}")


def by_both(place: int) -> RouteMatch:
    return RouteMatch(
        headers=(NameMatch(name="x", kind=MatchKind.PRESENT),), clients=(f"10.{place >> 8}.{place & 255}.0/24",)
    )


@pytest.mark.parametrize("shape", [by_header, by_client, by_path, by_both])
def test_many_routes_are_compared_with_few(shape: Callable[[int], RouteMatch]) -> None:
    matches = [shape(place) for place in range(MANY)]
    routes = routes_of([*matches, *matches[-3:]])
    started = time.process_time()
    assert [shadow.route for shadow in dead_routes(routes)] == [MANY, MANY + 1, MANY + 2]
    assert ordered_routes(routes, range(MANY, MANY + 3)) == []
    assert time.process_time() - started < 5.0  # a tenth of it where nobody else is; comparing all pairs takes a minute


def test_what_is_too_much_is_not_looked_at_for_ever() -> None:
    """Conditions of which none is rare: every route would have to be compared with every other."""
    matches = [
        RouteMatch(
            methods=("GET", f"M{place % 100}"),
            headers=(NameMatch(name="x", value=str(place % 100)), NameMatch(name="y", value=str(place // 100))),
        )
        for place in range(MANY)
    ]
    started = time.process_time()
    dead_routes(routes_of(matches))
    ordered_routes(routes_of(matches), ())
    assert time.process_time() - started < 10.0
