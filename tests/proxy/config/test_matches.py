"""What a route's match may say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from discovery.config import Config
from discovery.model import MatchKind, NameMatch, PathKind, RouteMatch

RouteProblems = Callable[[str], list[str]]


@pytest.fixture
def match(config: Callable[..., Config]) -> Callable[[str], RouteMatch]:
    def read(text: str) -> RouteMatch:
        route = f"{{ name: r, service: web, match: {text} }}"
        whole = f"listeners: [ {{ name: l, address: ':1', routes: [ {route} ] }} ]\nservices: {{ web: {{}} }}"
        return config(whole).snapshot.listeners[0].routes[0].match

    return read


def test_everything_at_once(match: Callable[[str], RouteMatch]) -> None:
    assert match(
        "{ host: '*.Shop.local', path: /a, methods: [GET, PURGE], clients: [10.0.0.0/8, '::1'],"
        " headers: { X-A: 1, x-b: { regex: 'a+' }, x-c: { present: true }, x-d: { exact: '' } }, query: { Q: é } }"
    ) == RouteMatch(
        host="*.shop.local",
        path_kind=PathKind.EXACT,
        path="/a",
        methods=("GET", "PURGE"),
        headers=(
            NameMatch(name="x-a", value="1"),
            NameMatch(name="x-b", kind=MatchKind.REGEX, value="a+"),
            NameMatch(name="x-c", kind=MatchKind.PRESENT),
            NameMatch(name="x-d"),
        ),
        query=(NameMatch(name="Q", value="é"),),
        clients=("10.0.0.0/8", "::1/128"),
    )


def test_an_empty_match_is_every_request(match: Callable[[str], RouteMatch]) -> None:
    assert match("{}") == RouteMatch(path_kind=PathKind.PREFIX, path="/")


def test_values_are_taken_as_written(match: Callable[[str], RouteMatch]) -> None:
    headers = match("{ headers: { a: 1.10, b: true, c: off, d: 010 } }").headers
    assert [header.value for header in headers] == ["1.10", "true", "off", "010"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("path: /a, path_regex: /b", ".path_regex: excludes 'path', which is given too, expected one of them"),
        ("path: a", ".path: 'a' is not a path, expected one that starts with / (no ?, no #; other than ASCII as %XX)"),
        (
            "path: /a?b",
            ".path: '/a?b' is not a path, expected one that starts with / (no ?, no #; other than ASCII as %XX)",
        ),
        (
            "path: /é",
            ".path: '/é' is not a path, expected one that starts with / (no ?, no #; other than ASCII as %XX)",
        ),
        ("path: /" + "a" * 1024, ".path: 1025 characters, expected at most 1024"),
        ("path: /a/../b", ".path: '/a/../b' matches no request, because paths are normalised first, expected '/b'"),
        (
            "path_prefix: /%41",
            ".path_prefix: '/%41' matches no request, because paths are normalised first, expected '/A'",
        ),
        (
            "path_regex: '('",
            ".path_regex: '(' is not a regular expression (RE2 syntax): missing ): (, expected RE2 syntax",
        ),
        (
            "path_regex: '(?=a)'",
            ".path_regex: '(?=a)' is not a regular expression (RE2 syntax): invalid perl operator: (?=",
        ),
        ("methods: [get]", ".methods[0]: 'get' is not a method (they are case-sensitive), did you mean 'GET'?"),
        ("methods: ['A B']", ".methods[0]: 'A B' is not a method, expected one such as GET"),
        ("methods: [GET, GET]", ".methods[1]: 'GET' is given twice, first as entry [0]"),
        ("methods: []", ".methods: 0 entries, expected at least 1"),
        ("methods: GET", ".methods: expected a list, got 'GET' (write [GET])"),
        ("headers: { 'a b': c }", ".headers.\"a b\": 'a b' is not a header name"),
        ("headers: { x-a: 1, X-A: 2 }", ".headers.X-A: 'X-A' is the same as 'x-a' in line 5"),
        (
            'headers: { x: "a\\nb" }',
            r".headers.x: 'a\nb' is not a header value, expected text without control characters",
        ),
        ("headers: { x: {} }", ".headers.x: empty, expected one of exact, regex and present"),
        ("headers: { x: { present: false } }", ".headers.x.present: absence cannot be matched, expected true"),
        ("headers: { x: { exact: a, present: true } }", ".headers.x.present: excludes 'exact', which is given too"),
        ("headers: { x: { regx: a } }", ".headers.x.regx: unknown key, did you mean 'regex'?"),
        ("headers: { x: [] }", ".headers.x: expected a header value, got a list"),
        ("clients: [10.0.0.1/8]", ".clients[0]: '10.0.0.1/8' is not a network, expected one such as 10.0.0.0/8"),
        (
            "host: shop.local:80",
            ".host: 'shop.local:80' is not a host name, expected one such as shop.local (without port)",
        ),
        ("hots: a", ".hots: unknown key, did you mean 'host'?"),
        ("host: ~", ".host: expected a host, got nothing"),
    ],
)
def test_what_a_match_may_not_say(route_problems: RouteProblems, text: str, problem: str) -> None:
    [found] = route_problems(f"service: web, match: {{ {text} }}")
    assert found.startswith(f"r.match{problem}")


def test_at_most_sixteen_conditions_of_a_kind(route_problems: RouteProblems) -> None:
    many = ", ".join(f"x{n}: a" for n in range(17))
    [headers, query] = route_problems(f"service: web, match: {{ headers: {{ {many} }}, query: {{ {many} }} }}")
    assert headers == "r.match.headers: 17 entries, expected at most 16"
    assert query == "r.match.query: 17 entries, expected at most 16"


def test_slashes_in_a_path_depend_on_merging(problems: Callable[..., list[str]], config: Callable[..., Config]) -> None:
    text = "listeners: [ { name: l, address: ':1', routes: [ { name: r, service: w, match: { path: /a//b } } ] } ]\n"
    text += "services: { w: {} }\n"
    assert "expected '/a/b'" in problems(text)[0]
    assert config(text + "merge_slashes: false").snapshot.listeners[0].routes[0].match.path == "/a//b"


def test_escapes_in_a_path_depend_on_the_policy(
    problems: Callable[..., list[str]], config: Callable[..., Config]
) -> None:
    text = "listeners: [ { name: l, address: ':1', routes: [ { name: r, service: w, match: { path: /a%2Fb } } ] } ]\n"
    text += "services: { w: {} }\n"
    assert "no request has the path '/a%2Fb'" in problems(text)[0]
    assert config(text + "path_escapes: keep").snapshot.listeners[0].routes[0].match.path == "/a%2Fb"
