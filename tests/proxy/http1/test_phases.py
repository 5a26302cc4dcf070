"""What a route answers by itself, through the whole path: redirects and fixed responses."""

from __future__ import annotations

from typing import cast

import pytest
from playbook import Playbook, service

from discovery.model import DirectResponse, Filters, HeaderEdit, Redirect, Route, RouteMatch
from proxy.http1.phases import PhaseTools, request_phases


def route(match: RouteMatch | None = None, **filters: object) -> Route:
    return Route(name="all", match=match or RouteMatch(), filters=Filters(**filters))


def test_a_route_to_a_service_has_no_phases() -> None:
    assert request_phases(Route(name="r", service="app"), cast(PhaseTools, None)) == ()


def test_a_fixed_response() -> None:
    direct = DirectResponse(status=418, body="tea", content_type="text/tea", headers={"X-Pot": "1"})
    with Playbook(service("app"), routes=(route(direct_response=direct),)) as book:
        client = book.client()
        response = client.get()
        assert (response.status, response.text) == (418, "tea")
        assert (response.header("content-type"), response.header("x-pot")) == ("text/tea", "1")
        client.ask("HEAD")
        response = client.response(to="HEAD")
        assert (response.status, response.body, response.header("content-length")) == (418, b"", "3")
        # A body that nobody wants is not read: the connection ends.
        client.ask("POST", body=b"x" * 100)
        assert client.response().header("connection") == "close"
        assert client.is_ended_by_peer() and not client.was_reset
        assert book.codes("route/web/all") == {418: 3}


def test_a_fixed_response_without_a_body() -> None:
    with Playbook(service("app"), routes=(route(direct_response=DirectResponse(status=204)),)) as book:
        client = book.client()
        for _ in range(2):
            response = client.get()
            assert (response.status, response.body) == (204, b"")
            assert response.header("content-length") is None and response.header("content-type") is None


@pytest.mark.parametrize(
    ("redirect", "target", "location"),
    [
        (Redirect(scheme="https"), "/a?b=1", "https://a.test/a?b=1"),
        (Redirect(host="new.test", status=301), "/a", "http://new.test/a"),
        (Redirect(port=8443, scheme="https"), "/", "https://a.test:8443/"),
        (Redirect(path="/x"), "/a/b?c", "http://a.test/x?c"),
        (Redirect(path_prefix="/new"), "/old/b?c", "http://a.test/new/b?c"),
        (Redirect(scheme="https"), "/%61/../b//c", "https://a.test/b/c"),
    ],
)
def test_a_redirect(redirect: Redirect, target: str, location: str) -> None:
    match = RouteMatch(path="/old") if redirect.path_prefix else None
    with Playbook(service("app"), routes=(route(match, redirect=redirect),)) as book:
        response = book.client().get(target)
        assert (response.status, response.header("location")) == (redirect.status, location)
        assert (response.header("content-length"), response.body) == ("0", b"")


def test_header_edits_of_the_route_hold_for_its_answers() -> None:
    edit = HeaderEdit(set={"X-A": "1"}, remove=("X-Pot",))
    direct = DirectResponse(body="tea", headers={"X-Pot": "1"})
    with Playbook(service("app"), routes=(route(direct_response=direct, response_headers=edit),)) as book:
        response = book.client().get()
        assert (response.header("x-a"), response.header("x-pot")) == ("1", None)
