"""What is valid and probably not meant: each warning where it belongs, and none where it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from proxy.config.load import load_written, text_written
from proxy.config.problems import Severity
from proxy.config.warnings import findings, warnings_of

EXAMPLES = Path(__file__).parents[3] / "examples"

Warned = Callable[[str], list[str]]


@pytest.fixture
def warned() -> Warned:
    """Every warning of a text, as `line:col: key: message`."""

    def find(text: str) -> list[str]:
        written = text_written(dedent(text), "f", {})
        assert written.loaded.config is not None, [str(problem) for problem in written.loaded.problems]
        found = warnings_of(written)
        assert all(each.severity is Severity.WARNING and each.position for each in found)
        assert len(found) == len(findings(written.loaded.config))
        return [str(each).removeprefix("warning: f:") for each in found]

    return find


TWO = 'endpoints: [ { address: "10.0.0.1:1" }, { address: "10.0.0.2:1" } ]'


def routes(*lines: str, services: str = "") -> str:
    """A file whose first route stands in line 6."""
    listed = "".join(f"      - {line}\n" for line in lines)
    return f"""\
services:
  web: {{ {TWO}{services} }}
listeners:
  - name: l
    address: 127.0.0.1:1
    routes:
{listed}"""


def of_service(keys: str, top: str = "{}") -> str:
    return f"""\
services:
  web: {{ {TWO}, {keys} }}
listeners: [ {{ name: l, address: ":1", routes: [ {{ name: r, service: web }} ] }} ]
timeouts: {top}
"""


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_have_none(path: Path) -> None:
    if path.stem != "prometheus":
        assert [str(warning) for warning in warnings_of(load_written(path, {}))] == []


# --- routes ---------------------------------------------------------------------------------------------------------


def test_a_route_that_never_wins_is_told_with_the_one_that_does(warned: Warned) -> None:
    [warning] = warned(
        routes(
            "{ name: all, service: web }",
            "{ name: office, match: { clients: [ 10.0.0.0/8 ] }, service: web }",
        )
    )
    assert warning == (
        "8:25: listeners[0].routes[1].match: no request comes here: route 'all' in line 7 matches everything that this "
        "one does, ranks as high and stands first; put this one before it"
    )


def test_the_same_match_twice(warned: Warned) -> None:
    [warning] = warned(routes("{ name: a, service: web }", "{ name: b, service: web }"))
    assert warning.startswith(
        "8:9: listeners[0].routes[1]: no request comes here: route 'a' in line 7 has the same match"
    )


def test_a_pattern_that_takes_all_below_a_prefix(warned: Warned) -> None:
    [warning] = warned(
        routes(
            "{ name: items, match: { path_prefix: /api/items }, service: web }",
            '{ name: api, match: { path_regex: "/api/.*" }, service: web }',
        )
    )
    assert warning.startswith("7:24: listeners[0].routes[0].match: ")
    assert "the path_regex /api/.* of route 'api' in line 8" in warning


def test_routes_that_only_their_order_tells_apart(warned: Warned) -> None:
    [warning] = warned(
        routes(
            '{ name: beta, match: { headers: { x-beta: "1" } }, service: web }',
            '{ name: gold, match: { headers: { x-gold: "1" } }, service: web }',
            "{ name: rest, service: web }",
        )
    )
    assert warning.startswith("8:23: listeners[0].routes[1].match: matches some of the requests that route 'beta'")


def test_an_exception_before_the_rule_is_no_warning(warned: Warned) -> None:
    text = routes(
        "{ name: office, match: { clients: [ 10.1.0.0/16 ] }, service: web }",
        "{ name: inside, match: { clients: [ 10.0.0.0/8 ] }, service: web }",
        "{ name: post, match: { methods: [ POST ] }, service: web }",
        "{ name: all, service: web }",
    )
    assert warned(text) == []


def test_routes_of_connections(warned: Warned) -> None:
    found = warned(
        """\
        services: { db: { endpoints: [ { address: "10.0.0.1:1" } ] } }
        listeners:
          - name: l
            address: ":1"
            protocol: tcp
            service: db
            routes:
              - { name: inside, match: { clients: [ 10.0.0.0/8 ] }, service: db }
              - { name: part, match: { clients: [ 10.1.0.0/16 ] }, service: db }
              - { name: every, service: db }
        """
    )
    assert [line.split(": ")[:2] for line in found] == [
        ["6:14", "listeners[0].service"],
        ["9:23", "listeners[0].routes[1].match"],
    ]
    assert "no connection comes here: route 'every' in line 10" in found[0]
    assert found[0].endswith("; take one of them out")


def test_a_route_of_a_list_of_both_kinds_has_its_own_place(warned: Warned) -> None:
    """The effective configuration has routes of connections last."""
    [warning] = warned(
        """\
        services: { web: { endpoints: [ { address: "10.0.0.1:1" } ] } }
        listeners:
          - name: l
            address: ":1"
            protocol: auto
            service: web
            routes:
              - { name: tls, match: { sni: a.test }, service: web }
              - { name: a, service: web }
              - { name: b, service: web }
        """
    )
    assert warning.startswith("10:9: listeners[0].routes[2]: no request comes here: route 'a' in line 9")


def test_so_many_are_told_and_no_more(warned: Warned) -> None:
    found = warned(routes(*(f"{{ name: r{number}, service: web }}" for number in range(60))))
    assert len(found) == 51
    assert any(line.endswith("9 more routes never win") for line in found)


# --- services -------------------------------------------------------------------------------------------------------

LEADING = {
    "a route": "listeners: [ { name: l, address: ':1', routes: [ { name: r, service: web } ] } ]",
    "a share": "listeners: [ { name: l, address: ':1', routes: [ { name: r, split: [ { service: web } ] } ] } ]",
    "a mirror": """\
listeners: [ { name: l, address: ':1', routes: [ { name: r, service: first } ] } ]
services: { first: { endpoints: [ { address: '10.0.0.1:1' } ], mesh: { mirror: { service: web } } }, *web }""",
    "a domain": "listeners: [ { name: l, address: ':1' } ]",
    "a connection": "listeners: [ { name: l, address: ':1', protocol: tcp, service: web } ]",
    "DNS": "listeners: [ { name: l, address: ':1' } ]\ndns: { address: '127.0.0.1:53' }",
    "nobody, in a registry": "admin: {}",
}


@pytest.mark.parametrize("text", LEADING.values(), ids=LEADING.keys())
def test_a_service_that_something_leads_to(warned: Warned, text: str) -> None:
    domain = ", domain: web.test" if "routes" not in text else ""
    web = f"web: {{ endpoints: [ {{ address: '10.0.0.1:1' }} ]{domain} }}"
    text = text.replace("*web", web) if "*web" in text else f"{text}\nservices: {{ {web} }}"
    assert warned(text) == []


def test_a_service_that_nothing_leads_to(warned: Warned) -> None:
    found = warned(
        routes("{ name: r, split: [ { service: web }, { service: old, weight: 0 } ] }").replace(
            "listeners:", f"  old: {{ {TWO} }}\n  lost: {{ {TWO} }}\nlisteners:"
        )
    )
    assert [line.split(": ")[:2] for line in found] == [["3:3", "services.old"], ["4:3", "services.lost"]]
    assert "every share that leads here has the weight 0" in found[0]
    assert "nothing leads here" in found[1]


def test_a_service_that_nobody_answers_for(warned: Warned) -> None:
    text = "services: { web: {} }\nlisteners: [ { name: l, address: ':1', routes: [ { name: r, service: web } ] } ]\n"
    [warning] = warned(text)
    assert warning.startswith("1:13: services.web: no endpoints, and no directory of services is watched")
    assert warned(text + "registry: { directories: /etc/services }") == []
    assert warned(text + "registry: { store: 'sqlite:x.db' }") == []
    [warning] = warned(text.replace("{}", "{ endpoints: [ { address: '10.0.0.1:1', weight: 0 } ] }"))
    assert "every endpoint has the weight 0" in warning
    assert warned(text.replace("{}", "{ endpoints: [ { address: 'name.test:1' } ] }")) == []


def test_a_version_that_nobody_has(warned: Warned) -> None:
    text = """\
        services:
          web:
            endpoints: [ { address: "10.0.0.1:1", version: v1 } ]
            traffic_split: [ { version: v1 }, { version: v3 }, { version: v4, weight: 0 } ]
        listeners:
          - name: l
            address: ":1"
            routes:
              - { name: r, service: web, version: v2 }
              - { name: s, match: { path: /s }, split: [ { service: web, version: v5 }, { service: web } ] }
        """
    found = warned(text)
    assert [line.split(": ")[:2] for line in found] == [
        ["4:50", "services.web.traffic_split[1].version"],
        ["9:43", "listeners[0].routes[0].version"],
        ["10:75", "listeners[0].routes[1].split[0].version"],
    ]
    assert "has no endpoint of version v2 (there are version v1), so requests are answered 503" in found[1]
    assert "so its share goes to the others" in found[2]


def test_panic_with_one_endpoint(warned: Warned) -> None:
    keys = "load_balancing: { strategy: random, panic_threshold: 50% }"
    assert warned(of_service(keys)) == []
    [warning] = warned(of_service(keys).replace(', { address: "10.0.0.2:1" }', ""))
    assert "load_balancing.panic_threshold: there is one endpoint" in warning


# --- times ----------------------------------------------------------------------------------------------------------


def test_connecting_takes_all_the_time(warned: Warned) -> None:
    [warning] = warned(of_service("mesh: { timeout: 3s }"))
    assert warning.startswith("2:96: services.web.mesh.timeout: an endpoint that does not answer is waited for 5s")
    [warning] = warned(of_service("mesh: { timeout: 3s }", "{ connect: 4s }"))
    assert warning.startswith("4:22: timeouts.connect: ")
    assert warned(of_service("mesh: { timeout: 3s }", "{ connect: 1s }")) == []
    assert warned(of_service("mesh: { timeout: 3s, retry: { per_try_timeout: 1s } }")) == []
    # Nobody else could be tried.
    assert warned(of_service("mesh: { timeout: 3s }").replace(', { address: "10.0.0.2:1" }', "")) == []


def test_drain_is_shorter_than_a_request_may_take(warned: Warned) -> None:
    [warning] = warned(of_service("mesh: { timeout: 40s }"))
    assert "make timeouts.drain at least 40s" in warning
    assert warned(of_service("mesh: { timeout: 40s }", "{ drain: 40s }")) == []


def test_an_attempt_ends_earlier_than_it_says(warned: Warned) -> None:
    [warning] = warned(of_service("mesh: { retry: { per_try_timeout: 2m } }"))
    assert "per_try_timeout: 2m is never reached, because timeouts.response_header ends an attempt after 1m" in warning
    assert warned(of_service("mesh: { retry: { per_try_timeout: 2m } }", "{ response_header: 2m }")) == []


def test_an_attempt_of_the_service_takes_all_the_time_of_a_route(warned: Warned) -> None:
    policy = ", mesh: { retry: { per_try_timeout: 2s } }"
    [warning] = warned(routes("{ name: r, service: web, timeout: 2s }", services=policy))
    assert warning.startswith("7:43: listeners[0].routes[0].timeout: an attempt may take 2s")
    assert warned(routes("{ name: r, service: web, timeout: 4s }", services=policy)) == []


def test_retries_that_do_not_fit(warned: Warned) -> None:
    [warning] = warned(of_service("mesh: { timeout: 10s, retry: { max_retries: 5, per_try_timeout: 3s } }"))
    assert "max_retries: 5 retries of attempts that take 3s do not fit into 10s" in warning
    assert "3 of them can begin" in warning
    assert warned(of_service("mesh: { timeout: 10s, retry: { max_retries: 3, per_try_timeout: 3s } }")) == []


def test_a_pause_longer_than_the_request(warned: Warned) -> None:
    keys = "mesh: { timeout: 2s, retry: { backoff: 3s, per_try_timeout: 1s } }"
    [warning] = warned(of_service(keys))
    assert "retry.backoff: the pause before a retry may be up to 3s, and the whole request has 2s" in warning


def test_retries_of_what_is_not_idempotent(warned: Warned) -> None:
    line = "{ name: r, match: { methods: [ POST ] }, service: web, retry: { retry_on: 5xx } }"
    [warning] = warned(routes(line))
    assert "retry.retry_on: POST requests are sent again only while nothing of them has left" in warning
    assert warned(routes(line.replace("5xx", "connect-failure"))) == []
    assert warned(routes(line.replace("5xx", "5xx, idempotency_key: true"))) == []
    assert warned(routes(line.replace("POST", "POST, PUT"))) == []


# --- limits and access ----------------------------------------------------------------------------------------------


def test_limits_that_others_make_pointless(warned: Warned) -> None:
    found = warned(
        of_service("mesh: { max_concurrent: 50, circuit_breaker: { max_requests: 50, max_pending_requests: 50 } }")
    )
    assert [line.split(": ")[1].rsplit(".", 1)[-1] for line in found] == ["max_concurrent", "max_pending_requests"]
    assert warned(of_service("mesh: { max_concurrent: 49, circuit_breaker: { max_requests: 50 } }")) == []


def test_a_body_that_the_instance_refuses(warned: Warned) -> None:
    line = "{ name: r, service: web, filters: [ { max_body: 2MiB }, { response_headers: { remove: [ a ] } } ] }"
    [warning] = warned("limits: { body: 1MiB }\n" + routes(line))
    assert warning.startswith("8:57: listeners[0].routes[0].filters[0].max_body: a body of 2MiB never gets here")
    assert warned("limits: { body: 2MiB }\n" + routes(line)) == []


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("requests: 10, per: 1m", "10 per 1m is one every 6s"),
        ("requests: 10", "10 per 1s is one every 100ms"),
        ("requests: 1, per: 1m", ""),
        ("requests: 100", ""),
        ("requests: 10, per: 1m, burst: 5", ""),
    ],
)
def test_rates_that_are_tighter_than_they_look(warned: Warned, limit: str, told: str) -> None:
    found = warned(of_service(f"mesh: {{ rate_limit: {{ {limit} }} }}"))
    assert bool(found) == bool(told)
    assert all(told in line for line in found)


def test_networks_in_networks(warned: Warned) -> None:
    access = "access: { allow: [ 10.1.0.0/16, 10.0.0.0/8, 192.0.2.1 ], deny: [ 192.0.2.0/24, 10.6.6.0/24 ] }"
    found = warned(of_service(f"mesh: {{ {access} }}"))
    assert [line.split(": ")[1] for line in found] == [
        "services.web.mesh.access.allow[0]",
        "services.web.mesh.access.allow[2]",
    ]
    assert "10.1.0.0/16 changes nothing, because all of it is in 10.0.0.0/8" in found[0]
    assert "nobody of 192.0.2.1/32 passes, because all of it is in 192.0.2.0/24" in found[1]


def test_secrets_that_a_printed_configuration_has(warned: Warned) -> None:
    """Saved and loaded as it is, its stars would be the secret."""
    found = warned("secret: '****************'\nadmin: { address: 127.0.0.1:9, token: '***' }\n")
    assert [line.split(": ")[:2] for line in found] == [["1:9", "secret"], ["2:39", "admin.token"]]
    assert all("anybody can guess this" in line for line in found)
    assert warned("secret: 'a***************'\nadmin: { address: 127.0.0.1:9, token: 'a**' }\n") == []


def test_times_of_dns(warned: Warned) -> None:
    found = warned(
        """\
        dns: { address: "127.0.0.1:53", ttl: 500ms, forward: 10.0.0.1, forward_timeout: 5s }
        services:
          a: { endpoints: [ { address: "10.0.0.1:1" } ], dns: { ttl: 1h } }
          b: { endpoints: [ { address: "10.0.0.1:1" } ], dns: { ttl: 0 } }
        """
    )
    assert [line.split(": ")[1] for line in found] == ["dns.ttl", "dns.forward_timeout", "services.a.dns.ttl"]
    assert "500ms is 0 in an answer" in found[0]


@pytest.mark.parametrize(
    ("address", "is_told"),
    [(":53", True), ("[::]:53", True), ("8.8.4.4:53", True), ("10.0.0.1:53", False), ("127.0.0.1:53", False)],
)
def test_a_resolver_for_everybody(warned: Warned, address: str, is_told: bool) -> None:
    """Names of ours only, or so many answers to each network, is nobody's weapon."""
    dns = f"address: '{address}', forward: 10.0.0.9"
    found = warned(f"dns: {{ {dns} }}\n")
    assert [line.split(": ")[1] for line in found] == ["dns.address"] * is_told
    assert warned(f"dns: {{ {dns}, rate_limit: 100 }}\n") == []
    assert warned(f"dns: {{ address: '{address}' }}\n") == []


# --- all of them ----------------------------------------------------------------------------------------------------


def test_they_come_in_the_order_of_the_file_and_where_they_were_written(warned: Warned) -> None:
    found = warned(
        """\
        services:
          a: &a
            endpoints: [ { address: "10.0.0.1:1" } ]
            mesh: { timeout_ms: 60000 }
          b: *a
        """
    )
    [warning] = found
    assert warning.startswith("4:25: services.a.mesh.timeout_ms: when the program stops")
    assert "those of service a, service b may take up to 1m" in warning
