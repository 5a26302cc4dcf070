"""What a request has to pass: access, size, rate and number at the same time, of routes and of services."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playbook import Client, Origin, Playbook, service

from discovery.model import Filters, PoolPolicy, Route, RouteMatch, Settings
from discovery.policies import Access, CircuitBreaker, KeyKind, RateLimit, RequestKey, RequestPolicies
from proxy.stats import slots, words

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n"
ROUTE = "route/web/all"
NEW_EACH = PoolPolicy(max_idle=0)  # a connection for every request


def guarded(origin: Origin, where: str, policies: RequestPolicies, **given: Any) -> Playbook:
    """`where`: "route" or "service", which has the policies."""
    settings = given.pop("settings", None)
    of_service = policies if where == "service" else RequestPolicies()
    of_route = policies if where == "route" else RequestPolicies()
    return Playbook(
        service("app", origin, policies=of_service, **given),
        origins=(origin,),
        routes=(Route(name="all", service="app", filters=Filters(policies=of_route)),),
        settings=settings,
    )


def counted(book: Playbook, where: str, word: int) -> int:
    key = ROUTE if where == "route" else "service/app"
    return book.table.shared(book.numbers[key]).load(word)


def ask(book: Playbook, *headers: tuple[str, str], client: Client | None = None) -> Client:
    client = client or book.client()
    client.ask(target="/x", headers=headers)
    book.settle()
    return client


both = pytest.mark.parametrize("where", ["route", "service"])


# --- who asks -----------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("allow", "deny", "client", "admitted"),
    [
        ("10.0.0.0/8", "", "10.1.2.3", True),
        ("10.0.0.0/8", "", "11.1.2.3", False),
        ("", "10.0.0.0/8", "10.1.2.3", False),
        ("", "10.0.0.0/8", "11.1.2.3", True),
        ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", False),
        ("10.0.0.0/8", "10.1.0.0/16", "10.2.2.3", True),
        ("2001:db8::/32", "", "2001:db8::1", True),
        ("2001:db8::/32", "", "10.1.2.3", False),
    ],
)
def test_a_client_is_told_by_its_address(
    origin: Origin, where: str, allow: str, deny: str, client: str, admitted: bool
) -> None:
    access = Access(allow=tuple(allow.split()), deny=tuple(deny.split()))
    trusting = Settings(trusted_proxies=("127.0.0.1",))
    with guarded(origin, where, RequestPolicies(access=access), settings=trusting) as book:
        asked = ask(book, ("X-Forwarded-For", client))
        if admitted:
            origin.accept().answer()
            assert asked.response().status == 200
        else:
            answer = asked.response()
            assert answer.status == 403
            assert client in answer.body.decode() and "UAEX" in answer.body.decode()
        assert counted(book, where, words.DENIED) == (0 if admitted else 1)


def test_what_an_untrusted_peer_says_of_the_client_opens_nothing(origin: Origin) -> None:
    with guarded(origin, "route", RequestPolicies(access=Access(allow=("10.0.0.0/8",)))) as book:
        assert ask(book, ("X-Forwarded-For", "10.1.2.3")).response().status == 403


# --- how much comes -----------------------------------------------------------------------------------------------


@both
def test_a_body_that_says_it_is_too_long_is_refused_before_it_comes(origin: Origin, where: str) -> None:
    with guarded(origin, where, RequestPolicies(max_body=10)) as book:
        client = book.client()
        client.send(b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 11\r\n\r\n")
        answer = client.response()
        assert (answer.status, answer.header("connection")) == (413, "close")
        assert "max_body (10 bytes)" in answer.body.decode()
        assert counted(book, where, words.TOO_LARGE) == 1
        assert not origin.has_connection_waiting()


@both
def test_a_body_of_just_that_size_passes(origin: Origin, where: str) -> None:
    with guarded(origin, where, RequestPolicies(max_body=10)) as book:
        client = book.client()
        client.send(b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10\r\n\r\n", b"0123456789")
        assert origin.accept().answer().body == b"0123456789"
        assert client.response().status == 200


@both
def test_chunks_are_counted_while_they_come(origin: Origin, where: str) -> None:
    with guarded(origin, where, RequestPolicies(max_body=10)) as book:
        client = book.client()
        client.send(CHUNKED, b"a\r\n0123456789\r\n")
        upstream = origin.accept()
        client.send(b"1\r\n0\r\n")
        assert client.response().status == 413
        assert counted(book, where, words.TOO_LARGE) == 1
        upstream.read_to_end()  # the endpoint sees that the request is broken off


def test_of_two_limits_the_smaller_counts_and_is_named(origin: Origin) -> None:
    with Playbook(
        service("app", origin, policies=RequestPolicies(max_body=5)),
        origins=(origin,),
        routes=(Route(name="all", service="app", filters=Filters(policies=RequestPolicies(max_body=50))),),
    ) as book:
        client = book.client()
        client.send(CHUNKED, b"a\r\n0123456789\r\n")
        assert "max_body (5 bytes)" in client.response().body.decode()
        assert counted(book, "service", words.TOO_LARGE) == 1
        assert counted(book, "route", words.TOO_LARGE) == 0


# --- how often ----------------------------------------------------------------------------------------------------


@both
def test_more_than_the_rate_is_429_and_says_when_to_come_back(origin: Origin, where: str) -> None:
    limit = RateLimit(requests=2, per=100.0, burst=1)
    with guarded(origin, where, RequestPolicies(rate_limit=limit)) as book:
        clients = [ask(book) for _ in range(2)]
        for client in clients:
            origin.accept().answer()
            assert client.response().status == 200
        answer = ask(book).response()
        assert answer.status == 429
        assert answer.header("retry-after") == "50"
        assert answer.header("ratelimit-policy") == '"route";q=2;w=100'
        assert answer.header("ratelimit") == '"route";r=0;t=50'
        assert re.search(r"more than 2 requests per 100 s and a burst of 1 by route \(RL\)", answer.body.decode())
        assert counted(book, where, words.RATE_LIMITED) == 1


@both
@pytest.mark.parametrize(
    ("key", "first", "second"),
    [
        (RequestKey(kind=KeyKind.HEADER, name="x-user"), ("X-User", "ann"), ("X-User", "bob")),
        (RequestKey(kind=KeyKind.CLIENT_IP), ("X-Forwarded-For", "10.0.0.1"), ("X-Forwarded-For", "10.0.0.2")),
        (RequestKey(kind=KeyKind.COOKIE, name="id"), ("Cookie", "a=b; id=1"), ("Cookie", "a=b; id=2")),
    ],
)
def test_each_key_has_a_bucket_of_its_own(
    origin: Origin, where: str, key: RequestKey, first: tuple[str, str], second: tuple[str, str]
) -> None:
    limit = RateLimit(requests=1, per=100.0, key=key)
    trusting = Settings(trusted_proxies=("127.0.0.1",))
    with guarded(origin, where, RequestPolicies(rate_limit=limit), settings=trusting, pool=NEW_EACH) as book:
        for asked in (first, second):
            client = ask(book, asked)
            origin.accept().answer()
            assert client.response().status == 200
        for asked in (first, second):
            assert ask(book, asked).response().status == 429


@both
@pytest.mark.parametrize("key", [RequestKey(kind=KeyKind.ROUTE), RequestKey(kind=KeyKind.CLIENT_IP)])
def test_a_limit_that_is_relaxed_counts_from_then_on(origin: Origin, where: str, key: RequestKey) -> None:
    """One an hour, and then ten a second: nobody waits for the end of that hour."""
    hourly = RequestPolicies(rate_limit=RateLimit(requests=1, per=3600.0, key=key))
    relaxed = RequestPolicies(rate_limit=RateLimit(requests=10, per=1.0, key=key))
    with guarded(origin, where, hourly, pool=NEW_EACH) as book:
        client = ask(book)
        origin.accept().answer()
        assert client.response().status == 200
        assert ask(book).response().status == 429
        of_service = relaxed if where == "service" else RequestPolicies()
        of_route = relaxed if where == "route" else RequestPolicies()
        book.apply(
            (service("app", origin, policies=of_service, pool=NEW_EACH),),
            (Route(name="all", service="app", filters=Filters(policies=of_route)),),
        )
        client = ask(book)
        origin.accept().answer()
        assert client.response().status == 200


def test_a_burst_that_outlasts_any_clock(origin: Origin) -> None:
    """What the bucket holds stays a time: the largest burst of the longest interval is beyond 64 bits."""
    limit = RateLimit(requests=1, per=7 * 86_400.0, burst=1_000_000_000)
    with guarded(origin, "route", RequestPolicies(rate_limit=limit)) as book:
        shared = book.table.shared(book.numbers[ROUTE])
        shared.swap(words.RATE_WORD, 0, 2**64 - 1)
        client = ask(book)
        origin.accept().answer()
        assert client.response().status == 200


def test_requests_without_the_header_share_one_bucket(origin: Origin) -> None:
    limit = RateLimit(requests=1, per=100.0, key=RequestKey(kind=KeyKind.HEADER, name="x-user"))
    with guarded(origin, "route", RequestPolicies(rate_limit=limit)) as book:
        client = ask(book)
        origin.accept().answer()
        assert client.response().status == 200
        assert ask(book).response().status == 429


def test_limits_of_two_routes_know_nothing_of_each_other(origin: Origin) -> None:
    limit = RateLimit(requests=1, per=100.0, key=RequestKey(kind=KeyKind.CLIENT_IP))
    filters = Filters(policies=RequestPolicies(rate_limit=limit))
    routes = (
        Route(name="all", service="app", filters=filters),
        Route(name="y", match=RouteMatch(path="/y"), service="app", filters=filters),
    )
    with Playbook(service("app", origin, pool=NEW_EACH), origins=(origin,), routes=routes) as book:
        first = ask(book)
        origin.accept().answer()
        assert first.response().status == 200
        other = book.client()
        other.ask(target="/y")
        origin.accept().answer()
        assert other.response().status == 200


# --- how many at the same time ------------------------------------------------------------------------------------


@both
def test_one_more_at_the_same_time_is_503_and_the_end_of_one_makes_room(origin: Origin, where: str) -> None:
    with guarded(origin, where, RequestPolicies(max_concurrent=2)) as book:
        first, second = ask(book), ask(book)
        upstreams = [origin.accept(), origin.accept()]
        answer = ask(book).response()
        assert (answer.status, answer.header("x-envoy-overloaded")) == (503, "true")
        assert "max_concurrent (2)" in answer.body.decode()
        assert counted(book, where, words.TOO_MANY_AT_ONCE) == 1
        upstreams[0].answer()
        assert first.response().status == 200
        third = ask(book)
        upstreams[0].answer()
        assert third.response().status == 200
        upstreams[1].answer()
        assert second.response().status == 200


@both
def test_a_client_that_leaves_makes_room(origin: Origin, where: str) -> None:
    with guarded(origin, where, RequestPolicies(max_concurrent=1)) as book:
        first = ask(book)
        origin.accept()
        first.close()
        book.settle()
        second = ask(book)
        origin.accept().answer()
        assert second.response().status == 200


@both
def test_requests_of_another_worker_count(origin: Origin, where: str) -> None:
    class TwoWorkers(Playbook):
        workers = 2

    policies = RequestPolicies(max_concurrent=1)
    with TwoWorkers(
        service("app", origin, policies=policies if where == "service" else RequestPolicies()),
        origins=(origin,),
        routes=(
            Route(
                name="all",
                service="app",
                filters=Filters(policies=policies if where == "route" else RequestPolicies()),
            ),
        ),
    ) as book:
        other = book.table.slot(1, book.numbers[ROUTE if where == "route" else "service/app"])
        other.add(slots.ACTIVE, 1)
        assert ask(book).response().status == 503
        other.add(slots.ACTIVE, -1)
        client = ask(book)
        origin.accept().answer()
        assert client.response().status == 200


# --- limits of the service ----------------------------------------------------------------------------------------


def limited(origin: Origin, pool: PoolPolicy | None = None, **limits: int) -> Playbook:
    return Playbook(
        service("app", origin, pool=pool, circuit_breaker=CircuitBreaker(**limits)),
        origins=(origin,),
    )


def rejections(book: Playbook, resource: str) -> int:
    return counted(book, "service", words.REJECTIONS + words.LIMIT_RESOURCES.index(resource))


def test_one_more_than_max_requests_is_503_at_once_and_named(origin: Origin) -> None:
    with limited(origin, max_requests=1) as book:
        first = ask(book)
        upstream = origin.accept()
        answer = ask(book).response()
        assert (answer.status, answer.header("x-envoy-overloaded")) == (503, "true")
        assert "circuit_breaker.max_requests (1) of service app is reached (UO)" in answer.body.decode()
        assert rejections(book, "requests") == 1
        upstream.answer()
        assert first.response().status == 200


def test_the_smaller_limit_of_connections_counts(origin: Origin) -> None:
    with limited(origin, PoolPolicy(max_total=5), max_connections=1, max_pending_requests=1) as book:
        first, second = ask(book), ask(book)
        upstream = origin.accept()
        assert not origin.has_connection_waiting()
        answer = ask(book).response()
        assert answer.status == 503
        assert "circuit_breaker.max_pending_requests (1) of service app is reached" in answer.body.decode()
        assert rejections(book, "pending_requests") == 1
        for client in (first, second):
            upstream.answer()
            assert client.response().status == 200


def test_those_who_wait_in_another_worker_count(origin: Origin) -> None:
    class TwoWorkers(Playbook):
        workers = 2

    with TwoWorkers(
        service("app", origin, circuit_breaker=CircuitBreaker(max_connections=1, max_pending_requests=3)),
        origins=(origin,),
    ) as book:
        first = ask(book)
        upstream = origin.accept()
        other = book.table.slot(1, book.numbers["service/app"])
        other.add(slots.PENDING, 2)
        second = ask(book)
        assert ask(book).response().status == 503
        assert book.cell("service/app", slots.PENDING) == 3
        other.add(slots.PENDING, -2)
        upstream.answer()
        assert first.response().status == 200
        upstream.answer()
        assert second.response().status == 200


def test_a_place_that_is_owed_is_left_to_those_who_wait_elsewhere(origin: Origin) -> None:
    """Both workers have more requests than the one connection there may be: who has it gives it up."""
    rung: list[int] = []

    class TwoWorkers(Playbook):
        workers = 2

    with TwoWorkers(
        service("app", origin, circuit_breaker=CircuitBreaker(max_connections=1)), origins=(origin,)
    ) as book:
        book.plane.tables.services["app"].ring = lambda: rung.append(1)
        first, second = ask(book), ask(book)
        upstream = origin.accept()
        other = book.table.slot(1, book.numbers["service/app"])
        other.add(slots.ACTIVE, 1)
        other.add(slots.PENDING, 1)
        upstream.answer()
        assert first.response().status == 200
        book.settle()
        assert upstream.is_ended_by_peer() and rung
        assert not origin.has_connection_waiting()  # ours waits, although there is room
        # The other worker takes its turn, and gives the place back.
        other.add(slots.PENDING, -1)
        other.add(slots.CONNECTIONS_ACTIVE, 1)
        book.plane.wake()
        book.settle()
        assert not origin.has_connection_waiting()
        other.add(slots.CONNECTIONS_ACTIVE, -1)
        other.add(slots.ACTIVE, -1)
        book.plane.wake()
        origin.accept().answer()
        assert second.response().status == 200


def test_a_worker_within_its_share_keeps_its_connections(origin: Origin) -> None:
    class TwoWorkers(Playbook):
        workers = 2

    with TwoWorkers(
        service("app", origin, circuit_breaker=CircuitBreaker(max_connections=4)), origins=(origin,)
    ) as book:
        first, second, third = ask(book), ask(book), ask(book)
        upstreams = [origin.accept() for _ in range(3)]
        other = book.table.slot(1, book.numbers["service/app"])
        other.add(slots.ACTIVE, 1)  # on the connection that it has; a further one would be more than its share
        other.add(slots.CONNECTIONS_ACTIVE, 1)
        other.add(slots.PENDING, 1)
        upstreams[0].answer()
        assert first.response().status == 200
        book.settle()
        assert upstreams[0].has_nothing_to_read()
        other.add(slots.PENDING, -1)
        for client, upstream in ((second, upstreams[1]), (third, upstreams[2])):
            upstream.answer()
            assert client.response().status == 200
        other.add(slots.ACTIVE, -1)
        other.add(slots.CONNECTIONS_ACTIVE, -1)
