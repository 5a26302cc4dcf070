"""What requests have to pass, as `mesh` of a service and the filters of a route say it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from discovery.config import Config
from discovery.policies import Abort, Access, Delay, Fault, KeyKind, Mirror, RateLimit, RequestKey, RequestPolicies

Read = Callable[..., Config]
Problems = Callable[..., list[str]]

EVERYTHING = {
    "access": "{ allow: [ 10.0.0.0/8 ], deny: [ 10.6.6.6 ] }",
    "max_body": "1KiB",
    "rate_limit": "{ requests: 100, per: 1m, burst: 20, key: 'header:X-Key' }",
    "max_concurrent": "5",
    "fault": "{ delay: { duration: 100ms, percent: 1% }, abort: { status: 599, percent: 0 },"
    " until: 2027-01-01T01:00:00+01:00 }",
    "mirror": "{ service: shadow, version: v2, percent: 5%, max_body: 1MiB }",
}
READ = RequestPolicies(
    access=Access(allow=("10.0.0.0/8",), deny=("10.6.6.6/32",)),
    max_body=1024,
    rate_limit=RateLimit(requests=100, per=60.0, burst=20, key=RequestKey(kind=KeyKind.HEADER, name="x-key")),
    max_concurrent=5,
    fault=Fault(
        delay=Delay(duration=0.1, percent=1.0),
        abort=Abort(status=599, percent=0.0),
        until=1_798_761_600.0,
    ),
    mirror=Mirror(service="shadow", version="v2", percent=5.0, max_body=1 << 20),
)


def test_a_service_and_a_route_say_the_same(config: Read) -> None:
    mesh = ", ".join(f"{key}: {value}" for key, value in EVERYTHING.items())
    filters = ", ".join(f"{{ {key}: {value} }}" for key, value in reversed(EVERYTHING.items()))
    snapshot = config(
        f"listeners: [ {{ name: l, address: ':1', routes: [ {{ name: r, service: web, filters: [{filters}] }} ] }} ]\n"
        f"services: {{ web: {{ mesh: {{ {mesh} }} }}, shadow: {{}} }}"
    ).snapshot
    assert snapshot.services[0].policies == READ
    assert snapshot.listeners[0].routes[0].filters.policies == READ


def test_what_is_left_out_is_off_or_as_usual(config: Read) -> None:
    text = "rate_limit: { requests: 5 }, fault: { abort: {} }, mirror: { service: shadow }"
    read = config(f"services: {{ web: {{ mesh: {{ {text} }} }}, shadow: {{}} }}").snapshot.services[0].policies
    assert read == RequestPolicies(
        rate_limit=RateLimit(requests=5), fault=Fault(abort=Abort()), mirror=Mirror(service="shadow")
    )


@pytest.mark.parametrize("key", ["client_ip", "header:x", "cookie:x", "query:x", "route"])
def test_what_has_a_limit_of_its_own(config: Read, key: str) -> None:
    read = config(f"services: {{ web: {{ mesh: {{ rate_limit: {{ requests: 1, key: '{key}' }} }} }} }}")
    limit = read.snapshot.services[0].policies.rate_limit
    assert limit is not None
    kind, _, name = key.partition(":")
    assert limit.key == RequestKey(kind=KeyKind(kind), name=name)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("access: {}", "access: empty, expected allow or deny"),
        ("access: { allow: [] }", "access.allow: 0 entries, expected at least 1"),
        ("access: { allow: [ 10.0.0.1/8 ] }", "access.allow[0]: '10.0.0.1/8' is not a network"),
        ("access: { allow: [ 10.0.0.0/8 ], deny: [ 10.0.0.0/8 ] }", "access.deny: '10.0.0.0/8' is allowed and denied"),
        ("max_body: -1", "max_body: '-1' is not a size"),
        ("rate_limit: {}", "rate_limit.requests: missing, expected a whole number from 1"),
        ("rate_limit: { requests: 0 }", "rate_limit.requests: 0 is out of range"),
        ("rate_limit: { requests: 1, per: 0 }", "rate_limit.per: '0' is no time at all"),
        ("rate_limit: { requests: 1, per: 200h }", "rate_limit.per: '200h' is too long, expected at most 168h"),
        ("rate_limit: { requests: 1, key: user }", "rate_limit.key: 'user' is no part of a request, expected client_i"),
        ("rate_limit: { requests: 1, key: 'route:a' }", "rate_limit.key: 'route:a' is no part of a request"),
        ("max_concurrent: many", "max_concurrent: 'many' is not a whole number"),
        ("fault: {}", "fault: no trouble at all, expected delay or abort"),
        ("fault: { abort: { status: 199 } }", "fault.abort.status: 199 is out of range, expected a whole number fro"),
        ("fault: { abort: { percent: 101% } }", "fault.abort.percent: 101% is out of range"),
        ("fault: { delay: { percent: 1% } }", "fault.delay.duration: missing, expected a duration"),
        ("fault: { delay: { duration: 2h } }", "fault.delay.duration: '2h' is too long, expected at most 1h"),
        ("fault: { abort: {}, until: 2027-01-01 }", "fault.until: '2027-01-01' is not a time, expected one such as"),
        ("fault: { abort: {}, until: '2027-02-30T00:00:00Z' }", "fault.until: '2027-02-30T00:00:00Z' is not a time"),
        ("fault: { abort: {}, until: '1960-01-01T00:00:00Z' }", "fault.until: '1960-01-01T00:00:00Z' is not a time"),
        ("fault: { abort: {}, until: '2027-01-01T00:00:00' }", "fault.until: '2027-01-01T00:00:00' is not a time"),
        ("mirror: {}", "mirror.service: missing, expected the name of a service"),
        ("mirror: { service: wbe }", "mirror.service: there is no service 'wbe', did you mean 'web'?"),
        ("mirror: { service: web }", "mirror.service: 'web' would get its own requests twice, expected another"),
        ("mirror: { service: shadow, max_body: 1GiB }", "mirror.max_body: '1GiB' is out of range, expected 0 to 16MiB"),
    ],
)
def test_what_they_may_not_say(problems: Problems, text: str, problem: str) -> None:
    [found] = problems(f"services: {{ web: {{ mesh: {{ {text} }} }}, shadow: {{}} }}")
    assert found.split(": services.web.mesh.", 1)[1].startswith(problem)


def test_a_version_of_the_same_service_may_get_a_copy(problems: Problems) -> None:
    assert problems("services: { web: { mesh: { mirror: { service: web, version: v2 } } } }") == []


@pytest.mark.parametrize("key", ["timeout", "retry", "circuit_breaker", "rate_limit", "mirror", "access"])
def test_what_belongs_into_mesh_is_told_so(problems: Problems, key: str) -> None:
    [found] = problems(f"services: {{ web: {{ {key}: {{}} }} }}")
    assert found.endswith(f"services.web.{key}: unknown key, did you mean 'mesh.{key}'?")
