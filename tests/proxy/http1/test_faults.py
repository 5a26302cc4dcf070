"""Trouble on purpose: delays and aborts of routes and of services."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from playbook import Origin, Playbook, service

from discovery.model import AccessLog, DirectResponse, Filters, LogFormat, Route, Settings
from discovery.policies import Abort, Delay, Fault, RequestPolicies
from proxy.stats import slots, words

ROUTE = "route/web/all"

# So short that nobody waits for it, and so long that nobody can miss that it is there.
SHORT = 0.05
FOR_EVER = 3600.0

both = pytest.mark.parametrize("where", ["route", "service"])


def troubled(origin: Origin, where: str, fault: Fault, *, timeout: float | None = None, **given: Any) -> Playbook:
    policies = RequestPolicies(fault=fault)
    return Playbook(
        service("app", origin, policies=policies if where == "service" else RequestPolicies()),
        origins=(origin,),
        routes=(
            Route(
                name="all",
                service="app",
                timeout=timeout,
                filters=Filters(policies=policies if where == "route" else RequestPolicies()),
            ),
        ),
        **given,
    )


def counted(book: Playbook, where: str, word: int) -> int:
    key = ROUTE if where == "route" else "service/app"
    return book.table.shared(book.numbers[key]).load(word)


@both
def test_a_delayed_request_goes_on_when_the_delay_is_over(origin: Origin, where: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = Settings(access_log=AccessLog(path=str(log), format=LogFormat.JSON))
    fault = Fault(delay=Delay(SHORT))
    with troubled(origin, where, fault, settings=settings, log=log) as book:
        client = book.client()
        began = time.monotonic()
        client.ask("POST", "/x", body=b"all of it")
        assert origin.accept().answer().body == b"all of it"
        assert time.monotonic() - began >= SHORT * 0.9
        assert client.response().status == 200
        assert counted(book, where, words.FAULT_DELAYS) == 1
        assert book.log_entries()[-1]["flags"] == "DI"


@both
def test_an_aborted_request_is_answered_and_says_why(origin: Origin, where: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = Settings(access_log=AccessLog(path=str(log), format=LogFormat.JSON))
    with troubled(origin, where, Fault(abort=Abort(418)), settings=settings, log=log) as book:
        client = book.client()
        client.ask()
        answer = client.response()
        assert answer.status == 418
        assert "aborted on purpose" in (answer.header("proxy-status") or "")
        assert "FI" in answer.text and "aborted on purpose" in answer.text
        assert not origin.has_connection_waiting()
        assert counted(book, where, words.FAULT_ABORTS) == 1
        assert book.log_entries()[-1]["flags"] == "FI"
        # The connection goes on.
        client.ask()
        assert client.response().status == 418


def test_first_a_delay_and_then_an_abort(origin: Origin, tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = Settings(access_log=AccessLog(path=str(log), format=LogFormat.JSON))
    fault = Fault(delay=Delay(SHORT), abort=Abort(503))
    with troubled(origin, "route", fault, settings=settings, log=log) as book:
        began = time.monotonic()
        assert book.client().get().status == 503
        assert time.monotonic() - began >= SHORT * 0.9
        assert book.log_entries()[-1]["flags"] == "DI,FI"


def test_a_request_that_comes_again_under_its_id_has_the_same_trouble(origin: Origin) -> None:
    """Whichever worker takes it, from a trusted peer."""
    policies = RequestPolicies(fault=Fault(abort=Abort(503, percent=50.0)))
    routes = (Route(name="all", filters=Filters(policies=policies, direct_response=DirectResponse(200))),)
    seen = []
    for trusted in (True, True, False):
        settings = Settings(trusted_proxies=("127.0.0.1",) if trusted else ())
        with Playbook(service("app", origin), routes=routes, settings=settings, origins=(origin,)) as book:
            client = book.client()
            statuses = []
            for number in range(60):
                client.ask(headers=[("X-Request-Id", f"req-{number}")])
                statuses.append(client.response().status)
            seen.append(statuses)
    assert set(seen[0]) == {200, 503}
    assert seen[0] == seen[1] != seen[2]


def test_an_experiment_that_is_over_does_nothing(origin: Origin) -> None:
    fault = Fault(delay=Delay(FOR_EVER), abort=Abort(503), until=time.time() - 1.0)
    with troubled(origin, "route", fault) as book:
        client = book.client()
        client.ask()
        origin.accept().answer()
        assert client.response().status == 200
        assert counted(book, "route", words.FAULT_DELAYS) == counted(book, "route", words.FAULT_ABORTS) == 0


@both
@pytest.mark.parametrize("body", [b"", b"a body that nobody reads"])
def test_a_delay_ends_with_its_client(origin: Origin, where: str, body: bytes) -> None:
    with troubled(origin, where, Fault(delay=Delay(FOR_EVER))) as book:
        client = book.client()
        client.ask("POST" if body else "GET", body=body)
        book.until(lambda: book.cell("listener/web", slots.ACTIVE) == 1, "the request delayed")
        client.close()
        book.until(lambda: book.codes() == {499: 1}, "the request ended")
        assert not origin.has_connection_waiting()


@both
def test_a_delay_ends_with_the_time_of_the_request(origin: Origin, where: str) -> None:
    with troubled(origin, where, Fault(delay=Delay(FOR_EVER)), timeout=SHORT) as book:
        answer = book.client().get()
        assert answer.status == 504
        assert "UT" in answer.text
        assert not origin.has_connection_waiting()


def test_what_a_delay_took_is_missing_afterwards(origin: Origin) -> None:
    with troubled(origin, "route", Fault(delay=Delay(SHORT)), timeout=4 * SHORT) as book:
        client = book.client()
        began = time.monotonic()
        client.ask()
        origin.accept()
        assert client.response().status == 504
        assert 3 * SHORT < time.monotonic() - began < 8 * SHORT


def test_a_change_of_configuration_during_a_delay(origin: Origin) -> None:
    """What was begun goes on as it began."""
    with troubled(origin, "route", Fault(delay=Delay(SHORT))) as book:
        client = book.client()
        client.ask()
        book.until(lambda: book.cell("listener/web", slots.ACTIVE) == 1, "the request delayed")
        book.apply((service("app", origin),), (Route(name="all", service="app"),))
        origin.accept().answer()
        assert client.response().status == 200


def test_a_service_that_goes_away_during_a_delay(origin: Origin) -> None:
    with troubled(origin, "route", Fault(delay=Delay(SHORT))) as book:
        client = book.client()
        client.ask()
        book.until(lambda: book.cell("listener/web", slots.ACTIVE) == 1, "the request delayed")
        book.apply((service("other", origin),), (Route(name="other", service="other"),))
        assert client.response().status in (500, 503)
