"""How the keys of a route go together."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from discovery.config import Config
from discovery.model import TrafficSplit

RouteProblems = Callable[[str], list[str]]

REDIRECT = "{ redirect: { path: /b } }"
RESPONSE = "{ direct_response: {} }"
REWRITE = "{ url_rewrite: { path: /c } }"
PREFIX = "{ url_rewrite: { path_prefix: /c } }"
SPLIT = "split: [ { service: web } ]"


def test_a_split_with_versions_and_weights(config: Callable[..., Config]) -> None:
    route = (
        config(
            """\
        listeners:
          - name: l
            address: :1
            routes:
              - name: r
                split: [ { service: web, version: 2 }, { service: web, version: v1, weight: 0 } ]
                timeout_ms: 1500
        services: { web: {} }
        """
        )
        .snapshot.listeners[0]
        .routes[0]
    )

    assert route.split == (
        TrafficSplit(service="web", version="2"),
        TrafficSplit(service="web", version="v1", weight=0),
    )
    assert route.timeout == 1.5


@pytest.mark.parametrize("text", ["service: web", SPLIT, f"filters: [{REDIRECT}]", f"filters: [{RESPONSE}]"])
def test_one_thing_decides(route_problems: RouteProblems, text: str) -> None:
    assert route_problems(text) == []


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("", "none of them"),
        ("match: {}", "none of them"),
        (f"filters: [{REWRITE}]", "none of them"),
        (f"service: web, {SPLIT}", "both service and split"),
        (f"service: web, filters: [{REDIRECT}]", "both service and redirect"),
        (f"{SPLIT}, filters: [{RESPONSE}]", "both split and direct_response"),
        (f"filters: [{REDIRECT}, {RESPONSE}]", "both redirect and direct_response"),
    ],
)
def test_none_or_two_things_cannot_decide(route_problems: RouteProblems, text: str, got: str) -> None:
    assert route_problems(text) == [f"r: expected one of service, split, redirect and direct_response, got {got}"]


@pytest.mark.parametrize(
    "filters", ["[{ redirect: { status: 7, path: /x } }]", "[{ direct_response: { sttus: 200 } }]", "5"]
)
def test_a_mistake_in_what_decides_is_one_problem(route_problems: RouteProblems, filters: str) -> None:
    assert len(route_problems(f"filters: {filters}")) == 1


def test_rewrite_and_redirect_exclude_each_other(route_problems: RouteProblems) -> None:
    assert route_problems(f"filters: [{REDIRECT}, {REWRITE}]") == [
        "r.filters: url_rewrite and redirect exclude each other, expected one of them"
    ]


def test_a_direct_response_forwards_nothing_to_rewrite(route_problems: RouteProblems) -> None:
    [problem] = route_problems(f"filters: [{RESPONSE}, {REWRITE}]")
    assert problem == "r.filters: url_rewrite changes what is forwarded, and direct_response forwards nothing"


@pytest.mark.parametrize("match", ["path: /a", "path_regex: /a"])
def test_a_prefix_is_replaced_where_a_prefix_matched(route_problems: RouteProblems, match: str) -> None:
    [problem] = route_problems(f"service: web, match: {{ {match} }}, filters: [{PREFIX}]")
    key = match.split(":")[0]
    assert problem == (
        f"r.filters: url_rewrite.path_prefix replaces a matched prefix, expected match.path_prefix, got match.{key}"
    )
    assert route_problems(f"service: web, match: {{ path_prefix: /a }}, filters: [{PREFIX}]") == []
    assert route_problems(f"service: web, filters: [{PREFIX}]") == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"{SPLIT}, version: v1", "r.version: pins the version of 'service', which is not given"),
        ("split: []", "r.split: 0 entries, expected at least 1"),
        ("split: [{ service: web, weight: 0 }]", "r.split: every weight is 0, expected one that is not"),
        ("split: [{ weight: 1 }]", "r.split[0].service: missing, expected the name of a service"),
        (
            "split: [{ service: web }, { service: web }]",
            "r.split[1].service: 'web' is already the target of entry [0] in line 5",
        ),
        ("split: [{ service: wbe }]", "r.split[0].service: there is no service 'wbe', did you mean 'web'?"),
        ("service: web, timeout: -1s", "r.timeout: '-1s' is not a duration, expected one such as 5s, 250ms or 1m30s"),
        (
            "service: web, timeout_ms: 5s",
            "r.timeout_ms: '5s' is not a whole number, expected a whole number from 0 to 3",
        ),
        ("service: web, timeout: 1s, timeout_ms: 5", "r.timeout_ms: says the same as 'timeout', expected one of them"),
        ("service: web, timeout: 1s, timeout: 1s", "r.timeout: duplicate key, first given in line 5"),
        ("service: web, retyr: {}", "r.retyr: unknown key, did you mean 'retry'?"),
        (
            "service: web, timeout: 1s, retry: { per_try_timeout: 1s }",
            "r.retry: per_try_timeout 1s leaves no time for a retry, expected less than the timeout of the request, 1s",
        ),
        ("service: web, sticky_split: { cookie: a }", "r.sticky_split: is about the route's split, which is not given"),
        (
            "filters: [ { redirect: { port: 1 } } ], retry: {}",
            "r.retry: means nothing, because redirect asks no endpoint, expected no such key",
        ),
        (
            "filters: [ { redirect: { port: 1 } }, { mirror: { service: web } } ]",
            "r.filters: mirror copies what is forwarded, and redirect forwards nothing",
        ),
        (
            "service: web, filters: [ { mirror: { service: web } } ]",
            "r.filters: 'web' would get its own requests twice, expected another service or version",
        ),
        (
            "service: web, filters: [ { mirror: { service: wbe } } ]",
            "r.filters[0].mirror.service: there is no service 'wbe', did you mean 'web'?",
        ),
        ("service: web, filters: [ { max_body: 1 }, { max_body: 2 } ]", "r.filters[1]: a second 'max_body', expected"),
        ("service: [web]", "r.service: expected the name of a service, got a list"),
    ],
)
def test_what_a_route_may_not_say(route_problems: RouteProblems, text: str, problem: str) -> None:
    [found] = route_problems(text)
    assert found.startswith(problem)


def test_at_most_sixteen_shares(route_problems: RouteProblems) -> None:
    many = ", ".join(f"{{ service: web, version: v{n} }}" for n in range(17))
    assert route_problems(f"split: [{many}]") == ["r.split: 17 entries, expected at most 16"]


def test_names_are_unique_within_a_listener(problems: Callable[..., list[str]]) -> None:
    text = """\
        listeners:
          - { name: a, address: ":1", routes: [ { name: r, service: web }, { name: r, service: web } ] }
          - { name: b, address: ":2", routes: [ { name: r, service: web } ] }
        services: { web: {} }
        """
    assert problems(text) == ["2:76: listeners[0].routes[1].name: 'r' is already the name of entry [0] in line 2"]


def test_a_route_needs_a_name(problems: Callable[..., list[str]]) -> None:
    text = "listeners: [ { name: a, address: ':1', routes: [ { service: web } ] } ]\nservices: { web: {} }"
    assert problems(text) == ["1:50: listeners[0].routes[0].name: missing, expected a name"]
