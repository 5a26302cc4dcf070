"""Every answer of our own tells who made it and why, and the access log tells the same.

One situation for each `Failure` of proxy/http1/replies, for the answers of the configuration, and for requests that the
scanner refuses; a new failure has to get one here.
"""

from __future__ import annotations

import os
import re
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from breakers import trip
from playbook import Client, Origin, Playbook, Server, service
from raw_client import Response
from structured_fields import Member, Token, parse_list

from discovery.model import (
    AccessLog,
    DirectResponse,
    Filters,
    Limits,
    LogFormat,
    PoolPolicy,
    Redirect,
    Route,
    RouteMatch,
    Settings,
    Timeouts,
)
from discovery.policies import Abort, Access, CircuitBreaker, Delay, Fault, RateLimit, RequestPolicies, RetryPolicy
from proxy.http1 import replies
from proxy.http1.replies import Failure
from proxy.kernel.scan import ERRORS

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
FAILURES = {name: value for name, value in vars(replies).items() if isinstance(value, Failure)}
NO_BREAKER = CircuitBreaker(consecutive_errors=0, success_rate=False)
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"


class Stage:
    """A data plane with an access log, made as a situation needs it."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.stack = ExitStack()
        self.origin = Origin()
        self.stack.callback(self.origin.close)
        self.book: Playbook

    def open(
        self,
        *addresses: str,
        route: dict[str, Any] | None = None,
        settings: dict[str, Any] | None = None,
        **given: Any,
    ) -> Client:
        """`addresses`: instead of the origin. The only route goes to the service app, unless `route` says otherwise."""
        log = AccessLog(path=str(self.log), format=LogFormat.JSON)
        app = service("app", *(addresses or (self.origin,)), **{"circuit_breaker": NO_BREAKER, **given})
        self.book = self.stack.enter_context(
            Playbook(
                app,
                origins=(self.origin,),
                routes=(Route(**{"name": "all", "service": "app", **(route or {})}),),
                settings=Settings(access_log=log, instance="7th-hive", **(settings or {})),
                log=self.log,
            )
        )
        return self.book.client()

    def policies(self, **given: Any) -> dict[str, Any]:
        return {"filters": Filters(policies=RequestPolicies(**given))}

    def asked(self) -> Server:
        """The origin has the next request."""
        upstream = self.origin.accept()
        upstream.head()
        return upstream


Situation = Callable[[Stage], Response]
TOLD: dict[str, Situation] = {}


def tells(name: str) -> Callable[[Situation], Situation]:
    def note(situation: Situation) -> Situation:
        TOLD[name] = situation
        return situation

    return note


def sent(client: Client, data: bytes, to: str = "GET") -> Response:
    client.send(data)
    return client.response(to)


# --- the way to an endpoint ---------------------------------------------------------------------------------------


@tells("NO_ROUTE")
def no_route(stage: Stage) -> Response:
    client = stage.open()
    other = Route(name="other", service="app", match=RouteMatch(path="/other"))
    stage.book.apply((service("app", stage.origin),), (other,))
    return client.get()


@tells("BAD_BACKEND")
def bad_backend(stage: Stage) -> Response:
    return stage.open(route={"service": "nobody"}).get()


@tells("NO_ENDPOINT")
def no_endpoint(stage: Stage) -> Response:
    client = stage.open()
    stage.book.apply((service("app"),))
    return client.get()


@tells("BREAKER_OPEN")
def breaker_open(stage: Stage) -> Response:
    client = stage.open(circuit_breaker=CircuitBreaker())
    trip(stage.book)
    return client.get()


@tells("CONNECT_REFUSED")
def connect_refused(stage: Stage) -> Response:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return stage.open(f"127.0.0.1:{bound.getsockname()[1]}").get()


@tells("CONNECT_UNROUTABLE")
def connect_unroutable(stage: Stage) -> Response:
    # TCP has no way to a multicast address.
    return stage.open("224.0.0.1:80").get()


@contextmanager
def no_descriptors() -> Iterator[None]:
    """All numbers below the limit of open files are taken."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@tells("CONNECT_EXHAUSTED")
def connect_exhausted(stage: Stage) -> Response:
    client = stage.open()
    stage.book.apply((service("app"),))
    client.get()  # so that it has been accepted
    stage.book.apply((service("app", stage.origin),))
    with no_descriptors():
        return client.get()


@tells("CONNECT_TIMEOUT")
def connect_timeout(stage: Stage) -> Response:
    listener = stage.stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    for _ in range(4):
        waiting = stage.stack.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(listener.getsockname())
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    return stage.open(address, settings={"timeouts": Timeouts(connect=0.05)}).get()


@tells("OVERFLOW")
def overflow(stage: Stage) -> Response:
    client = stage.open(pool=PoolPolicy(max_connections=1, max_pending=0))
    stage.book.client().ask()
    stage.asked()
    return client.get()


@tells("PENDING_TIMEOUT")
def pending_timeout(stage: Stage) -> Response:
    timeouts = Timeouts(connect=0.05)
    client = stage.open(pool=PoolPolicy(max_connections=1, max_pending=1), settings={"timeouts": timeouts})
    stage.book.client().ask()
    stage.asked()
    return client.get()


@tells("TOO_MANY_REQUESTS")
def too_many_requests(stage: Stage) -> Response:
    client = stage.open(circuit_breaker=CircuitBreaker(max_requests=1))
    stage.book.client().ask()
    stage.asked()
    return client.get()


# --- what endpoints do --------------------------------------------------------------------------------------------


@tells("UPSTREAM_CLOSED")
def upstream_closed(stage: Stage) -> Response:
    client = stage.open()
    client.ask("POST")
    stage.asked().close()
    return client.response("POST")


@tells("UPSTREAM_RESET")
def upstream_reset(stage: Stage) -> Response:
    client = stage.open()
    client.ask("POST")
    stage.asked().reset()
    return client.response("POST")


@tells("UPSTREAM_PROTOCOL")
def upstream_protocol(stage: Stage) -> Response:
    client = stage.open()
    client.ask()
    stage.asked().send(b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    response = client.response()
    assert member(response).parameters["received-status"] == 101
    return response


@tells("RESPONSE_TIMEOUT")
def response_timeout(stage: Stage) -> Response:
    client = stage.open(settings={"timeouts": Timeouts(response_header=0.05)})
    client.ask()
    stage.asked()
    return client.response()


@tells("REQUEST_TIMEOUT")
def request_timeout(stage: Stage) -> Response:
    client = stage.open(route={"timeout": 0.05})
    client.ask()
    stage.asked()
    return client.response()


@tells("RETRIES_EXHAUSTED")
def retries_exhausted(stage: Stage) -> Response:
    client = stage.open(retry=RetryPolicy(retry_on=("5xx",), max_retries=3, budget_pct=0.0, budget_floor=0.0))
    client.ask()
    stage.asked().reset()
    return client.response()


# --- what clients do ----------------------------------------------------------------------------------------------


@tells("CONNECTIONS")
def connections(stage: Stage) -> Response:
    waiting = stage.open(settings={"limits": Limits(connections=1)})
    waiting.send(GET)  # one that only holds its connection would make room
    stage.asked()
    return stage.book.client().response()


@tells("SLOW_HEAD")
def slow_head(stage: Stage) -> Response:
    return sent(stage.open(settings={"timeouts": Timeouts(request_head=0.05)}), b"GET / HT")


@tells("SLOW_BODY")
def slow_body(stage: Stage) -> Response:
    client = stage.open(settings={"timeouts": Timeouts(stream_idle=0.05)})
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
    stage.asked()
    return client.response("POST")


@tells("BODY_TOO_LARGE")
def body_too_large(stage: Stage) -> Response:
    """Refused instead of the 100 that the client waits for."""
    client = stage.open(settings={"limits": Limits(body=3)})
    return sent(client, b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", "POST")


@tells("BODY_OVER_POLICY")
def body_over_policy(stage: Stage) -> Response:
    client = stage.open(route=stage.policies(max_body=3))
    return sent(client, b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", "POST")


@tells("OLD_BODY")
def old_body(stage: Stage) -> Response:
    return sent(stage.open(), b"GET / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello")


@tells("BAD_PATH")
def bad_path(stage: Stage) -> Response:
    return sent(stage.open(), b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n")


@tells("BAD_TARGET")
def bad_target(stage: Stage) -> Response:
    return sent(stage.open(), b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n")


@tells("HOST_MISMATCH")
def host_mismatch(stage: Stage) -> Response:
    return sent(stage.open(), b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n")


@tells("NO_CONNECT")
def no_connect(stage: Stage) -> Response:
    return sent(stage.open(), b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n")


@tells("LOOP")
def loop(stage: Stage) -> Response:
    return stage.open().get(headers={"Via": "1.1 7th-hive"})


# --- what is ours -------------------------------------------------------------------------------------------------


@tells("ACCESS_DENIED")
def access_denied(stage: Stage) -> Response:
    return stage.open(route=stage.policies(access=Access(deny=("127.0.0.0/8",)))).get()


@tells("RATE_LIMITED")
def rate_limited(stage: Stage) -> Response:
    client = stage.open(route={"service": "", **limited()})
    assert client.get().status == 204
    return client.get()


def limited() -> dict[str, Any]:
    policies = RequestPolicies(rate_limit=RateLimit(requests=1, per=3600.0))
    return {"filters": Filters(policies=policies, direct_response=DirectResponse(status=204))}


@tells("TOO_MANY_AT_ONCE")
def too_many_at_once(stage: Stage) -> Response:
    client = stage.open(route=stage.policies(max_concurrent=1))
    stage.book.client().ask()
    stage.asked()
    return client.get()


@tells("INTERNAL")
def internal(stage: Stage) -> Response:
    """The endpoint's side fails while the client waits."""
    client = stage.open()
    client.ask()
    stage.asked()
    (upstream,) = stage.book.upstreams()
    upstream.close()
    return client.response()


@tells("DRAINING")
def draining(stage: Stage) -> Response:
    client = stage.open()
    client.ask()
    stage.asked()
    stage.book.plane.drain(0.0, 0.0, lambda: None)
    return client.response()


@tells("abort by fault")
def aborted(stage: Stage) -> Response:
    return stage.open(route=stage.policies(fault=Fault(abort=Abort(percent=100.0, status=418)))).get()


@tells("redirect")
def redirected(stage: Stage) -> Response:
    return stage.open(route={"service": "", "filters": Filters(redirect=Redirect(host="b"))}).get()


@tells("direct_response")
def answered_directly(stage: Stage) -> Response:
    direct = DirectResponse(status=200, body="hello")
    return stage.open(route={"service": "", "filters": Filters(direct_response=direct)}).get()


@tells("malformed")
def malformed(stage: Stage) -> Response:
    return sent(stage.open(), b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")


# Not failures of the table, and what they answer: status, flag, error.
OTHERS: dict[str, tuple[int, str, str]] = {
    "abort by fault": (418, "FI", ""),
    "redirect": (302, "", ""),
    "direct_response": (200, "", ""),
    "malformed": (400, "DPE", "http_request_error"),
}

# Happens only in the middle of an answer, which is then cut.
NEVER_TOLD = {"SLOW_READER"}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    with made.stack:
        yield made


def member(response: Response) -> Member:
    """Proxy-Status, which has to be a structured field with one member: we are the only proxy here."""
    value = response.header("proxy-status")
    assert value is not None
    (only,) = parse_list(value)
    return only


def test_every_failure_has_its_situation() -> None:
    assert set(TOLD) == (set(FAILURES) | set(OTHERS)) - NEVER_TOLD


@pytest.mark.parametrize("name", TOLD)
def test_who_failed_and_why(stage: Stage, name: str) -> None:
    response = TOLD[name](stage)
    entry = stage.book.log_entries()[-1]
    failure = FAILURES.get(name)
    status, flag, error = (failure.status, failure.flag, failure.error) if failure is not None else OTHERS[name]
    said = member(response)
    assert (response.status, entry["status"]) == (status, status)
    assert said.value == "7th-hive"
    # A name that begins with a digit is no token.
    assert not isinstance(said.value, Token)
    assert said.parameters.get("error", "") == error
    assert flag in entry["flags"].split(",")
    assert said.parameters.get("hivemesh-flags", "") == entry["flags"]
    assert said.parameters["details"] == entry["flag_details"]
    assert response.header("x-request-id") == entry["request_id"] != ""
    assert said.parameters.get("hivemesh-attempts", 0) == entry["attempts"]
    assert said.parameters.get("next-hop", "") == entry.get("endpoint", "")
    assert said.parameters.get("received-status") == entry.get("upstream_status")
    if failure is not None and flag:
        assert response.text.splitlines()[0].endswith(f"({entry['flags']})")
    if failure is not None:
        assert response.text.splitlines()[1].startswith(f"request {entry['request_id']}")


def test_what_the_scanner_refuses_is_told_like_everything_else() -> None:
    """All of it takes the same way as "malformed" above; here are its details, which have to stay printable."""
    for status, detail in ERRORS.values():
        assert 400 <= status <= 505
        assert re.fullmatch(r"[ -~]+", detail)


def test_a_redirect_names_its_route(stage: Stage) -> None:
    said = member(redirected(stage))
    assert said.parameters == {"details": "redirect of route all"}


def test_an_answer_to_head_has_no_body_and_still_says_why(stage: Stage) -> None:
    client = stage.open(route={"service": "nobody"})
    client.ask("HEAD")
    response = client.response("HEAD")
    assert (response.body, member(response).parameters["hivemesh-flags"]) == (b"", "NC")


def test_a_direct_response_may_have_an_id_of_its_own(stage: Stage) -> None:
    direct = DirectResponse(status=200, headers={"X-Request-Id": "fixed"})
    client = stage.open(route={"service": "", "filters": Filters(direct_response=direct)})
    assert client.get().header("x-request-id") == "fixed"


def test_all_flags_of_a_request_are_told(stage: Stage) -> None:
    """It was delayed on purpose, and its service has no endpoint."""
    delayed = stage.policies(fault=Fault(delay=Delay(duration=0.01)))
    client = stage.open(route=delayed)
    stage.book.apply((service("app"),), (Route(name="all", service="app", **delayed),))
    assert member(client.get()).parameters["hivemesh-flags"] == "DI,UH"


# --- what cannot be told ------------------------------------------------------------------------------------------


def broken(stage: Stage, client: Client, flag: str, detail: str) -> None:
    assert client.is_ended_by_peer()
    (entry,) = stage.book.log_entries()
    assert (entry["status"], entry["upstream_status"], entry["flags"]) == (200, 200, flag)
    assert entry["flag_details"] == detail


@pytest.mark.parametrize(
    ("way", "flag", "detail"),
    [
        ("close", "UC", "the response is incomplete"),
        ("reset", "UR", "the response is incomplete"),
        ("silence", "UT", "the response stopped coming"),
        ("nonsense", "UPE", ERRORS[-23][1]),
    ],
)
def test_a_response_that_is_cut_half_way_says_why_in_the_log(stage: Stage, way: str, flag: str, detail: str) -> None:
    client = stage.open(settings={"timeouts": Timeouts(stream_idle=0.1)})
    client.ask()
    upstream = stage.asked()
    if way == "nonsense":
        upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nwhat?\r\n")
    else:
        upstream.send(HALF)
        client.read_until(b"half")
    if way == "close":
        upstream.close()
    elif way == "reset":
        upstream.reset()
    broken(stage, client, flag, detail)


def test_a_client_that_does_not_read_is_named_in_the_log(stage: Stage) -> None:
    client = stage.open(settings={"timeouts": Timeouts(stream_idle=0.1)})
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.ask()
    upstream = stage.asked()
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    with suppress(ConnectionError):  # on a slow machine the time is over before all of it is sent
        upstream.send_some(b"x" * 20_000_000)
    stage.book.until(stage.book.log_entries, "the end of the request")
    (entry,) = stage.book.log_entries()
    assert (entry["status"], entry["flags"], entry["flag_details"]) == (200, "SI", "the client stopped reading")
