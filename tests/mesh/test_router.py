"""Routes are chosen by Gateway API's precedence, and explanations agree with what is chosen."""

from __future__ import annotations

import ipaddress
import re
import subprocess
import sys
from collections import Counter
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from discovery.model import MatchKind, NameMatch, PathKind, Position, Route, RouteMatch
from mesh.explanation import Explanation
from mesh.request import SampleRequest
from mesh.router import RouteError, Router

ROOT = Path(__file__).parents[2]

EXACT, PREFIX, REGEX = PathKind.EXACT, PathKind.PREFIX, PathKind.REGEX


def route(name: str, path: str = "/", kind: PathKind = PREFIX, **conditions: object) -> Route:
    return Route(name=name, match=RouteMatch(path=path, path_kind=kind, **conditions))


def header(name: str, value: str = "", kind: MatchKind = MatchKind.EXACT) -> NameMatch:
    return NameMatch(name=name, value=value, kind=kind)


def winner(routes: list[Route], **request: object) -> object:
    return Router([(each, each.name) for each in routes]).match(SampleRequest(**request))


# --- hosts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"shop.local", "exact"),
        (b"eu.shop.local", "long"),
        (b"a.eu.shop.local", "long"),
        (b"other.local", "short"),
        (b"local", "any"),
        (b"xshop.local", "short"),
        (b".local", "any"),
        (b"", "any"),
        (b"shop.local.evil.org", "any"),
    ],
)
def test_the_most_specific_host_takes_the_request(host: bytes, expected: str) -> None:
    routes = [
        route("any"),
        route("short", host="*.local"),
        route("long", host="*.shop.local"),
        route("exact", host="shop.local"),
    ]
    assert winner(routes, host=host) == expected


def test_a_specific_host_without_the_path_falls_through_to_less_specific_ones() -> None:
    routes = [
        route("any", "/any"),
        route("wildcard", "/wild", host="*.shop.local"),
        route("exact", "/exact", host="eu.shop.local"),
    ]
    for path, expected in ((b"/exact", "exact"), (b"/wild", "wildcard"), (b"/any", "any"), (b"/none", None)):
        assert winner(routes, host=b"eu.shop.local", path=path) == expected


def test_a_host_of_absurd_length_is_decided_like_any_other() -> None:
    routes = [route("any"), route("wildcard", host="*.shop.local")]
    assert winner(routes, host=b"a." * 30_000 + b"shop.local") == "wildcard"
    assert winner(routes, host=b"a." * 30_000 + b"local") == "any"


# --- paths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/abc", "prefix"),
        (b"/abc/", "prefix"),
        (b"/abc/d", "prefix"),
        (b"/abcd", "root"),
        (b"/", "root"),
        (b"/abc/def", "longer"),
        (b"/abc/def/ghi", "longer"),
        (b"/abc/defg", "prefix"),
        (b"*", "root"),  # OPTIONS for the server as a whole
        (b"", None),
    ],
)
def test_prefixes_match_whole_elements_and_the_longest_wins(path: bytes, expected: str | None) -> None:
    routes = [route("root"), route("prefix", "/abc"), route("longer", "/abc/def/")]
    assert winner(routes, path=path) == expected


def test_exact_beats_expression_beats_prefix() -> None:
    routes = [route("prefix", "/a/b/c"), route("pattern", "/a/.*", REGEX), route("exact", "/a/b/c", EXACT)]
    assert winner(routes, path=b"/a/b/c") == "exact"
    assert winner(routes, path=b"/a/b/c/d") == "pattern"
    assert winner(routes[:1], path=b"/a/b/c/d") == "prefix"


def test_the_longer_expression_wins_and_the_whole_path_must_match() -> None:
    routes = [route("short", "/a/[^/]*", REGEX), route("long", "/a/[0-9]{1,5}", REGEX)]
    assert winner(routes, path=b"/a/12") == "long"
    assert winner(routes, path=b"/a/twelve") == "short"
    assert winner(routes, path=b"/a/12/x") is None
    assert winner(routes, path=b"/x/a/12") is None


def test_expressions_of_equal_length_are_ordered_by_their_other_conditions() -> None:
    routes = [route("plain", "/a.c", REGEX), route("get", "/ab.", REGEX, methods=("GET",))]
    assert winner(routes, path=b"/abc") == "get"
    assert winner(routes, path=b"/abc", method=b"PUT") == "plain"


def test_a_very_long_path_costs_no_more_levels_than_the_routes_have() -> None:
    assert winner([route("root"), route("deep", "/a/a/a")], path=b"/a" * 100_000) == "deep"


def test_asterisk_is_matched_by_name_only() -> None:
    assert winner([route("root"), route("server", "*", EXACT)], path=b"*", method=b"OPTIONS") == "server"


# --- other conditions -----------------------------------------------------------------------------------------------


def test_method_comes_before_headers_and_headers_before_query() -> None:
    routes = [
        route("plain"),
        route("query", query=(header("q", "1"), header("r", "1"))),
        route("headers", headers=(header("x-a", "1"),)),
        route("more-headers", headers=(header("x-a", "1"), header("x-b", "1"))),
        route("method", methods=("GET", "PUT")),
    ]
    everything = {"query": b"q=1&r=1", "headers": [(b"x-a", b"1"), (b"x-b", b"1")]}
    assert winner(routes, **everything) == "method"
    assert winner(routes, method=b"POST", **everything) == "more-headers"
    assert winner(routes, method=b"POST", query=b"q=1&r=1", headers=[(b"x-a", b"1")]) == "headers"
    assert winner(routes, method=b"POST", query=b"q=1&r=1") == "query"
    assert winner(routes, method=b"POST", query=b"q=1") == "plain"


def test_list_order_decides_between_equals() -> None:
    assert winner([route("first"), route("second")]) == "first"
    routes = [route("a", headers=(header("x-a", "1"),)), route("b", headers=(header("x-b", "1"),))]
    assert winner(routes, headers=[(b"x-b", b"1"), (b"x-a", b"1")]) == "a"


def test_a_longer_prefix_that_fails_on_its_method_leaves_the_request_to_a_shorter_one() -> None:
    routes = [
        route("short", "/a"),
        route("long", "/a/b", methods=("PUT",)),
        route("exact", "/a/b", EXACT, methods=("POST",)),
    ]
    assert winner(routes, path=b"/a/b") == "short"
    assert winner(routes, path=b"/a/b", method=b"PUT") == "long"
    assert winner(routes, path=b"/a/b", method=b"POST") == "exact"


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        (header("X-Beta", "1"), b"1", True),
        (header("x-beta", "1"), b"11", False),
        (header("x-beta", "1"), None, False),
        (header("x-beta", ""), b"", True),
        (header("x-beta", kind=MatchKind.PRESENT), b"", True),
        (header("x-beta", kind=MatchKind.PRESENT), None, False),
        (header("x-beta", "v[0-9]+", MatchKind.REGEX), b"v10", True),
        (header("x-beta", "v[0-9]+", MatchKind.REGEX), b"xv10", False),
        (header("x-beta", "v[0-9]+", MatchKind.REGEX), b"v10\xff", False),
        (header("x-beta", "caf\u00e9", MatchKind.REGEX), "caf\u00e9".encode(), True),
    ],
)
def test_header_conditions(condition: NameMatch, value: bytes | None, holds: bool) -> None:
    fields = [] if value is None else [(b"X-Beta", value), (b"x-beta", b"a second one")]
    assert winner([route("r", headers=(condition,))], headers=fields) == ("r" if holds else None)


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        (b"q=a%20b", True),
        (b"%71=a%20b", True),
        (b"x=1&q=a%20b&q=c", True),
        (b"q=c&q=a%20b", False),
        (b"q=a+b", False),
        (b"Q=a%20b", False),
        (b"q", False),
        (b"", False),
    ],
)
def test_query_conditions_compare_the_first_decoded_value(query: bytes, holds: bool) -> None:
    assert winner([route("r", query=(header("q", "a b"),))], query=query) == ("r" if holds else None)


@pytest.mark.parametrize(
    ("client", "holds"),
    [
        (b"10.1.2.3", True),
        (b"::ffff:10.1.2.3", True),
        (b"11.1.2.3", False),
        (b"2001:db8::1", True),
        (b"2001:db9::1", False),
        (b"", False),
        (b"nonsense", False),
    ],
)
def test_client_conditions(client: bytes, holds: bool) -> None:
    assert winner([route("r", clients=("10.0.0.0/8", "2001:db8::/32"))], client=client) == ("r" if holds else None)


# --- many routes ----------------------------------------------------------------------------------------------------


def test_routes_that_differ_by_a_header_keep_their_precedence_among_others() -> None:
    tenants = [route(f"t{n}", headers=(header("x-tenant", f"t{n}"),)) for n in range(1000)]
    patterns = [route(f"p{n}", headers=(header("x-tenant", f"p{n}-.*", MatchKind.REGEX),)) for n in range(100)]
    routes = [
        route("plain"),
        *tenants,
        route("late-double", headers=(header("x-tenant", "t7"),)),
        *patterns,
        route("two", headers=(header("x-tenant", "t7"), header("x-beta", "1"))),
        route("put", methods=("PUT",)),
    ]
    assert winner(routes, headers=[(b"x-tenant", b"t999")]) == "t999"
    assert winner(routes, headers=[(b"x-tenant", b"t7")]) == "t7"
    assert winner(routes, headers=[(b"x-tenant", b"t7"), (b"x-beta", b"1")]) == "two"
    assert winner(routes, headers=[(b"x-tenant", b"t7"), (b"x-beta", b"1")], method=b"PUT") == "put"
    assert winner(routes, headers=[(b"x-tenant", b"p42-x")]) == "p42"
    assert winner(routes, headers=[(b"x-tenant", b"nobody")]) == "plain"


def test_hundreds_of_expressions_on_one_host() -> None:
    routes = [route(f"r{n}", f"/t{n}/[a-z]+", REGEX) for n in range(700)] + [route("rest")]
    assert winner(routes, path=b"/t699/abc") == "r699"
    assert winner(routes, path=b"/t7/abc") == "r7"
    assert winner(routes, path=b"/t700/abc") == "rest"


# --- routers as objects ---------------------------------------------------------------------------------------------


def test_no_routes_take_nothing() -> None:
    assert Router([]).match(SampleRequest()) is None
    assert Router([]).explain(SampleRequest()) == []


def test_the_payload_comes_back_as_the_same_object() -> None:
    payload = object()
    assert Router([(route("r"), payload)]).match(SampleRequest()) is payload


def test_a_router_decides_one_request_after_another_afresh() -> None:
    router = Router([(route("q", query=(header("q", "1"),)), "q"), (route("c", clients=("10.0.0.1",)), "c")])
    assert router.match(SampleRequest(query=b"q=1")) == "q"
    assert router.match(SampleRequest(query=b"q=2", client=b"10.0.0.1")) == "c"
    assert router.match(SampleRequest(query=b"q=2", client=b"10.0.0.2")) is None


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        (route("r", host="Shop.local"), "host"),
        (route("r", host="*"), "host"),
        (route("r", host="*.*.local"), "host"),
        (route("r", host="shop.*"), "host"),
        (route("r", host="*..local"), "host"),
        (route("r", "abc"), "path"),
        (route("r", "/a/../b"), "path"),
        (route("r", "/%61"), "path"),
        (route("r", "/a b"), "path"),
        (route("r", "/" + "a" * 1024), "path"),
        (route("r", "/(", REGEX), "path"),
        (route("r", r"/(a)\1", REGEX), "path"),
        (route("r", "a" * 1025, REGEX), "path"),
        (route("r", headers=(header("x-a", "(", MatchKind.REGEX),)), "headers.x-a"),
        (route("r", query=(header("q", "[", MatchKind.REGEX),)), "query.q"),
        (route("r", clients=("10.0.0.0/33",)), "clients"),
        (route("r", clients=("10.0.0.1/8",)), "clients"),
    ],
)
def test_a_wrong_route_is_refused_with_its_name_and_key(wrong: Route, key: str) -> None:
    with pytest.raises(RouteError) as caught:
        Router([(route("fine"), 1), (wrong, 2)])
    assert (caught.value.route, caught.value.key) == ("r", key)
    assert str(caught.value).startswith(f"route r: {key}: ")


def test_the_expression_engine_is_loaded_by_routes_that_need_it_only() -> None:
    program = """
import sys
from discovery.model import *
from mesh.request import SampleRequest
from mesh.router import Router
plain = Route(name="plain", match=RouteMatch(headers=(NameMatch(name="x", value="1"),), clients=("10.0.0.0/8",)))
Router([(plain, 1)]).match(SampleRequest())
assert "re2" not in sys.modules
Router([(Route(name="pattern", match=RouteMatch(path="/.*", path_kind=PathKind.REGEX)), 1)])
assert "re2" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=30)


# --- explanations ---------------------------------------------------------------------------------------------------


def test_an_explanation_says_of_every_route_why_it_lost() -> None:
    position = Position(file="mesh.yaml", line=7)
    routes = [
        route("default"),
        route("beta", headers=(header("x-beta", "1"),)),
        route("other-host", host="web.local"),
        route("other-path", "/api"),
        route("write", methods=("POST", "PUT")),
        route("paged", query=(header("page", "2"),)),
        route("inside", clients=("10.0.0.0/8",)),
        Route(name="fallback", position=position),
    ]
    router = Router([(each, each.name) for each in routes])
    verdicts = router.explain(SampleRequest(host=b"shop.local", headers=[(b"x-beta", b"2")], query=b"page=1"))
    assert [(each.route, each.reason) for each in verdicts] == [
        ("other-path", "path: / is not prefix /api"),
        ("write", "method: GET is not POST or PUT"),
        ("beta", "header x-beta: 2 != 1"),
        ("paged", "query page: 1 != 2"),
        ("default", ""),
        ("inside", "client: 127.0.0.1 is not in 10.0.0.0/8"),
        ("fallback", "outranked: default comes first"),
        ("other-host", "host: shop.local is not web.local"),
    ]
    assert [each.order for each in verdicts] == list(range(8))
    assert [each.route for each in verdicts if each.wins] == ["default"]
    assert verdicts[-2].position == position


def test_an_explanation_shows_bytes_of_the_client_escaped() -> None:
    router = Router([(route("r", headers=(header("x-a", "1"),)), 1)])
    (verdict,) = router.explain(SampleRequest(headers=[(b"x-a", b"\x1b[31m\xff")]))
    assert verdict.reason == r"header x-a: \x1b[31m\xff != 1"


# --- against an oracle ----------------------------------------------------------------------------------------------

HOSTS = ["", "a.x", "b.a.x", "*.x", "*.a.x", "x"]
PATHS = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab"]
PATTERNS = ["/a.*", "/a/.", "/./b", "/[ab]+", "/a/b(/.*)?"]
NAMES = ["p", "q"]
VALUES = ["1", "2", "12"]
VALUE_PATTERNS = ["1.*", "[12]", ".*2"]
NETWORKS = ["10.0.0.0/8", "10.1.0.0/16", "::1", "192.168.0.1"]

name_matches = st.one_of(
    st.builds(NameMatch, name=st.sampled_from(NAMES), value=st.sampled_from(VALUES)),
    st.builds(
        NameMatch, name=st.sampled_from(NAMES), kind=st.just(MatchKind.REGEX), value=st.sampled_from(VALUE_PATTERNS)
    ),
    st.builds(NameMatch, name=st.sampled_from(NAMES), kind=st.just(MatchKind.PRESENT)),
)
locations = st.one_of(
    st.tuples(st.sampled_from([EXACT, PREFIX, PREFIX]), st.sampled_from(PATHS)),
    st.tuples(st.just(REGEX), st.sampled_from(PATTERNS)),
)


@st.composite
def matches(draw: st.DrawFn) -> RouteMatch:
    kind, path = draw(locations)
    return RouteMatch(
        host=draw(st.sampled_from(HOSTS)),
        path_kind=kind,
        path=path,
        methods=draw(st.sampled_from([(), (), ("GET",), ("PUT", "POST")])),
        headers=tuple(draw(st.lists(name_matches, max_size=3))),
        query=tuple(draw(st.lists(name_matches, max_size=2))),
        clients=tuple(draw(st.lists(st.sampled_from(NETWORKS), max_size=2))),
    )


# Few hosts and paths, so that enough routes meet in one place for the look-ups by header value to be made.
crowded = st.builds(
    RouteMatch,
    path=st.sampled_from(["/", "/a"]),
    methods=st.sampled_from([(), ("GET",)]),
    headers=st.lists(name_matches, min_size=1, max_size=2).map(tuple),
    query=st.lists(name_matches, max_size=1).map(tuple),
)
route_lists = st.one_of(st.lists(matches(), max_size=25), st.lists(crowded, min_size=10, max_size=60))
fields = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=3)


@st.composite
def sample_requests(draw: st.DrawFn) -> SampleRequest:
    return SampleRequest(
        method=draw(st.sampled_from([b"GET", b"PUT"])),
        host=draw(st.sampled_from([b"a.x", b"b.a.x", b"c.b.a.x", b"x", b"y", b""])),
        path=draw(st.sampled_from([b"/", b"/a", b"/a/", b"/a/b", b"/a/b/", b"/a/b/c/d", b"/ab", b"/b/b", b"*"])),
        query="&".join(f"{name}={value}" for name, value in draw(fields)).encode(),
        headers=[(name.encode(), value.encode()) for name, value in draw(fields)],
        client=draw(st.sampled_from([b"10.1.2.3", b"10.2.2.3", b"::1", b"192.168.0.1", b""])),
    )


def oracle(routes: list[Route], request: SampleRequest) -> str | None:
    """All routes sorted by the precedence as it is stated, then the first that holds."""

    def precedence(match: RouteMatch) -> tuple[object, ...]:
        host_labels = match.host.count(".")
        host = 0 if match.host and "*" not in match.host else 1 if match.host else 2
        kind = [EXACT, REGEX, PREFIX].index(match.path_kind)
        length = len(match.path if match.path_kind is REGEX else match.path.rstrip("/"))
        return (host, -host_labels, kind, -length, 0 if match.methods else 1, -len(match.headers), -len(match.query))

    def named(condition: NameMatch, values: dict[str, str]) -> bool:
        if condition.name not in values:
            return False
        if condition.kind is MatchKind.PRESENT:
            return True
        if condition.kind is MatchKind.EXACT:
            return values[condition.name] == condition.value
        return re.fullmatch(condition.value, values[condition.name]) is not None

    def holds(match: RouteMatch) -> bool:
        host, path = request.host.decode(), request.path.decode()
        if match.host.startswith("*"):
            if not host.endswith(match.host[1:]):
                return False
        elif match.host not in ("", host):
            return False
        if match.path_kind is EXACT:
            found = path == match.path
        elif match.path_kind is REGEX:
            found = re.fullmatch(match.path, path) is not None
        else:
            # "*" asks about the server as a whole, which is what "/" routes.
            path = "/" if path == "*" else path
            found = (path + "/").startswith(match.path.rstrip("/") + "/")
        if not found or (match.methods and request.method.decode() not in match.methods):
            return False
        sent = {
            name: (request.header(name.encode()) or b"").decode() for name in NAMES if request.header(name.encode())
        }
        pairs = [part.split("=") for part in request.query.decode().split("&") if part]
        asked = dict(reversed([(name, value) for name, value in pairs]))
        if not all(named(each, sent) for each in match.headers) or not all(named(each, asked) for each in match.query):
            return False
        if not match.clients:
            return True
        networks = [ipaddress.ip_network(text) for text in match.clients]
        return bool(request.client) and any(ipaddress.ip_address(request.client.decode()) in each for each in networks)

    for each in sorted(routes, key=lambda each: precedence(each.match)):
        if holds(each.match):
            return each.name
    return None


@settings(max_examples=200, deadline=None)
@given(route_lists, st.lists(sample_requests(), min_size=1, max_size=8), st.integers(1, 12))
def test_match_and_explanation_and_oracle_agree(
    found: list[RouteMatch], requests: list[SampleRequest], most: int
) -> None:
    routes = [Route(name=str(index), match=match) for index, match in enumerate(found)]
    check(routes, Router([(each, each.name) for each in routes]), requests, most)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(matches(), max_size=12),
    st.lists(st.tuples(st.sampled_from(["a.x", "b.a.x", "x", "y"]), st.lists(matches(), max_size=4)), max_size=5),
    st.lists(sample_requests(), min_size=1, max_size=5),
    st.integers(1, 12),
)
def test_so_they_do_when_hosts_were_put(
    found: list[RouteMatch],
    puts: list[tuple[str, list[RouteMatch]]],
    requests: list[SampleRequest],
    most: int,
) -> None:
    names = count()
    routes = [Route(name=str(next(names)), match=match) for match in found]
    router = Router([(each, each.name) for each in routes])
    for host, of_host in puts:
        new = [Route(name=str(next(names)), match=replace(match, host=host)) for match in of_host]
        router.put_host(host, [(each, each.name) for each in new])
        routes = [each for each in routes if each.match.host != host] + new
        assert router.size == len(routes)
    check(routes, router, requests, most)


def check(routes: list[Route], router: Router, requests: list[SampleRequest], most: int) -> None:
    for request in requests:
        expected = oracle(routes, request)
        assert router.match(request) == expected
        verdicts = router.explain(request)
        assert [each.route for each in verdicts if each.wins] == ([] if expected is None else [expected])
        assert sorted(each.route for each in verdicts) == sorted(each.name for each in routes)
        assert [each.order for each in verdicts] == list(range(len(routes)))
        assert all(bool(each.reason) != each.wins for each in verdicts)
        some = Explanation(router, request, most)
        for _ in some.steps():
            pass
        assert len(some.verdicts) == min(most, len(routes))
        assert [each.route for each in some.verdicts if each.wins] == ([] if expected is None else [expected])
        assert set(some.verdicts) <= set(verdicts)
        assert some.winner is None or some.winner.payload == expected
        left = [each for each in verdicts if each not in some.verdicts]
        assert some.hidden == Counter(each.reason.partition(":")[0].partition(" ")[0] for each in left)


def test_what_is_listed_is_what_the_request_reaches_and_then_what_is_near() -> None:
    routes = [route(f"r{n}", f"/r/{n}", host="shop.local") for n in range(100)]
    routes += [route(f"h{n}", host=f"h{n}.local") for n in range(100)]
    routes += [
        route("near", "/r/420", host="shop.local"),
        route("shopp", host="shopp.local"),
        route("wild", host="*.x"),
    ]
    router = Router([(each, each.name) for each in routes])
    explanation = Explanation(router, SampleRequest(host=b"shop.local", path=b"/r/42"), 3)
    steps = sum(1 for _ in explanation.steps())
    assert steps >= 3
    assert [each.route for each in explanation.verdicts if each.wins] == ["r42"]
    assert {each.route for each in explanation.verdicts} >= {"r42", "near"}
    assert explanation.hidden == {"path": 98, "host": 102}
    nobody = Explanation(router, SampleRequest(host=b"shop.loca", path=b"/"), 1)
    for _ in nobody.steps():
        pass
    assert [(each.route, each.reason) for each in nobody.verdicts] == [("r0", "host: shop.loca is not shop.local")]
    assert nobody.hidden == {"host": 202}


def test_an_explanation_is_about_the_tables_that_it_began_with() -> None:
    router = Router([(route(f"r{n}", headers=(header("x-a", f"{n}"),)), n) for n in range(500)])
    router.put_host("a.x", [(route("own", host="a.x"), "own")])
    explanation = Explanation(router, SampleRequest(host=b"a.x"), 5)
    steps = explanation.steps()
    next(steps)
    router.put_host("a.x", [])
    for _ in steps:
        pass
    assert [each.route for each in explanation.verdicts if each.wins] == ["own"]
    assert [each.route for each in explanation.verdicts] == ["own", "r0", "r1", "r2", "r3"]
    assert explanation.hidden == {"header": 496}


def test_ten_thousand_routes_are_explained_in_short_steps() -> None:
    routes = [route(f"r{n}", f"/{n}", host=f"h{n}.local") for n in range(9000)]
    routes += [route(f"t{n}", headers=(header("x-tenant", f"{n}"),), host="h1.local") for n in range(1000)]
    router = Router([(each, each.name) for each in routes])
    explanation = Explanation(router, SampleRequest(host=b"h1.local", path=b"/1"), 1002)
    assert sum(1 for _ in explanation.steps()) > 150
    assert [each.route for each in explanation.verdicts if each.wins] == ["r1"]
    assert explanation.hidden == {"host": 8998}
