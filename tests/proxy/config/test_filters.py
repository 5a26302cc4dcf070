"""What a route's filters may say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from discovery.config import Config
from discovery.model import DirectResponse, Filters, HeaderEdit, Redirect, UrlRewrite

RouteProblems = Callable[[str], list[str]]


@pytest.fixture
def filters(config: Callable[..., Config]) -> Callable[[str], Filters]:
    def read(text: str) -> Filters:
        whole = (
            f"listeners: [ {{ name: l, address: ':1', routes: [ {{ name: r, {text} }} ] }} ]\nservices: {{ web: {{}} }}"
        )
        return config(whole).snapshot.listeners[0].routes[0].filters

    return read


def test_changes_of_a_forwarded_request(filters: Callable[[str], Filters]) -> None:
    assert filters(
        "service: web, filters: [ { request_headers: { set: { X-A: b }, add: { x-c: 1 }, remove: [ x-d ] } },"
        " { response_headers: { remove: [ server ] } }, { url_rewrite: { host: B.local, path_prefix: /b } } ]"
    ) == Filters(
        request_headers=HeaderEdit(set={"X-A": "b"}, add={"x-c": "1"}, remove=("x-d",)),
        response_headers=HeaderEdit(remove=("server",)),
        url_rewrite=UrlRewrite(host="b.local", path_prefix="/b"),
    )


def test_a_redirect(filters: Callable[[str], Filters]) -> None:
    assert filters(
        "filters: [ { redirect: { scheme: https, host: a.b, port: 8443, path: /x, status: 308 } } ]"
    ) == Filters(redirect=Redirect(scheme="https", host="a.b", port=8443, path="/x", status=308))


def test_a_direct_response(filters: Callable[[str], Filters]) -> None:
    assert filters('filters: [ { direct_response: { status: 503, body: "é\\n", headers: { x: y } } } ]') == Filters(
        direct_response=DirectResponse(status=503, body="é\n", headers={"x": "y"})
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("request_headers: {}", ".request_headers: empty, expected set, add or remove"),
        ("request_headers: { set: { Connection: x } }", ".request_headers.set.Connection: 'Connection' belongs to"),
        ("response_headers: { remove: [Content-Length] }", ".response_headers.remove[0]: 'Content-Length' belongs to"),
        (
            "request_headers: { set: { Host: x } }",
            ".request_headers.set.Host: 'Host' is not changed here, expected url_",
        ),
        (
            'request_headers: { set: { x: "a\\r\\nb: c" } }',
            r".request_headers.set.x: 'a\r\nb: c' is not a header value",
        ),
        ('request_headers: { set: { x: "a\\0" } }', r".request_headers.set.x: 'a\x00' is not a header value"),
        ("request_headers: { add: { x: ' a' } }", ".request_headers.add.x: ' a' is not a header value"),
        ("url_rewrite: {}", ".url_rewrite: empty, expected host, path or path_prefix"),
        ("url_rewrite: { path: /a, path_prefix: /b }", ".url_rewrite.path_prefix: excludes 'path', which is given too"),
        ("url_rewrite: { host: '*.a' }", ".url_rewrite.host: '*.a' is not a host name"),
        ("url_rewrit: { path: /a }", ".url_rewrit: unknown key, did you mean 'url_rewrite'?"),
    ],
)
def test_what_a_filter_may_not_say(route_problems: RouteProblems, text: str, problem: str) -> None:
    [found] = route_problems(f"service: web, filters: [ {{ {text} }} ]")
    assert found.startswith(f"r.filters[0]{problem}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("redirect: {}", ".redirect: leads to the same URL again, expected scheme, host, port, path or path_prefix"),
        ("redirect: { status: 301 }", ".redirect: leads to the same URL again"),
        (
            "redirect: { path: /a, status: 304 }",
            ".redirect.status: '304' is not possible here, expected a status code: 301",
        ),
        ("redirect: { scheme: ftp }", ".redirect.scheme: 'ftp' is not known, expected http or https"),
        ("redirect: { port: 0 }", ".redirect.port: 0 is out of range, expected a whole number from 1 to 65535"),
        (
            "direct_response: { status: 101 }",
            ".direct_response.status: '101' is not possible here, expected a status code",
        ),
        ("direct_response: { status: 600 }", ".direct_response.status: '600' is not possible here"),
        (
            "direct_response: { status: 204, body: x }",
            ".direct_response.body: a 204 response has no body, expected none",
        ),
        ("direct_response: { headers: { te: x } }", ".direct_response.headers.te: 'te' belongs to the connection"),
    ],
)
def test_what_an_answer_may_not_say(route_problems: RouteProblems, text: str, problem: str) -> None:
    [found] = route_problems(f"filters: [ {{ {text} }} ]")
    assert found.startswith(f"r.filters[0]{problem}")


def test_a_filter_of_a_kind_is_given_once(route_problems: RouteProblems) -> None:
    one = "{ request_headers: { remove: [ x ] } }"
    assert route_problems(f"service: web, filters: [ {one}, {one} ]") == [
        "r.filters[1]: a second 'request_headers', expected at most one of a kind"
    ]


def test_an_entry_is_one_filter(route_problems: RouteProblems) -> None:
    both = "{ url_rewrite: { path: /a }, request_headers: { remove: [ x ] } }"
    assert route_problems(f"service: web, filters: [ {both} ]") == [
        "r.filters[0]: 2 keys, expected one filter per entry"
    ]


def test_at_most_sixteen_filters(route_problems: RouteProblems) -> None:
    many = ", ".join(["{ url_rewrite: { path: /a } }"] * 17)
    assert route_problems(f"service: web, filters: [ {many} ]") == ["r.filters: 17 entries, expected at most 16"]
