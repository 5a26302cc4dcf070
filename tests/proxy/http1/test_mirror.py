"""Copies of requests: what a shadow service gets, and that nobody else is touched by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playbook import Origin, Playbook, service

from discovery.model import (
    AccessLog,
    Filters,
    HeaderEdit,
    LogFormat,
    PoolPolicy,
    ProxyHeader,
    Route,
    Settings,
    UrlRewrite,
)
from discovery.policies import Abort, CircuitBreaker, Delay, Fault, Mirror, RequestPolicies
from proxy.http1 import mirror as driver
from proxy.stats import slots, words

MakeOrigin = Callable[[], Origin]
ROUTE = "route/web/all"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

both = pytest.mark.parametrize("where", ["route", "service"])


def mirrored(
    origin: Origin,
    shadow: Origin | str | None,
    where: str = "route",
    mirror: Mirror | None = None,
    shadow_given: dict[str, Any] | None = None,
    filters: dict[str, Any] | None = None,
    **given: Any,
) -> Playbook:
    policies = RequestPolicies(mirror=mirror or Mirror("shadow"))
    services = [service("app", origin, policies=policies if where == "service" else RequestPolicies())]
    if shadow is not None:
        services.append(service("shadow", shadow, **(shadow_given or {})))
    of_route = policies if where == "route" else RequestPolicies()
    return Playbook(
        *services,
        origins=tuple(each for each in (origin, shadow) if isinstance(each, Origin)),
        routes=(Route(name="all", service="app", filters=Filters(policies=of_route, **(filters or {}))),),
        **given,
    )


def counted(book: Playbook, where: str = "route") -> tuple[int, int]:
    """Copies sent, and copies dropped."""
    shared = book.table.shared(book.numbers[ROUTE if where == "route" else "service/app"])
    return shared.load(words.MIRRORED), shared.load(words.MIRRORS_DROPPED)


def is_idle(book: Playbook) -> bool:
    return not book.plane.mirrors.copies and not book.plane.mirrors.due and book.plane.mirrors.bytes == 0


@both
def test_a_shadow_gets_what_the_endpoint_got(make_origin: MakeOrigin, where: str) -> None:
    origin, shadow = make_origin(), make_origin()
    with mirrored(origin, shadow, where) as book:
        client = book.client()
        client.ask("POST", "/x?y=1", [("X-Own", "1"), ("X-Own", "2")], body=b"all of it", host="Shop.test:81")
        original = origin.accept().answer()
        assert client.response().body == b"ok"
        copy = shadow.accept().answer(b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops")
        assert (copy.method, copy.target, copy.body) == ("POST", "/x?y=1", b"all of it")
        assert copy.header("x-mirrored") == "1"
        assert copy.header("host") == "Shop.test:81"
        assert [field for field in copy.headers if field[0] != "x-mirrored"] == original.headers
        book.until(lambda: is_idle(book), "the copy over")
        assert counted(book, where) == (1, 0)
        # Nobody counts it but the service that got it.
        assert book.codes() == book.codes(ROUTE) == book.codes("service/app") == {200: 1}
        assert book.codes("service/shadow") == {500: 1}


def test_a_chunked_body_is_copied_as_one(make_origin: MakeOrigin) -> None:
    origin, shadow = make_origin(), make_origin()
    with mirrored(origin, shadow) as book:
        client = book.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        upstream = origin.accept()
        client.send(b"5\r\nfirst\r\n", b"6\r\n, then\r\n", b"0\r\nX-Trailer: 1\r\n\r\n")
        assert upstream.answer().body == b"first, then"
        assert client.response().status == 200
        assert shadow.accept().answer().body == b"first, then"


def test_edits_and_rewrites_of_the_route_are_in_the_copy(make_origin: MakeOrigin) -> None:
    origin, shadow = make_origin(), make_origin()
    filters = {
        "request_headers": HeaderEdit(set={"x-env": "test"}, remove=("x-secret", "x-mirrored")),
        "url_rewrite": UrlRewrite(path_prefix="/app", host="inner.test"),
    }
    with mirrored(origin, shadow, filters=filters) as book:
        client = book.client()
        client.ask(target="/x", headers={"X-Secret": "1"})
        origin.accept().answer()
        copy = shadow.accept().answer()
        assert (copy.target, copy.header("host")) == ("/app/x", "inner.test")
        assert (copy.header("x-env"), copy.header("x-secret"), copy.header("x-mirrored")) == ("test", None, "1")


def test_the_original_waits_for_nothing(make_origin: MakeOrigin) -> None:
    """A shadow that accepts and never answers, with a connection per copy."""
    origin, shadow = make_origin(), make_origin()
    with mirrored(origin, shadow) as book:
        client = book.client()
        upstream = None
        for _ in range(20):
            client.ask()
            upstream = upstream or origin.accept()
            upstream.answer()
            assert client.response().status == 200
        assert len(book.plane.mirrors.copies) == 20
        for _ in range(20):
            shadow.accept().answer()
        book.until(lambda: is_idle(book), "all copies over")
        assert counted(book) == (20, 0)


@pytest.mark.parametrize("body", ["length", "chunked", "huge"])
def test_a_body_that_is_too_long_is_not_copied(make_origin: MakeOrigin, body: str) -> None:
    origin, shadow = make_origin(), make_origin()
    with mirrored(origin, shadow, mirror=Mirror("shadow", max_body=10)) as book:
        client = book.client()
        text = b"x" * (100_000 if body == "huge" else 11)
        if body == "chunked":
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.send(b"5\r\nxxxxx\r\n6\r\nxxxxxx\r\n0\r\n\r\n")
        else:
            client.ask("POST", body=text)
        assert origin.accept().answer().body == text
        assert client.response().status == 200
        assert counted(book) == (0, 1)
        client.ask("POST", body=b"x" * 10)
        origin.connections[-1].answer()
        assert shadow.accept().answer().body == b"x" * 10


def test_a_copy_is_not_copied_again(make_origin: MakeOrigin) -> None:
    """Two services that mirror each other."""
    origin, shadow = make_origin(), make_origin()
    back = {"policies": RequestPolicies(mirror=Mirror("app"))}
    with mirrored(origin, shadow, "service", shadow_given=back) as book:
        client = book.client()
        client.ask()
        origin.accept().answer()
        assert client.response().status == 200
        shadow.accept().answer()
        book.until(lambda: is_idle(book), "the copy over")
        assert not origin.connections[-1].receive_available()
        # Nor by another instance, which it goes through.
        client.ask(headers={"X-Mirrored": "1"})
        origin.connections[-1].answer()
        assert client.response().status == 200
        assert is_idle(book)
        assert counted(book, "service") == (1, 0)


def test_route_and_service_may_both_copy(make_origin: MakeOrigin) -> None:
    origin, first, second = make_origin(), make_origin(), make_origin()
    with Playbook(
        service("app", origin, policies=RequestPolicies(mirror=Mirror("first", max_body=4))),
        service("first", first),
        service("second", second),
        origins=(origin, first, second),
        routes=(Route(name="all", service="app", filters=Filters(policies=RequestPolicies(mirror=Mirror("second")))),),
    ) as book:
        client = book.client()
        client.ask("PUT", body=b"four")
        upstream = origin.accept()
        upstream.answer()
        for shadow in (first, second):
            assert shadow.accept().answer().body == b"four"
        client.ask("PUT", body=b"fives")
        upstream.answer()
        assert client.response().status == client.response().status == 200
        assert second.connections[-1].answer().body == b"fives"
        assert counted(book, "service") == (1, 1)
        assert counted(book) == (2, 0)


def test_what_no_endpoint_has_had_is_not_copied(make_origin: MakeOrigin) -> None:
    origin, shadow = make_origin(), make_origin()
    with mirrored(origin, shadow) as book:
        book.apply(
            (
                service("app", origin, policies=RequestPolicies(fault=Fault(abort=Abort(503)))),
                service("shadow", shadow),
            ),
            book.snapshot.listeners[0].routes,
        )
        assert book.client().get().status == 503
        book.settle()
        assert counted(book) == (0, 0)
        assert not shadow.has_connection_waiting()


def test_a_request_whose_body_broke_off_is_not_copied(make_origin: MakeOrigin) -> None:
    origin, shadow = make_origin(), make_origin()
    with mirrored(origin, shadow) as book:
        client = book.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
        origin.accept()
        client.close()
        book.until(lambda: book.codes() == {499: 1}, "the client gone")
        book.settle()
        assert not shadow.has_connection_waiting()
        assert is_idle(book)


def test_an_upgrade_is_not_copied(make_origin: MakeOrigin) -> None:
    origin, shadow = make_origin(), make_origin()
    with mirrored(origin, shadow) as book:
        client = book.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        upstream = origin.accept()
        upstream.head()
        upstream.send(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert b" 101 " in client.read_until(b"\r\n\r\n")
        client.close()
        upstream.close()
        book.until(lambda: not book.downstreams(), "the relay over")
        assert not shadow.has_connection_waiting()
        assert counted(book) == (0, 0)


def test_an_upgrade_by_the_shadow_is_an_error_of_the_shadow(make_origin: MakeOrigin) -> None:
    origin, shadow = make_origin(), make_origin()
    with mirrored(origin, shadow) as book:
        client = book.client()
        client.ask()
        origin.accept().answer()
        shadow.accept().answer(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        book.until(lambda: is_idle(book), "the copy over")
        assert book.codes("service/shadow") == {502: 1}


@pytest.mark.parametrize("shadow", ["missing", "refuses", "empty"])
def test_a_shadow_that_is_not_there(origin: Origin, shadow: str) -> None:
    address = "127.0.0.1:1"  # nobody listens there
    with mirrored(origin, address if shadow == "refuses" else None) as book:
        if shadow == "empty":
            book.apply((*book.snapshot.services, service("shadow")), book.snapshot.listeners[0].routes)
        client = book.client()
        for turn in range(8):
            client.ask()
            (origin.connections[0] if turn else origin.accept()).answer()
            assert client.response().status == 200
        book.until(lambda: is_idle(book), "the copies over")
        assert sum(counted(book)) == 8
        assert shadow == "refuses" or counted(book) == (0, 8)
        assert book.codes() == book.codes("service/app") == {200: 8}


def test_a_shadow_that_comes_and_goes(make_origin: MakeOrigin) -> None:
    origin, shadow = make_origin(), make_origin()
    with mirrored(origin, None) as book:
        shadow.book = book
        routes = book.snapshot.listeners[0].routes
        app = book.snapshot.services[0]
        client = book.client()

        def ask() -> None:
            client.ask()
            (origin.connections[0] if origin.connections else origin.accept()).answer()
            assert client.response().status == 200
            book.settle()

        ask()
        assert counted(book) == (0, 1)
        book.apply((app, service("shadow", shadow)), routes)
        ask()
        side = shadow.accept()
        # It goes while a copy is under way.
        book.apply((app,), routes)
        ask()
        assert counted(book) == (1, 2)
        side.answer()
        book.until(lambda: is_idle(book), "the copy over")
        shadow.close()


def test_the_limits_of_the_shadow_hold_and_nothing_waits_for_them(make_origin: MakeOrigin) -> None:
    origin, shadow = make_origin(), make_origin()
    given = {"circuit_breaker": CircuitBreaker(max_requests=3), "pool": PoolPolicy(max_connections=2)}
    with mirrored(origin, shadow, shadow_given=given) as book:
        client = book.client()
        for turn in range(5):
            client.ask()
            (origin.connections[0] if turn else origin.accept()).answer()
            assert client.response().status == 200
            book.settle()
        assert book.cell("service/shadow", slots.PENDING) == 0
        assert counted(book) == (2, 3)
        for _ in range(2):
            shadow.accept().answer()
        book.until(lambda: is_idle(book), "the copies over")


def test_the_number_of_copies_is_bounded(make_origin: MakeOrigin, monkeypatch: pytest.MonkeyPatch) -> None:
    origin, shadow = make_origin(), make_origin()
    monkeypatch.setattr(driver, "MOST_COPIES", 3)
    with mirrored(origin, shadow) as book:
        client = book.client()
        for turn in range(5):
            client.ask()
            (origin.connections[0] if turn else origin.accept()).answer()
            assert client.response().status == 200
            book.settle()
        assert counted(book) == (3, 2)
        for _ in range(3):
            shadow.accept().answer()
        book.until(lambda: is_idle(book), "the copies over")


def test_a_shadow_that_hangs_takes_no_copies_from_another(
    make_origin: MakeOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin, hangs, works = make_origin(), make_origin(), make_origin()
    monkeypatch.setattr(driver, "MOST_COPIES", 2)
    with Playbook(
        service("app", origin, policies=RequestPolicies(mirror=Mirror("works"))),
        service("hangs", hangs),
        service("works", works),
        origins=(origin, hangs, works),
        routes=(Route(name="all", service="app", filters=Filters(policies=RequestPolicies(mirror=Mirror("hangs")))),),
    ) as book:
        client = book.client()
        for turn in range(4):
            client.ask()
            (origin.connections[0] if turn else origin.accept()).answer()
            assert client.response().status == 200
            book.settle()
            (works.connections[0] if turn else works.accept()).answer()
            book.settle()
        assert counted(book) == (2, 2)
        assert counted(book, "service") == (4, 0)
        for _ in range(2):
            hangs.accept().answer()
        book.until(lambda: is_idle(book), "the copies over")


def test_the_bytes_of_copies_are_bounded(make_origin: MakeOrigin, monkeypatch: pytest.MonkeyPatch) -> None:
    origin, shadow = make_origin(), make_origin()
    monkeypatch.setattr(driver, "MOST_BYTES", 250)
    with mirrored(origin, shadow) as book:
        client = book.client()
        for turn in range(4):
            client.ask("POST", body=b"x" * 100)
            (origin.connections[0] if turn else origin.accept()).answer()
            assert client.response().status == 200
            book.settle()
        assert counted(book) == (2, 2)
        for _ in range(2):
            shadow.accept().answer()
        book.until(lambda: is_idle(book), "the copies over")


def test_an_answer_that_never_ends_is_given_up(make_origin: MakeOrigin, monkeypatch: pytest.MonkeyPatch) -> None:
    origin, shadow = make_origin(), make_origin()
    monkeypatch.setattr(driver, "LONGEST_COPY", 200_000)
    with mirrored(origin, shadow) as book:
        client = book.client()
        client.ask()
        origin.accept().answer()
        assert client.response().status == 200
        endless, silent = shadow.accept(), None
        endless.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        client.ask()
        origin.connections[0].answer()
        silent = shadow.accept()
        assert len(book.plane.mirrors.copies) == 2
        book.until(lambda: is_idle(book), "the copies given up")
        assert endless.is_ended_by_peer()
        assert silent.request() and silent.is_ended_by_peer()
        assert book.codes("service/shadow") == {200: 1, 504: 1}


def test_a_long_answer_of_the_shadow_is_read_and_thrown_away(make_origin: MakeOrigin) -> None:
    origin, shadow = make_origin(), make_origin()
    with mirrored(origin, shadow) as book:
        client = book.client()
        client.ask()
        origin.accept().answer()
        side = shadow.accept()
        side.request()
        side.send_some(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000, 3_000_000)
        book.until(lambda: is_idle(book), "the copy over")
        assert book.cell("endpoint/shadow/a/" + shadow.address, slots.POOL_IDLE) == 1


def test_a_copy_of_a_head_request(make_origin: MakeOrigin) -> None:
    origin, shadow = make_origin(), make_origin()
    with mirrored(origin, shadow) as book:
        client = book.client()
        client.ask("HEAD")
        origin.accept().answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        assert client.response(to="HEAD").status == 200
        shadow.accept().answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        book.until(lambda: is_idle(book), "the copy over")


def test_the_heads_of_pipelined_requests_stay_apart(make_origin: MakeOrigin) -> None:
    """A head is used again for the next request, unless a copy has it."""
    origin, shadow = make_origin(), make_origin()
    with mirrored(origin, shadow) as book:
        client = book.client()
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(10)))
        upstream = origin.accept()
        for number in range(10):
            assert upstream.answer().target == f"/{number}"
            assert client.response().status == 200
        assert [shadow.accept().answer().target for _ in range(10)] == [f"/{number}" for number in range(10)]


def test_copies_have_no_line_in_the_access_log(make_origin: MakeOrigin, tmp_path: Path) -> None:
    origin, shadow = make_origin(), make_origin()
    log = tmp_path / "log"
    settings = Settings(access_log=AccessLog(path=str(log), format=LogFormat.JSON))
    with mirrored(origin, shadow, settings=settings, log=log) as book:
        client = book.client()
        client.ask()
        origin.accept().answer()
        shadow.accept().answer()
        book.until(lambda: is_idle(book), "the copy over")
        assert [entry["service"] for entry in book.log_entries()] == ["app"]


def test_a_fault_of_the_shadow_service_is_not_for_copies(make_origin: MakeOrigin) -> None:
    origin, shadow = make_origin(), make_origin()
    fault = Fault(delay=Delay(3600.0), abort=Abort(503))
    with mirrored(origin, shadow, shadow_given={"policies": RequestPolicies(fault=fault)}) as book:
        client = book.client()
        client.ask()
        origin.accept().answer()
        shadow.accept().answer()
        book.until(lambda: is_idle(book), "the copy over")


def test_a_policy_of_the_shadow_service_that_refuses_drops_the_copy(make_origin: MakeOrigin) -> None:
    origin, shadow = make_origin(), make_origin()
    given = {"policies": RequestPolicies(max_concurrent=1)}
    with mirrored(origin, shadow, shadow_given=given) as book:
        client = book.client()
        for turn in range(2):
            client.ask()
            (origin.connections[0] if turn else origin.accept()).answer()
            assert client.response().status == 200
            book.settle()
        assert counted(book) == (1, 1)
        shadow.accept().answer()
        book.until(lambda: is_idle(book), "the copy over")


def test_a_draining_worker_copies_no_more(make_origin: MakeOrigin) -> None:
    origin, shadow = make_origin(), make_origin()
    with mirrored(origin, shadow) as book:
        done: list[bool] = []
        client = book.client()
        client.ask()
        upstream = origin.accept()
        upstream.answer()
        assert client.response().status == 200
        side = shadow.accept()
        client.ask()
        book.settle()
        book.plane.drain(10.0, 10.0, lambda: done.append(True))
        upstream.answer()
        assert client.response().status == 200
        # The copy that is still under way holds nobody up.
        book.until(lambda: done, "drained")
        assert len(book.plane.mirrors.copies) == 1
        assert counted(book) == (1, 1)
        side.answer()
        book.until(lambda: is_idle(book), "the copy over")


def test_a_shadow_that_wants_to_know_the_client(make_origin: MakeOrigin) -> None:
    origin, shadow = make_origin(), make_origin()
    with mirrored(origin, shadow, shadow_given={"proxy_protocol": ProxyHeader.V1}) as book:
        client = book.client()
        client.ask()
        origin.accept().answer()
        side = shadow.accept()
        line = side.read_until(b"\r\n").decode().split()
        host, port = client.socket.getsockname()
        assert (line[2], line[4]) == (host, str(port))
        side.answer()
