"""Every path of the admin API, Consul's included: reading changes nothing.

What changes something is refused to pages of other sites, to rebound names, and to whoever has no token.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from admin_server import AdminServer
from fake_agent import FakeAgent

from proxy.stats import slots

READING = ("GET", "HEAD", "OPTIONS")
CHANGING = ("PUT", "POST", "DELETE", "PATCH")

# What stands in paths, as things that are there: reading could do something about them.
NAMES = {
    "service": "api",
    "name": "api",
    "endpoint": "api-1",
    "id": "api-1",
    "node": "n1",
    "route": "all",
    "verb": "pass",
    "state": "any",
    "key": "policies",
}
# These have no end of their own; their tests are beside this one.
STREAMS = ("/v1/tap", "/v1/watch")


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
def server(agent: FakeAgent) -> Iterator[AdminServer]:
    with AdminServer(agent) as running:
        yield running


def paths(server: AdminServer) -> dict[str, set[str]]:
    """The methods of each path that is registered, with names in place of variables."""
    assert server._server is not None
    found: dict[str, set[str]] = {}
    for route in server._server._runner.app.router.routes():
        info: Any = route.resource.get_info() if route.resource is not None else {}
        path = info.get("path") or info["formatter"]
        for name in set(info.get("pattern").groupindex if "pattern" in info else ()):
            path = path.replace(f"{{{name}}}", NAMES[name])
        found.setdefault(path, set()).add(route.method)
    return found


def state(agent: FakeAgent) -> tuple[object, ...]:
    """All that the API can change: the registry with its leases and states, breakers, reloads."""
    words = tuple(agent.table.shared(number).load(word) for number in agent.slot_numbers.values() for word in range(16))
    registry = agent.catalog.registry
    return registry.index, msgspec.json.encode(registry.snapshot), words, agent.reload_calls, len(agent.taps)


def test_all_paths_are_walked(server: AdminServer) -> None:
    found = paths(server)
    assert len(found) > 40
    assert {"/v1/reload", "/v1/agent/service/register", "/v1/agent/check/pass/api-1"} <= set(found)


def test_reading_changes_nothing(server: AdminServer, agent: FakeAgent) -> None:
    """Also of paths that only know PUT or POST: those do not answer it."""
    before = state(agent)
    reached = 0
    for path, methods in paths(server).items():
        if path in STREAMS:
            continue
        for method in READING:
            reply = server.request(method, path)
            if method not in methods:
                assert reply.status in (404, 405), (method, path, reply.status)
            reached += reply.status == 200
            assert state(agent) == before, (method, path)
    assert reached > 30


def test_only_methods_that_say_so_change_anything(server: AdminServer) -> None:
    known = {method for methods in paths(server).values() for method in methods}
    assert known <= {"GET", "HEAD", "PUT", "POST", "DELETE"}


FOREIGN = (
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
)


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_page_of_another_site_changes_nothing(server: AdminServer, agent: FakeAgent, headers: dict[str, str]) -> None:
    before = state(agent)
    for path in paths(server):
        for method in CHANGING:
            reply = server.request(method, path, headers, body={})
            assert reply.status == 403, (method, path, reply.status)
    assert state(agent) == before


def test_a_rebound_name_reads_and_changes_nothing(server: AdminServer, agent: FakeAgent) -> None:
    before = state(agent)
    for path, methods in paths(server).items():
        for method in methods:
            reply = server.request(method, path, {"Host": "evil.example"})
            assert reply.status == 421, (method, path, reply.status)
    assert state(agent) == before


def test_without_the_token_nothing_but_probes_is_answered(agent: FakeAgent) -> None:
    with AdminServer(agent, token="right") as server:
        before = state(agent)
        for path, methods in paths(server).items():
            for method in methods:
                reply = server.request(method, path, {"Authorization": "Bearer wrong"})
                expected = reply.status in (200, 503) if path in ("/livez", "/readyz") else reply.status == 401
                assert expected, (method, path, reply.status)
        assert state(agent) == before


def test_the_metrics_address_has_nothing_that_changes(agent: FakeAgent) -> None:
    with AdminServer(agent, only_metrics=True) as server:
        assert set(paths(server)) == {"/metrics", "/livez", "/readyz"}
        assert {method for methods in paths(server).values() for method in methods} == {"GET", "HEAD"}
        before = state(agent)
        for path in paths(server):
            for method in CHANGING:
                assert server.request(method, path).status == 405
        assert state(agent) == before


def test_a_row_of_statistics_is_looked_at(agent: FakeAgent) -> None:
    """The state that is compared has what a change would move: the breaker of an endpoint is in it."""
    before = state(agent)
    agent.words(slots.service_key("api")).add(0, 1)
    assert state(agent) != before
