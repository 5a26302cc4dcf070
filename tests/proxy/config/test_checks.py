"""Health checks: the keys of each protocol, and checks of single endpoints."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from discovery.checks import CheckProtocol, HealthCheck
from discovery.config import Config
from proxy.config.checks import KEYS, show_check


@pytest.fixture
def check(config: Callable[..., Config]) -> Callable[[str], HealthCheck]:
    def read(text: str) -> HealthCheck:
        found = config(f"services: {{ web: {{ health_check: {{ {text} }} }} }}").snapshot.services[0].health_check
        assert found is not None
        return found

    return read


@pytest.fixture
def check_problems(problems: Callable[..., list[str]]) -> Callable[[str], list[str]]:
    def find(text: str) -> list[str]:
        lines = problems(f"services: {{ web: {{ health_check: {{ {text} }} }} }}")
        return [line.split(": services.web.health_check", 1)[1] for line in lines]

    return find


@pytest.fixture
def own_check(config: Callable[..., Config]) -> Callable[[str, str], HealthCheck | None]:
    def read(service: str, endpoint: str) -> HealthCheck | None:
        own = f"endpoints: [ {{ address: '[::1]:1', health_check: {{ {endpoint} }} }} ]"
        return config(f"services: {{ web: {{ {own}, {service} }} }}").snapshot.services[0].endpoints[0].health_check

    return read


def test_the_defaults_are_those_of_the_table(check: Callable[[str], HealthCheck]) -> None:
    read = check("")
    assert (read.protocol, read.path, read.interval, read.timeout) == (CheckProtocol.TCP, "/health", 30.0, 5.0)
    assert (read.healthy_threshold, read.unhealthy_threshold) == (2, 3)
    assert check("protocol: http").expected_status == ((200, 299),)


def test_a_service_without_a_check_has_none(config: Callable[..., Config]) -> None:
    assert config("services: { web: {} }").snapshot.services[0].health_check is None


def test_everything_about_an_https_check(check: Callable[[str], HealthCheck]) -> None:
    text = (
        "protocol: HTTPS, path: '/up?full=1', interval_secs: 10, timeout_ms: 500, healthy_threshold: 1,"
        " unhealthy_threshold: 5, transition_interval: 1s, address: '::1', port: 9, method: HEAD, host: Web.local,"
        " headers: { X-Probe: a }, expected_status: [ 200, 3xx, 401-403 ], expected_body: ok,"
        " verify: false, ca_file: ca.pem"
    )
    assert check(text) == HealthCheck(
        protocol=CheckProtocol.HTTPS,
        path="/up?full=1",
        interval=10.0,
        timeout=0.5,
        healthy_threshold=1,
        unhealthy_threshold=5,
        transition_interval=1.0,
        address="::1",
        port=9,
        method="HEAD",
        host="web.local",
        headers={"X-Probe": "a"},
        expected_status=((200, 200), (300, 399), (401, 403)),
        expected_body="ok",
        verify=False,
        ca_file="ca.pem",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("protocol: TCP", HealthCheck()),
        (
            "protocol: HTTP, expected_status: 204",
            HealthCheck(protocol=CheckProtocol.HTTP, expected_status=((204, 204),)),
        ),
        ("protocol: Command, command: [ a, '' ]", HealthCheck(protocol=CheckProtocol.COMMAND, command=("a", ""))),
        ("protocol: gRPC, tls: true, ca_file: a", HealthCheck(protocol=CheckProtocol.GRPC, tls=True, ca_file="a")),
        ("protocol: ttl, ttl: 30s", HealthCheck(protocol=CheckProtocol.TTL, ttl=30.0)),
    ],
)
def test_each_protocol(check: Callable[[str], HealthCheck], text: str, expected: HealthCheck) -> None:
    assert check(text) == expected


def test_who_asks_often_waits_no_longer_than_that(check: Callable[[str], HealthCheck]) -> None:
    assert check("interval: 2s").timeout == 2.0
    assert check("interval: 10s").timeout == 5.0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("path: /health", ".path: means nothing to a tcp check, expected 'protocol: http or https' or no such key"),
        (
            "protocol: http, verify: false",
            ".verify: means nothing to a http check, expected 'protocol: https or grpc' or",
        ),
        ("protocol: ttl, ttl: 1s, interval: 1s", ".interval: means nothing to a ttl check, expected 'protocol: tcp or"),
        ("protocol: command, command: [ a ], port: 1", ".port: means nothing to a command check"),
        ("protocol: command", ": a command check needs 'command', expected a list"),
        ("protocol: command, command: []", ".command: 0 entries, expected at least 1"),
        ("protocol: command, command: 'curl -f x'", ".command: expected a list, got 'curl -f x' (write [curl -f x])"),
        ("protocol: ttl", ": a ttl check needs 'ttl', expected a duration such as"),
        ("protocol: udp", ".protocol: 'udp' is not known, expected tcp or http or https or command or grpc or ttl"),
        ("interval: 5s, timeout: 6s", ".timeout: 6s is longer than the interval, expected at most 5s"),
        ("timeout: 31s", ".timeout: 31s is longer than the interval, expected at most 30s"),
        ("interval: 10ms", ".interval: '10ms' is too short, expected at least 50ms"),
        ("interval: 5", ".interval: '5' is not a duration"),
        ("healthy_threshold: 0", ".healthy_threshold: 0 is out of range, expected a whole number from 1 to 1000"),
        (
            "address: backend",
            ".address: 'backend' is a name, and only endpoints may have names, expected an IP address",
        ),
        ("protocol: http, path: 'health'", ".path: 'health' is not a path, expected one that starts with /"),
        ("protocol: http, path: '/a b'", ".path: '/a b' is not a path"),
        ("protocol: http, path: '/a?b#c'", ".path: '/a?b#c' is not a path"),
        ("protocol: http, expected_status: 2x", ".expected_status: '2x' is no status, expected one such as 200"),
        ("protocol: http, expected_status: []", ".expected_status: 0 entries, expected at least 1"),
        (
            "protocol: http, headers: { Host: a }",
            ".headers.Host: 'Host' is written by the check itself, expected another",
        ),
        (
            "protocol: http, headers: { Connection: a }",
            ".headers.Connection: 'Connection' is written by the check itself",
        ),
        ("protocol: http, headers: { a: 1, A: 2 }", ".headers.A: 'A' is the same as 'a' in line 1"),
        ("protocol: grpc, verify: false", ".verify: is about TLS, which is off here, expected 'tls: true' beside it"),
        ("protocl: http", ".protocl: unknown key, did you mean 'protocol'?"),
    ],
)
def test_what_a_check_may_not_say(check_problems: Callable[[str], list[str]], text: str, problem: str) -> None:
    [found] = check_problems(text)
    assert found.startswith(problem)


def test_an_endpoints_check_is_its_services_with_a_difference(
    own_check: Callable[[str, str], HealthCheck | None],
) -> None:
    service = "health_check: { protocol: http, path: /up, interval: 10s, timeout: 9s }"
    assert own_check(service, "port: 9, expected_status: 204") == HealthCheck(
        protocol=CheckProtocol.HTTP, path="/up", interval=10.0, timeout=9.0, port=9, expected_status=((204, 204),)
    )
    assert own_check(service, "interval: 2s") == HealthCheck(
        protocol=CheckProtocol.HTTP, path="/up", interval=2.0, timeout=2.0
    )


def test_what_is_not_for_the_endpoints_protocol_does_not_follow_it(
    own_check: Callable[[str, str], HealthCheck | None],
) -> None:
    service = "health_check: { protocol: http, path: /up, interval: 10s }"
    assert own_check(service, "protocol: tcp") == HealthCheck(interval=10.0)
    assert own_check(service, "protocol: https") == HealthCheck(protocol=CheckProtocol.HTTPS, path="/up", interval=10.0)


def test_an_endpoint_may_be_checked_alone(own_check: Callable[[str, str], HealthCheck | None]) -> None:
    assert own_check("domain: a", "") == HealthCheck()
    assert own_check("domain: a", "protocol: ttl, ttl: 1s") == HealthCheck(protocol=CheckProtocol.TTL, ttl=1.0)


def test_the_whole_of_it_has_to_make_sense(problems: Callable[..., list[str]]) -> None:
    text = """\
        services:
          web:
            endpoints:
              - { address: "127.0.0.1:1", health_check: { timeout: 20s } }
              - { address: "127.0.0.1:2", health_check: { path: / } }
            health_check: { interval: 10s }
        """
    assert problems(text) == [
        "4:60: services.web.endpoints[0].health_check.timeout: 20s is longer than the interval, expected at most 10s",
        "5:57: services.web.endpoints[1].health_check.path: means nothing to a tcp check, "
        "expected 'protocol: http or https' or no such key",
    ]


@pytest.mark.parametrize("protocol", list(CheckProtocol))
def test_what_is_shown_can_be_read(check: Callable[[str], HealthCheck], protocol: CheckProtocol) -> None:
    needed = {CheckProtocol.COMMAND: ", command: [ a ]", CheckProtocol.TTL: ", ttl: 1s"}.get(protocol, "")
    shown = show_check(check(f"protocol: {protocol}{needed}"))
    assert set(shown) <= {"protocol", *(key.name for key in KEYS[protocol])}
    assert check(str(shown)[1:-1].replace("True", "true").replace("False", "false")) == check(
        f"protocol: {protocol}{needed}"
    )
