"""Which check an endpoint has, and where it is asked."""

from __future__ import annotations

import pytest

from discovery.checks import CheckProtocol, HealthCheck
from discovery.health.target import is_numeric, target_of
from discovery.model import Endpoint, Service


def place(address: str, check: HealthCheck) -> str:
    target = target_of(Service(name="s", health_check=check), Endpoint(id="a", address=address))
    assert target is not None
    return target.place


@pytest.mark.parametrize(
    ("address", "check", "asked"),
    [
        ("10.0.0.1:80", HealthCheck(), "10.0.0.1:80"),
        ("10.0.0.1:80", HealthCheck(port=81), "10.0.0.1:81"),
        ("10.0.0.1:80", HealthCheck(address="10.0.0.2"), "10.0.0.2:80"),
        ("10.0.0.1:80", HealthCheck(address="::1", port=81), "[::1]:81"),
        ("[fd00::1]:80", HealthCheck(port=81), "[fd00::1]:81"),
        ("unix:/run/a.sock", HealthCheck(port=81), "unix:/run/a.sock"),
        ("unix:/run/a.sock", HealthCheck(address="127.0.0.1", port=81), "127.0.0.1:81"),
        ("unix:/run/a.sock", HealthCheck(protocol=CheckProtocol.COMMAND, port=81), "unix:/run/a.sock"),
    ],
)
def test_where_it_is_asked(address: str, check: HealthCheck, asked: str) -> None:
    assert place(address, check) == asked


def test_an_endpoint_without_a_check_is_no_target() -> None:
    assert target_of(Service(name="s"), Endpoint(id="a", address="10.0.0.1:80")) is None


@pytest.mark.parametrize(
    ("host", "name"), [("web.local:81", "web.local"), ("[::1]:80", "::1"), ("10.0.0.1:80", "10.0.0.1"), ("w", "w")]
)
def test_the_name_of_tls_has_no_port(host: str, name: str) -> None:
    service = Service(name="s", health_check=HealthCheck(host=host))
    target = target_of(service, Endpoint(id="a", address="10.0.0.1:80"))
    assert target is not None
    assert target.server_name == name


def test_a_name_is_no_address() -> None:
    assert is_numeric("::1")
    assert not is_numeric("localhost")
