"""What a worker says would become of a request is what becomes of it; and asking leaves no trace."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from breakers import end_ejection, endpoint, trip
from msgspec.structs import replace
from playbook import LISTENER, ROWS, Client, Origin, Playbook, service

from discovery.model import (
    DirectResponse,
    Filters,
    HeaderEdit,
    Limits,
    PoolPolicy,
    Redirect,
    Route,
    RouteMatch,
    Settings,
    Timeouts,
    TrafficSplit,
    UrlRewrite,
)
from discovery.policies import (
    Abort,
    Access,
    Affinity,
    BrokenAffinity,
    CircuitBreaker,
    Delay,
    Fault,
    KeyKind,
    LoadBalancingStrategy,
    Mirror,
    RateLimit,
    RequestKey,
    RequestPolicies,
    RetryPolicy,
    Subset,
)
from mesh.decision import Decision, Question
from proxy.http1.rehearsal import head_of
from proxy.stats import slots

MakeOrigin = Callable[[], Origin]

# So that a question can say by which id the request draws.
TRUSTING = Settings(trusted_proxies=("127.0.0.1",), instance="test")


def asked(book: Playbook, **question: Any) -> Decision:
    """What the worker says; it is asked twice, and the second answer is no other."""
    first = asked_once(book, Question(**{"listener": LISTENER, "host": "a.test", **question}))
    second = asked_once(book, replace(first.question, request_id=first.request_id))
    assert without_chance(first) == without_chance(second)
    return first


def asked_once(book: Playbook, question: Question) -> Decision:
    told: list[tuple[Decision | None, str]] = []
    for _ in book.plane.ask(question, lambda *answer: told.append(answer)):
        pass
    ((decision, problem),) = told
    assert decision is not None, problem
    return decision


def without_chance(decision: Decision) -> Decision:
    """Without what is made up for each, and times that pass."""
    endpoints = tuple(replace(each, detail="") for each in decision.endpoints)
    head = steady(decision.head)
    return replace(decision, question=Question(), request_id="", head=head, phases=(), endpoints=endpoints)


def steady(head: tuple[str, ...]) -> tuple[str, ...]:
    made_up = ("traceparent:", "x-request-id:", "x-envoy-expected-rq-timeout-ms:")
    return tuple(line for line in head if not line.lower().startswith(made_up))


def sent(book: Playbook, decision: Decision, *origins: Origin) -> Client:
    """Send what was asked, and see that it becomes what was said."""
    client = book.client()
    client.send(head_of(decision.question) + b"x" * max(decision.question.body_size, 0))
    book.settle()
    if decision.outcome == "answer":
        response = client.response(decision.question.method)
        assert response.status == decision.status
        assert f"({decision.flag})" in response.text or not decision.flag
        if decision.flag:
            assert decision.detail in response.text
        assert tuple(f"Set-Cookie: {each}" for each in response.all("set-cookie")) == decision.cookies
        return client
    called = [origin for origin in origins if origin.is_called()]
    if decision.outcome == "wait":
        assert not called
        return client
    (origin,) = called
    assert origin.address == decision.endpoint
    upstream = origin.accept()
    head = upstream.answer().raw_head.decode().split("\r\n")
    assert steady(tuple(line for line in head if line)) == steady(decision.head)
    response = client.response(decision.question.method)
    assert tuple(f"Set-Cookie: {each}" for each in response.all("set-cookie")) == decision.cookies
    upstream.close()
    book.settle()
    return client


def everything(book: Playbook) -> list[object]:
    """All cells of all rows, the words that are shared, and the worker's random numbers."""
    rows = [book.table.read(number) for number in range(ROWS)]
    shared = [book.table.shared(number).load(word) for number in range(ROWS) for word in range(slots.CELLS)]
    return [rows, shared, book.plane.tables.draws.state, book.plane.forwarder.active]


def phase(decision: Decision, name: str) -> tuple[str, str, str]:
    found = next(each for each in decision.phases if each.name == name)
    return found.owner, found.result, found.detail


# --- nothing is left behind -----------------------------------------------------------------------------------------


def test_asking_leaves_no_trace(make_origin: MakeOrigin) -> None:
    first, second, third = make_origin(), make_origin(), make_origin()
    by_key = RateLimit(requests=1, per=3600.0, key=RequestKey(kind=KeyKind.CLIENT_IP))
    policies = RequestPolicies(
        access=Access(deny=("10.0.0.0/8",)),
        max_body=10,
        rate_limit=by_key,
        max_concurrent=5,
        fault=Fault(delay=Delay(1.0, percent=50.0), abort=Abort(418, percent=30.0)),
        mirror=Mirror(service="down"),
    )
    web = service(
        "web",
        first,
        second,
        policies=RequestPolicies(rate_limit=RateLimit(requests=1, per=3600.0), max_concurrent=3),
        retry=RetryPolicy(max_retries=2),
        affinity=Affinity(),
        load_balancing=LoadBalancingStrategy.LEAST_CONNECTIONS,
    )
    down = service("down", third, circuit_breaker=CircuitBreaker(consecutive_errors=1))
    none = service("none")
    split = (TrafficSplit(service="none", weight=9), TrafficSplit(service="web", weight=1))
    routes = (
        Route(name="guarded", match=RouteMatch(path="/g"), service="web", filters=Filters(policies=policies)),
        Route(name="split", match=RouteMatch(path="/s"), split=split),
        Route(name="down", match=RouteMatch(path="/d"), service="down", retry=RetryPolicy()),
        Route(name="none", match=RouteMatch(path="/n"), service="none"),
        Route(name="subset", match=RouteMatch(path="/m"), service="web", subset=Subset(headers={"region": "x-region"})),
    )
    with Playbook(web, down, none, origins=(first, second, third), routes=routes, settings=TRUSTING) as book:
        trip(book, "a")
        down_endpoint = next(iter(book.plane.tables.services["down"].endpoints.values()))
        down_endpoint.attempt_over(2, False, book.plane.reactor.now_ms)
        before = everything(book)
        for path in ("/g", "/s", "/d", "/n", "/m", "/nobody", "/%00"):
            for number in range(20):
                asked(book, target=path, request_id=f"{number}", body_size=number, method="POST")
                asked(book, target=path, client="10.1.1.1", headers=(("X-Region", "eu"),))
        assert everything(book) == before
        full = "1 requests per 3600 s: 1 of 1 at once left for client_ip 127.0.0.1"
        assert phase(asked(book, target="/g"), "rate_limit")[2] == full


def test_what_was_asked_about_goes_when_it_leaves_the_configuration(origin: Origin) -> None:
    app, other = service("app", origin, affinity=Affinity()), service("other", origin)
    with Playbook(app, other, origins=(origin,), settings=replace(TRUSTING, secret="s" * 16)) as book:
        assert asked(book).outcome == "forward"
        rows = {number for key, number in book.numbers.items() if "/app" in key}
        assert len(rows) == 2
        gc.disable()
        try:
            book.apply((other,))
            assert rows <= set(book.released)
        finally:
            gc.enable()


# --- what is said is what happens -----------------------------------------------------------------------------------


def test_endpoints_in_turn(make_origin: MakeOrigin) -> None:
    origins = (make_origin(), make_origin(), make_origin())
    with Playbook(service("app", *origins), origins=origins) as book:
        seen = []
        for _ in range(5):
            decision = asked(book)
            assert (decision.outcome, decision.why) == ("forward", "next in turn")
            seen.append(decision.endpoint)
            sent(book, decision, *origins)
        assert len(set(seen[:3])) == 3 and seen[:2] == seen[3:]


def test_the_head_that_the_endpoint_gets(origin: Origin) -> None:
    edits = HeaderEdit(set={"X-Env": "demo"}, remove=("x-debug",))
    route = Route(
        name="api",
        match=RouteMatch(path="/api"),
        service="app",
        filters=Filters(request_headers=edits, url_rewrite=UrlRewrite(path_prefix="/v1", host="inside")),
    )
    with Playbook(service("app", origin), origins=(origin,), routes=(route,), settings=TRUSTING) as book:
        headers = (("X-Debug", "1"), ("X-Forwarded-For", "198.51.100.1"), ("X-Request-Id", "mine"), ("x-A", "\u00fc"))
        decision = asked(book, target="/api/x/../y?q=1", headers=headers, body_size=3, method="PUT")
        assert decision.head[0] == "PUT /v1/y?q=1 HTTP/1.1"
        assert "X-Env: demo" in decision.head and "X-Request-Id: mine" in decision.head
        assert (decision.client, decision.request_id) == ("198.51.100.1", "mine")
        assert (decision.method, decision.path, decision.query) == ("PUT", "/api/y", "q=1")
        sent(book, decision, origin)


REDIRECT = Filters(redirect=Redirect(path_prefix="/new", status=301))
DIRECT = Filters(direct_response=DirectResponse(status=503, body="back at noon"))
DENIED = Filters(policies=RequestPolicies(access=Access(allow=("10.0.0.0/8",))))
SHORT = Filters(policies=RequestPolicies(max_body=2))
NEVER = Filters(policies=RequestPolicies(fault=Fault(abort=Abort(418))))
LATE = Filters(policies=RequestPolicies(fault=Fault(delay=Delay(0.05))))


@pytest.mark.parametrize(
    ("filters", "question", "status", "flag", "told"),
    [
        (REDIRECT, {"target": "/old/x"}, 301, "", ("redirect", "answer", "301 to http://a.test/new/x")),
        (DIRECT, {}, 503, "", ("direct_response", "answer", "503 with 12 bytes")),
        (DENIED, {}, 403, "UAEX", ("access", "answer", "127.0.0.1 is in no network of allow")),
        (SHORT, {"body_size": 3}, 413, "DPE", ("max_body", "answer", "3 bytes of 2")),
        (SHORT, {"body_size": 2}, 0, "", ("max_body", "pass", "2 bytes of 2")),
        (NEVER, {}, 418, "FI", ("fault", "answer", None)),
        (LATE, {"target": "/slow"}, 504, "UT", ("fault", "delay", None)),
        (Filters(), {"target": "/nobody", "host": "b.test"}, 404, "NR", None),
        (Filters(), {"target": "/%00"}, 400, "DPE", None),
        (Filters(), {"target": "/a b"}, 400, "DPE", None),
        (Filters(), {"headers": (("Via", "1.1 test"),)}, 508, "", None),
        (Filters(), {"method": "CONNECT", "target": "a.test:80"}, 405, "DPE", None),
        (Filters(), {"body_size": 2000, "method": "POST"}, 413, "DPE", None),
        (Filters(), {"headers": (("x", "y" * 70_000),)}, 431, "DPE", None),
    ],
)
def test_answers_that_need_no_endpoint(
    origin: Origin,
    filters: Filters,
    question: dict[str, Any],
    status: int,
    flag: str,
    told: tuple[str, str, str | None] | None,
) -> None:
    is_answer = filters.redirect is not None or filters.direct_response is not None
    path = "/old" if filters is REDIRECT else "/"
    timeout = 0.01 if filters is LATE else None
    match = RouteMatch(host="a.test", path=path)
    route = Route(name="r", match=match, service="" if is_answer else "app", filters=filters, timeout=timeout)
    settings = replace(TRUSTING, limits=Limits(body=1000))
    with Playbook(service("app", origin), origins=(origin,), routes=(route,), settings=settings) as book:
        decision = asked(book, **question)
        assert (decision.status, decision.flag.split(",")[-1]) == (status, flag)
        assert decision.outcome == ("answer" if status else "forward")
        if told is not None:
            owner, result, detail = phase(decision, told[0])
            assert (owner, result) == ("route r", told[1])
            assert told[2] in (detail, None)
        sent(book, decision, origin)


def test_limits_say_how_much_is_left_and_then_refuse(origin: Origin) -> None:
    limit = RateLimit(requests=1, per=3600.0, burst=1, key=RequestKey(kind=KeyKind.HEADER, name="x-user"))
    route = Route(name="all", service="app", filters=Filters(policies=RequestPolicies(rate_limit=limit)))
    with Playbook(service("app", origin), origins=(origin,), routes=(route,)) as book:
        quota = "1 requests per 3600 s and a burst of 1: "
        for left in (2, 1):
            decision = asked(book, headers=(("x-user", "ann"),))
            detail = phase(decision, "rate_limit")[2]
            assert detail.startswith(f"{quota}{left} of 2 at once left for header x-user ann")
            assert ("the next in 36" in detail or "the next in 35" in detail) is (left == 1)
            sent(book, decision, origin)
        decision = asked(book, headers=(("x-user", "ann"),))
        assert (decision.status, decision.flag) == (429, "RL")
        sent(book, decision)
        assert "2 of 2 at once left for requests without header x-user" in phase(asked(book), "rate_limit")[2]


@pytest.mark.parametrize(
    ("policies", "breaker", "detail"),
    [
        (RequestPolicies(max_concurrent=1), CircuitBreaker(), "max_concurrent (1) is reached"),
        (
            RequestPolicies(),
            CircuitBreaker(max_requests=1),
            "circuit_breaker.max_requests (1) of service app is reached",
        ),
    ],
)
@pytest.mark.parametrize("of_service", [False, True])
def test_limits_of_requests_at_the_same_time(
    origin: Origin, policies: RequestPolicies, breaker: CircuitBreaker, detail: str, of_service: bool
) -> None:
    app = service("app", origin, circuit_breaker=breaker, policies=policies if of_service else RequestPolicies())
    filters = Filters() if of_service else Filters(policies=policies)
    with Playbook(app, origins=(origin,), routes=(Route(name="all", service="app", filters=filters),)) as book:
        assert asked(book).outcome == "forward"
        client = book.client()
        client.ask()
        upstream = origin.accept()
        decision = asked(book)
        assert (decision.outcome, decision.status, decision.flag, decision.detail) == ("answer", 503, "UO", detail)
        last = decision.phases[-1]
        assert (last.result, last.limit, last.used) == ("answer", 1, 1)
        sent(book, decision)
        upstream.answer()
        client.response()


def test_connections_that_are_all_busy_are_waited_for_and_then_refused(origin: Origin) -> None:
    app = service("app", origin, pool=PoolPolicy(max_connections=1, max_pending=1))
    with Playbook(app, origins=(origin,)) as book:
        busy = book.client()
        busy.ask()
        upstream = origin.accept()
        upstream.request()
        decision = asked(book)
        assert (decision.outcome, decision.status, decision.endpoint) == ("wait", 0, origin.address)
        waiting = sent(book, decision, origin)
        decision = asked(book)
        assert (decision.outcome, decision.status, decision.flag) == ("answer", 503, "UO")
        assert decision.detail == "pool.max_pending (1) of service app is reached in this worker"
        values = {each.name: each.value for each in decision.settings}
        assert values["pool.max_connections"] == "1 of 1 to the endpoint, in this worker"
        assert values["pool.max_pending"] == "1 of 1 in this worker"
        sent(book, decision)
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        busy.response()
        upstream.answer()
        waiting.response()


def test_breakers_and_services_without_endpoints(make_origin: MakeOrigin) -> None:
    origin = make_origin()
    app = service("app", origin, circuit_breaker=CircuitBreaker(consecutive_errors=2))
    routes = (Route(name="all", service="app"), Route(name="none", match=RouteMatch(path="/none"), service="none"))
    with Playbook(app, service("none"), origins=(origin,), routes=routes) as book:
        decision = asked(book, target="/none")
        assert (decision.status, decision.flag, decision.service) == (503, "UH", "none")
        sent(book, decision)
        trip(book)
        decision = asked(book)
        assert (decision.status, decision.flag) == (503, "UO")
        assert decision.endpoints[0].state == "ejected"
        sent(book, decision)
        end_ejection(book)
        probes = endpoint(book).slot.get(slots.PROBES)
        decision = asked(book)
        assert (decision.outcome, decision.endpoint) == ("forward", origin.address)
        assert endpoint(book).slot.get(slots.PROBES) == probes
        sent(book, decision, origin)


def test_splits_are_drawn_by_the_id_of_the_request(make_origin: MakeOrigin) -> None:
    one, two = make_origin(), make_origin()
    split = (TrafficSplit(service="one", weight=1), TrafficSplit(service="two", weight=1))
    routes = (Route(name="all", split=split),)
    with Playbook(
        service("one", one), service("two", two), origins=(one, two), routes=routes, settings=TRUSTING
    ) as book:
        seen = set()
        for number in range(24):  # all alike: a chance of 1e-7
            decision = asked(book, headers=(("X-Request-Id", f"id-{number}"),))
            (view,) = decision.splits
            assert view.by == "request id" and 0.0 <= view.number < 1.0
            assert [share.drawn for share in view.shares] == [decision.service == "one", decision.service == "two"]
            seen.add(decision.service)
            sent(book, decision, one, two)
        assert seen == {"one", "two"}


def test_a_share_without_endpoints_fails_over_and_says_so(origin: Origin) -> None:
    split = (TrafficSplit(service="none", weight=1), TrafficSplit(service="app", weight=0))
    split = (*split[:1], TrafficSplit(service="app", weight=1))
    routes = (Route(name="all", split=split),)
    with Playbook(service("app", origin), service("none"), origins=(origin,), routes=routes, settings=TRUSTING) as book:
        decisions = [asked(book, headers=(("X-Request-Id", f"id-{number}"),)) for number in range(24)]
        assert {each.service for each in decisions} == {"app"}
        over = next(each for each in decisions if each.splits[0].failed_over)
        assert (over.flag, over.splits[0].wanted) == ("fo", "none")
        sent(book, over, origin)


@pytest.mark.parametrize("broken", list(BrokenAffinity))
def test_affinity(make_origin: MakeOrigin, broken: BrokenAffinity) -> None:
    origins = (make_origin(), make_origin(), make_origin())
    app = service("app", *origins, affinity=Affinity(name="hm", broken=broken))
    with Playbook(app, origins=origins, settings=replace(TRUSTING, secret="s" * 16)) as book:
        new = asked(book)
        assert new.affinity is not None and new.affinity.state == "new"
        (cookie,) = new.cookies
        sent(book, new, *origins)
        headers = (("Cookie", cookie.removeprefix("Set-Cookie: ").partition(";")[0]),)
        kept = asked(book, headers=headers)
        assert kept.affinity is not None
        assert (kept.affinity.state, kept.endpoint, kept.cookies) == ("kept", new.endpoint, ())
        sent(book, kept, *origins)
        bound = next(each.id for each in kept.endpoints if each.picked)
        trip(book, bound)
        after = asked(book, headers=headers)
        assert after.affinity is not None
        if broken is BrokenAffinity.FAIL:
            assert (after.status, after.flag, after.affinity.state) == (503, "ab,UH", "refused")
            assert after.detail == "the endpoint that the client belongs to takes no requests"
        else:
            assert (after.outcome, after.flag, after.affinity.state) == ("forward", "ab", "broken")
            assert after.endpoint != kept.endpoint and len(after.cookies) == 1
        sent(book, after, *origins)


# --- what is in force -----------------------------------------------------------------------------------------------


def retry(book: Playbook, **question: Any) -> tuple[bool, str]:
    view = asked(book, **question).retry
    assert view is not None
    return view.repeatable, view.why


def test_whether_a_request_could_be_sent_again(origin: Origin) -> None:
    policy = RetryPolicy(max_retries=2, idempotency_key=True)
    routes = (
        Route(name="twice", service="app", retry=policy),
        Route(name="once", match=RouteMatch(path="/once"), service="app"),
    )
    settings = replace(TRUSTING, limits=Limits(replay_body=100))
    with Playbook(service("app", origin), origins=(origin,), routes=routes, settings=settings) as book:
        assert retry(book) == (True, "GET is idempotent")
        assert retry(book, method="PUT", body_size=100) == (True, "PUT is idempotent")
        again, why = retry(book, method="PUT", body_size=101)
        assert not again and "101 bytes is larger than limits.replay_body (100 bytes)" in why
        again, why = retry(book, method="PUT", body_size=-1)
        assert again and "as long as its body has at most limits.replay_body (100 bytes)" in why
        again, why = retry(book, method="POST", body_size=1)
        assert not again and "POST is not idempotent" in why and "post_bytes_sent" in why
        assert retry(book, method="POST", headers=(("Idempotency-Key", "k"),)) == (True, "it has an Idempotency-Key")
        again, why = retry(book, target="/once")
        assert not again and "no policy asks for it" in why
        view = asked(book).retry
        assert view is not None
        assert (view.owner, view.most) == ("route twice", 2)
        assert view.policy == "up to 2 on 5xx, connect-failure, after 25ms to 250ms"
        assert view.budget == "0 left of 20 % of the requests of 10s, and 10 of the floor of 10 a second"


def test_values_in_force_and_where_they_are_from(origin: Origin) -> None:
    app = service("app", origin, timeout=3.0, circuit_breaker=CircuitBreaker(max_requests=7))
    routes = (
        Route(name="own", match=RouteMatch(path="/own"), service="app", timeout=1.5),
        Route(name="rest", service="app", retry=RetryPolicy(per_try_timeout=0.25)),
    )
    settings = replace(TRUSTING, timeouts=Timeouts(connect=2.0))
    with Playbook(app, origins=(origin,), routes=routes, settings=settings) as book:

        def value(decision: Decision, name: str) -> tuple[str, str]:
            (found,) = (each for each in decision.settings if each.name == name)
            return found.value, found.origin

        own, rest = asked(book, target="/own"), asked(book)
        assert value(own, "timeout") == ("1s500ms", "route own")
        assert value(rest, "timeout") == ("3s", "service app")
        assert value(rest, "retry.per_try_timeout") == ("250ms", "route rest")
        assert value(rest, "timeouts.connect") == ("2s", "timeouts")
        assert value(rest, "timeouts.response_header") == ("1m", "default")
        assert value(rest, "circuit_breaker.max_requests") == ("0 of 7", "service app")
        assert value(rest, "limits.body") == ("none", "default")
        assert value(rest, "pool.idle_timeout") == ("1m", "default")


# --- asking ---------------------------------------------------------------------------------------------------------


def test_who_cannot_be_asked_says_so_and_a_bug_ends_no_worker(origin: Origin) -> None:
    with Playbook(service("app", origin), origins=(origin,)) as book:
        told: list[tuple[Decision | None, str]] = []
        for _ in book.plane.ask(Question(listener="nobody"), lambda *answer: told.append(answer)):
            pass
        assert told == [(None, "no listener called 'nobody' takes HTTP requests")]
        told.clear()
        broken = Question(listener=LISTENER, headers=(("x",),))  # type: ignore[arg-type]
        for _ in book.plane.ask(broken, lambda *answer: told.append(answer)):
            pass
        assert told[0][0] is None and "was ended by a bug" in told[0][1]
        assert asked(book).outcome == "forward"
