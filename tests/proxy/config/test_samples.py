"""How the tests block writes requests and expectations."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from discovery.config import Config, RequestSample

BASE = "listeners: [ { name: web, address: ':1' } ]\nservices: { web: {} }\n"


@pytest.fixture
def request_of(config: Callable[..., Config]) -> Callable[[str], RequestSample]:
    def read(text: str) -> RequestSample:
        return config(f"{BASE}tests: [ {{ request: {text}, expect: {{ status: 404 }} }} ]").tests[0].request

    return read


@pytest.mark.parametrize(
    ("text", "sample"),
    [
        ("GET /", RequestSample(target="/")),
        (
            "'POST http://Shop.local:8080/a/b?c=d&e'",
            RequestSample(method="POST", host="shop.local", target="/a/b?c=d&e"),
        ),
        ("'GET https://shop.local'", RequestSample(host="shop.local", target="/")),
        ("'GET http://shop.local?a'", RequestSample(host="shop.local", target="/?a")),
        ("'GET http://[::1]:80/?'", RequestSample(host="[::1]", target="/?")),
        ("'GET http://[0::1]/'", RequestSample(host="[::1]", target="/")),
        ("'OPTIONS *'", RequestSample(method="OPTIONS", target="*")),
        (
            "{ method: PUT, url: 'http://a/b', headers: { X-A: 1 }, client: '::1', listener: web }",
            RequestSample(method="PUT", host="a", target="/b", headers={"X-A": "1"}, client="::1", listener="web"),
        ),
    ],
)
def test_requests(request_of: Callable[[str], RequestSample], text: str, sample: RequestSample) -> None:
    assert request_of(text) == sample


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("request: GET, expect: { status: 1 }", ".expect.status: 1 is out of range"),
        ("request: GET, expect: { route: a }", ".request: 'GET' is not a request, expected a request such as GET http"),
        (
            "request: get /, expect: { route: a }",
            ".request: 'get' is not a method (they are case-sensitive), did you mean",
        ),
        ("request: GET a, expect: { route: a }", ".request: 'a' is not a URL: "),
        ("request: 'GET ftp://a/', expect: { route: a }", ".request: 'ftp://a/' is not a URL: "),
        ("request: 'GET http://a/#b', expect: { route: a }", ".request: 'http://a/#b' is not a URL: "),
        ("request: 'GET http://u@a/', expect: { route: a }", ".request: 'http://u@a/' is not a URL: "),
        ("request: 'GET http://a:b/', expect: { route: a }", ".request: 'b' is not a port, expected a number"),
        ("request: 'GET http://a_!/', expect: { route: a }", ".request: 'a_!' is not a host name"),
        ("request: 'GET *', expect: { route: a }", ".request: '*' is not a URL: "),
        ("request: 'GET /é', expect: { route: a }", ".request: '/é' is not a URL, expected ASCII (the rest as %XX)"),
        ("request: {}, expect: { route: a }", ".request.url: missing, expected a URL or a path"),
        ("request: { url: x }, expect: { route: a }", ".request.url: 'x' is not a URL: "),
        (
            "request: { url: /, headers: { Host: a } }, expect: { route: a }",
            ".request.headers.Host: the host comes from",
        ),
        ("request: { url: /, client: me }, expect: { route: a }", ".request.client: 'me' is not an IP address"),
        (
            "request: { url: /, listener: wbe }, expect: { route: a }",
            ".request.listener: there is no listener 'wbe', did",
        ),
        ("request: GET /", ".expect: missing, expected expectations"),
        ("request: GET /, expect: {}", ".expect: empty, expected route, service, version or status"),
        ("request: GET /, expect: { service: other }", ".expect.service: there is no service 'other', expected web"),
        ("expect: { route: a }", ".request: missing, expected a request"),
        ("request: GET /, expect: { rout: a }", ".expect.rout: unknown key, did you mean 'route'?"),
    ],
)
def test_what_a_test_may_not_say(problems: Callable[..., list[str]], text: str, problem: str) -> None:
    found = problems(f"{BASE}tests: [ {{ {text} }} ]")
    assert any(line.split(": ", 1)[1].startswith(f"tests[0]{problem}") for line in found), found
