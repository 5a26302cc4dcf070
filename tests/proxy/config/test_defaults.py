"""A listener without routes serves every service by its domain."""

from __future__ import annotations

from discovery.model import Position, Route, RouteMatch, Service
from proxy.config.defaults import default_routes


def test_one_route_per_domain() -> None:
    place = Position(file="f", line=3, column=1)
    services = [Service(name="a", domain="a.local", position=place), Service(name="b"), Service(name="c", domain="c")]

    assert default_routes(services) == (
        Route(name="a", match=RouteMatch(host="a.local"), service="a", position=place),
        Route(name="c", match=RouteMatch(host="c"), service="c"),
    )
