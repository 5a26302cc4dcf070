"""Retries by policy: what is sent again, where, how often, and what the client gets when it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playbook import Client, Origin, Playbook, Server, service

from discovery.model import AccessLog, Limits, LogFormat, Route, Settings
from discovery.policies import CircuitBreaker, Delay, Fault, RequestPolicies, RetryPolicy
from proxy.stats import slots, words

MakeOrigin = Callable[[], Origin]

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nnever"
DONE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"
CONFLICT = b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n"
LIMITED = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"

# No breaker: here an endpoint may fail as often as a test wants.
NO_BREAKER = CircuitBreaker(consecutive_errors=0, success_rate=False)


def policy(*words: str, **given: Any) -> RetryPolicy:
    """Without back-off, so that a retry needs no time."""
    return RetryPolicy(retry_on=words or ("5xx",), **{"max_retries": 3, "backoff": 0.0, **given})


def is_open(server: Server) -> bool:
    return not server.ended and server.socket.fileno() >= 0


class Case:
    """A playbook with a service `app` of some origins, a retry policy and an access log."""

    def __init__(
        self, tmp_path: Path, make_origin: MakeOrigin, retry: RetryPolicy | None, origins: int = 2, **given: Any
    ) -> None:
        self.origins = tuple(make_origin() for _ in range(origins))
        route = given.pop("route", {})
        settings = Settings(
            access_log=AccessLog(path=str(tmp_path / "log"), format=LogFormat.JSON),
            limits=given.pop("limits", Limits()),
        )
        given.setdefault("circuit_breaker", NO_BREAKER)
        self.book = Playbook(
            service("app", *self.origins, retry=retry, **given),
            origins=self.origins,
            routes=(Route(name="all", service="app", **route),),
            settings=settings,
            log=tmp_path / "log",
        )
        self.taken: list[Server] = []

    def __enter__(self) -> Case:
        self.book.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.book.__exit__(*error)

    def asked(self) -> Server:
        """The connection with the next attempt, at whichever origin it comes."""

        def find() -> Server | None:
            for origin in self.origins:
                if origin.is_called():
                    self.taken.append(origin.accept())
            return next((each for each in self.taken if is_open(each) and each.receive_available()), None)

        self.book.until(find, "an attempt")
        found = find()
        assert found is not None
        return found

    def ask(self, method: str = "GET", **given: Any) -> Client:
        client = self.book.client()
        client.ask(method, **given)
        return client

    def is_quiet(self) -> bool:
        """Nothing more was asked of any origin."""
        self.book.settle()
        return not any(origin.is_called() for origin in self.origins) and not any(
            is_open(each) and each.receive_available() for each in self.taken
        )

    def entry(self) -> dict[str, Any]:
        return self.book.log_entries()[-1]

    def word(self, word: int) -> int:
        return self.book.table.shared(self.book.numbers["service/app"]).load(word)

    def denials(self) -> dict[str, int]:
        return {
            reason: count
            for place, reason in enumerate(words.RETRY_DENIAL_REASONS)
            if (count := self.word(words.RETRY_DENIALS + place))
        }


MakeCase = Callable[..., Case]


@pytest.fixture
def case(tmp_path: Path, make_origin: MakeOrigin) -> MakeCase:
    def make(retry: RetryPolicy | None, **given: Any) -> Case:
        return Case(tmp_path, make_origin, retry, **given)

    return make


# --- answers ------------------------------------------------------------------------------------------------------


def test_an_answer_that_the_policy_names_is_thrown_away_and_another_endpoint_asked(case: MakeCase) -> None:
    with case(policy("503")) as it:
        client = it.ask(target="/x")
        first = it.asked()
        assert first.answer(UNAVAILABLE).target == "/x"
        second = it.asked()
        assert second is not first
        assert second.answer(DONE).target == "/x"
        response = client.response()
        assert (response.status, response.body) == (200, b"done")
        entry = it.entry()
        assert (entry["status"], entry["attempts"], entry["flags"]) == (200, 2, "")
        assert "retry_denied" not in entry
        assert it.word(words.RETRIES) == it.word(words.RETRY_SUCCESSES) == 1
        assert it.denials() == {}
        # Each endpoint is told what it answered.
        rows = [f"endpoint/app/{id_}/{origin.address}" for id_, origin in zip("ab", it.origins, strict=True)]
        assert sorted(map(str, (it.book.codes(row) for row in rows))) == ["{200: 1}", "{503: 1}"]
        assert sum(it.book.cell(row, slots.ATTEMPT_FAILURES) for row in rows) == 1
        # A small answer was here as a whole: the connection goes on serving.
        assert first.has_nothing_to_read()


def test_without_a_policy_every_answer_is_the_clients(case: MakeCase) -> None:
    with case(None) as it:
        client = it.ask()
        it.asked().answer(UNAVAILABLE)
        assert client.response().status == 503
        assert it.is_quiet()
        assert it.denials() == {}


def test_an_answer_that_is_not_named_is_the_clients(case: MakeCase) -> None:
    with case(policy("503", "reset")) as it:
        client = it.ask()
        it.asked().answer(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
        assert client.response().status == 500
        assert it.is_quiet()
        assert it.denials() == {}


@pytest.mark.parametrize(
    ("word", "answer", "again"),
    [
        ("5xx", b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n", True),
        ("5xx", b"HTTP/1.1 599 x\r\nContent-Length: 0\r\n\r\n", True),
        ("5xx", LIMITED, False),
        ("gateway-error", b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n", False),
        ("gateway-error", b"HTTP/1.1 504 x\r\nContent-Length: 0\r\n\r\n", True),
        ("retriable-4xx", CONFLICT, True),
        ("retriable-4xx", LIMITED, False),
        ("429", LIMITED, True),
        ("envoy-ratelimited", LIMITED, False),
        ("envoy-ratelimited", LIMITED[:-2] + b"x-envoy-ratelimited: true\r\n\r\n", True),
        ("429", LIMITED[:-2] + b"x-envoy-ratelimited: true\r\n\r\n", False),
        ("retriable-headers", b"HTTP/1.1 200 OK\r\nX-Again: 1\r\nContent-Length: 0\r\n\r\n", True),
        ("retriable-headers", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        ("connect-failure", UNAVAILABLE, False),
        ("reset", UNAVAILABLE, False),
    ],
)
def test_which_answers_a_word_means(case: MakeCase, word: str, answer: bytes, again: bool) -> None:
    with case(policy(word, retriable_headers=("X-Again",))) as it:
        client = it.ask()
        it.asked().answer(answer)
        if again:
            it.asked().answer(DONE)
        response = client.response()
        assert response.status == (200 if again else int(answer.split(b" ")[1]))
        assert it.entry()["attempts"] == (2 if again else 1)


def test_an_endpoint_that_says_it_is_overloaded_is_believed(case: MakeCase) -> None:
    with case(policy("5xx")) as it:
        client = it.ask()
        it.asked().answer(b"HTTP/1.1 503 x\r\nx-envoy-overloaded: true\r\nContent-Length: 0\r\n\r\n")
        assert client.response().status == 503
        assert it.is_quiet()
        assert (it.entry()["flags"], it.entry()["retry_denied"]) == ("rd", "overloaded")
        assert it.denials() == {"overloaded": 1}


@pytest.mark.parametrize(
    ("method", "reason"),
    [("POST", "post_bytes_sent"), ("PATCH", "patch_bytes_sent"), ("LOCK", "non_idempotent_bytes_sent")],
)
def test_an_answered_request_was_processed_so_it_has_to_be_idempotent(case: MakeCase, method: str, reason: str) -> None:
    with case(policy("5xx", "409")) as it:
        client = it.ask(method, body=b"pay")
        it.asked().answer(UNAVAILABLE)
        response = client.response()
        assert (response.status, response.body) == (503, b"never")
        assert it.is_quiet()
        entry = it.entry()
        assert (entry["attempts"], entry["flags"], entry["retry_denied"]) == (1, "rd", reason)
        assert it.denials() == {reason: 1}


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "TRACE", "PUT", "DELETE", "HEAD"])
def test_every_idempotent_method_is_sent_again(case: MakeCase, method: str) -> None:
    with case(policy("5xx")) as it:
        client = it.ask(method, target="/m")
        bodiless = b"HTTP/1.1 503 x\r\nContent-Length: 7\r\n\r\n" if method == "HEAD" else UNAVAILABLE
        it.asked().answer(bodiless)
        request = it.asked().answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert (request.method, request.target) == (method, "/m")
        assert client.response(to=method).status == 200


def test_a_key_makes_a_post_idempotent_for_those_who_say_so(case: MakeCase) -> None:
    with case(policy("5xx", idempotency_key=True)) as it:
        client = it.ask("POST", body=b"pay once", headers={"Idempotency-Key": '"8e03978e"'})
        it.asked().answer(UNAVAILABLE)
        request = it.asked().answer(DONE)
        assert request.body == b"pay once"
        assert request.header("idempotency-key") == '"8e03978e"'
        assert client.response().status == 200
        # Without the key it is a POST like any other.
        client = it.ask("POST", body=b"pay once")
        it.asked().answer(UNAVAILABLE)
        assert client.response().status == 503
        assert it.is_quiet()


def test_the_key_alone_means_nothing(case: MakeCase) -> None:
    with case(policy("5xx")) as it:
        client = it.ask("POST", body=b"pay once", headers={"Idempotency-Key": '"8e03978e"'})
        it.asked().answer(UNAVAILABLE)
        assert client.response().status == 503
        assert it.is_quiet()
        assert it.denials() == {"post_bytes_sent": 1}


def test_when_retries_are_used_up_the_last_answer_is_the_clients(case: MakeCase) -> None:
    with case(policy("5xx", max_retries=2)) as it:
        client = it.ask()
        for number in range(3):
            it.asked().answer(b"HTTP/1.1 503 x\r\nContent-Length: 1\r\n\r\n%d" % number)
        response = client.response()
        assert (response.status, response.body) == (503, b"2")
        assert it.is_quiet()
        entry = it.entry()
        assert (entry["attempts"], entry["flags"], entry["retry_denied"]) == (3, "URX", "max_retries")
        assert (it.word(words.RETRIES), it.word(words.RETRY_SUCCESSES)) == (2, 0)


def test_endpoints_that_were_tried_come_last_and_the_very_last_one_only_alone(case: MakeCase) -> None:
    with case(policy("5xx", max_retries=3)) as it:
        client = it.ask()
        seen = []
        for _ in range(4):
            attempt = it.asked()
            attempt.answer(UNAVAILABLE)
            seen.append(attempt.socket.getsockname())
        assert client.response().status == 503
        assert seen[0] != seen[1] != seen[2] != seen[3]
        assert len(set(seen)) == 2


def test_a_lone_endpoint_is_asked_again(case: MakeCase) -> None:
    with case(policy("5xx"), origins=1) as it:
        client = it.ask()
        it.asked().answer(UNAVAILABLE)
        it.asked().answer(DONE)
        assert client.response().status == 200


def test_a_large_answer_is_not_waited_for(case: MakeCase) -> None:
    """It is thrown away with its connection."""
    with case(policy("5xx")) as it:
        client = it.ask()
        first = it.asked()
        first.head()
        first.send(b"HTTP/1.1 503 x\r\nContent-Length: 1000000\r\n\r\nthe beginning")
        assert first.is_ended_by_peer()
        it.asked().answer(DONE)
        assert client.response().body == b"done"
        # In step: the next request sees its own answer.
        client.ask(target="/next")
        it.asked().answer(DONE)
        assert client.response().body == b"done"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 x\r\nContent-Length: 2\r\n\r\nno",
    ],
)
def test_the_connection_of_a_complete_answer_is_used_again(case: MakeCase, answer: bytes) -> None:
    with case(policy("5xx"), origins=1) as it:
        client = it.ask()
        first = it.asked()
        first.answer(answer)
        again = it.asked()
        assert again is first
        again.answer(DONE)
        assert client.response().status == 200


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 x\r\n\r\nuntil the end",
        b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\nsmuggled",
        b"HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    ],
)
def test_a_connection_that_cannot_serve_on_is_closed(case: MakeCase, answer: bytes) -> None:
    with case(policy("5xx"), origins=1) as it:
        client = it.ask()
        first = it.asked()
        first.answer(answer)
        again = it.asked()
        assert again is not first
        again.answer(DONE)
        assert client.response().body == b"done"


def test_interim_answers_that_were_passed_on_do_not_matter(case: MakeCase) -> None:
    with case(policy("5xx")) as it:
        client = it.ask()
        first = it.asked()
        first.head()
        first.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        assert client.interim_response().status == 103
        first.send(UNAVAILABLE)
        it.asked().answer(DONE)
        assert client.response().status == 200


# --- bodies -------------------------------------------------------------------------------------------------------


def test_a_body_goes_with_every_attempt(case: MakeCase) -> None:
    body = bytes(range(256)) * 100
    with case(policy("5xx")) as it:
        client = it.ask("PUT", body=body)
        assert it.asked().answer(UNAVAILABLE).body == body
        assert it.asked().answer(UNAVAILABLE).body == body
        assert it.asked().answer(DONE).body == body
        assert client.response().status == 200


def test_an_answer_in_the_middle_of_a_body_is_followed_by_all_of_it(case: MakeCase) -> None:
    with case(policy("5xx")) as it:
        client = it.book.client()
        client.send(b"PUT /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        first = it.asked()
        first.read_until(b"first")
        first.send(UNAVAILABLE)
        # An endpoint that answers early cannot be asked again on the same connection.
        assert first.is_ended_by_peer()
        client.send(b"6\r\nsecond\r\n0\r\n\r\n")
        assert it.asked().answer(DONE).body == b"firstsecond"
        assert client.response().status == 200


@pytest.mark.parametrize("before", [False, True], ids=["after the body left", "before the body left"])
def test_above_the_limit_only_what_never_left_is_sent_again(case: MakeCase, before: bool) -> None:
    with case(policy("5xx"), limits=Limits(replay_body=1000)) as it:
        client = it.book.client()
        client.send(b"PUT /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n")
        first = it.asked()
        first.head()
        if not before:
            client.send(b"x" * 5000)
            assert len(first.read_exactly(5000)) == 5000
        first.send(UNAVAILABLE)
        if before:
            second = it.asked()
            second.head()
            second.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert client.interim_response().status == 100
            client.send(b"x" * 5000)
            assert len(second.read_exactly(5000)) == 5000
            second.send(DONE)
            assert client.response().status == 200
        else:
            assert client.response().status == 503
            assert (it.entry()["flags"], it.entry()["retry_denied"]) == ("rd", "body_not_kept")


def test_a_body_with_trailers_is_not_kept(case: MakeCase) -> None:
    with case(policy("5xx")) as it:
        client = it.book.client()
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n")
        it.asked().answer(UNAVAILABLE)
        assert client.response().status == 503
        assert it.entry()["retry_denied"] == "body_not_kept"


# --- no answer ----------------------------------------------------------------------------------------------------


def lose(server: Server, how: str) -> None:
    """Read a request, and fail in the way that `how` says."""
    server.request()
    if how == "mid head":
        server.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    if how == "no http":
        server.send(b"SSH-2.0-x\r\n\r\n")
    elif how == "reset":
        server.reset()
    else:
        server.close()


@pytest.mark.parametrize("how", ["close", "reset", "mid head", "no http"])
@pytest.mark.parametrize("word", ["reset", "5xx", "gateway-error"])
def test_an_attempt_without_an_answer_is_followed_by_another(case: MakeCase, how: str, word: str) -> None:
    with case(policy(word)) as it:
        client = it.ask()
        lose(it.asked(), how)
        it.asked().answer(DONE)
        assert client.response().status == 200
        assert it.word(words.RETRY_SUCCESSES) == 1


@pytest.mark.parametrize("how", ["close", "reset", "mid head", "no http"])
def test_a_post_without_an_answer_is_not_sent_again(case: MakeCase, how: str) -> None:
    with case(policy("5xx", "reset", "connect-failure")) as it:
        client = it.ask("POST", body=b"pay")
        lose(it.asked(), how)
        assert client.response().status == 502
        assert it.is_quiet()
        assert it.entry()["retry_denied"] == "post_bytes_sent"
        assert it.denials() == {"post_bytes_sent": 1}


def test_a_policy_that_does_not_ask_for_it_leaves_a_broken_connection_alone(case: MakeCase) -> None:
    with case(policy("503", "connect-failure")) as it:
        client = it.ask()
        lose(it.asked(), "close")
        assert client.response().status == 502
        assert it.is_quiet()
        assert (it.entry()["flags"], it.entry()["retry_denied"]) == ("UC", "fresh_connection")


def test_nothing_is_repeated_once_the_answer_has_begun(case: MakeCase) -> None:
    with case(policy("5xx")) as it:
        client = it.ask()
        first = it.asked()
        first.head()
        first.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        first.reset()
        response = client.response()
        assert not response.complete
        assert it.is_quiet()


def test_an_endpoint_that_takes_too_long_is_given_up_for_another(case: MakeCase) -> None:
    with case(policy("5xx", per_try_timeout=0.05)) as it:
        client = it.ask()
        first = it.asked()
        first.head()
        assert first.is_ended_by_peer()
        it.asked().answer(DONE)
        assert client.response().status == 200
        failures = [
            it.book.cell(f"endpoint/app/{id_}/{each.address}", slots.ATTEMPT_FAILURES)
            for id_, each in zip("ab", it.origins, strict=True)
        ]
        assert sorted(failures) == [0, 1]


def test_a_post_that_takes_too_long_is_answered(case: MakeCase) -> None:
    with case(policy("5xx", per_try_timeout=0.05)) as it:
        client = it.ask("POST", body=b"pay")
        it.asked().request()
        assert client.response().status == 504
        assert it.is_quiet()
        assert (it.entry()["flags"], it.entry()["retry_denied"]) == ("rd,UT", "post_bytes_sent")


def test_the_time_of_an_attempt_ends_with_the_head_of_its_answer(case: MakeCase) -> None:
    with case(policy("5xx", per_try_timeout=0.05)) as it:
        client = it.ask()
        upstream = it.asked()
        upstream.head()
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlo")
        wait(it, 0.15)
        upstream.send(b"ng")
        assert client.response().body == b"long"


def test_a_client_that_is_slow_with_its_body_does_not_use_up_the_time_of_the_attempt(case: MakeCase) -> None:
    with case(policy("5xx", per_try_timeout=0.1)) as it:
        client = it.book.client()
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
        upstream = it.asked()
        upstream.head()
        wait(it, 0.15)
        client.send(b"b")
        assert upstream.read_exactly(2) == b"ab"
        upstream.send(DONE)
        assert client.response().status == 200


def test_a_pause_before_the_first_attempt_is_no_part_of_it(case: MakeCase) -> None:
    slow = RequestPolicies(fault=Fault(delay=Delay(duration=0.6)))
    with case(policy("5xx", per_try_timeout=0.5), policies=slow, deadline_header=True) as it:
        client = it.ask()
        upstream = it.asked()
        request = upstream.request()
        assert 100 < int(request.header(DEADLINE) or "") <= 500
        wait(it, 0.1)
        upstream.send(DONE)
        assert client.response().status == 200
        assert it.entry()["attempts"] == 1


def wait(it: Case, seconds: float) -> None:
    end = it.book.loop.time() + seconds
    it.book.until(lambda: it.book.loop.time() >= end, "the time over")


# --- time ---------------------------------------------------------------------------------------------------------


def test_a_request_that_used_its_whole_time_is_not_sent_again(case: MakeCase) -> None:
    with case(policy("5xx", per_try_timeout=0.2), timeout=0.1) as it:
        client = it.ask()
        first = it.asked()
        first.head()
        assert client.response().status == 504
        assert it.is_quiet()
        assert it.entry()["flags"] == "UT"


def test_a_pause_that_would_end_after_the_total_is_not_begun(case: MakeCase) -> None:
    asks = b"HTTP/1.1 503 x\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"
    with case(policy("5xx"), timeout=2.0) as it:
        client = it.ask()
        it.asked().answer(asks)
        assert client.response().status == 503
        assert (it.entry()["flags"], it.entry()["retry_denied"]) == ("rd", "timeout")


def test_a_longer_pause_than_the_policy_waits_for_is_passed_on(case: MakeCase) -> None:
    asks = b"HTTP/1.1 429 x\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"
    with case(policy("429", max_retry_after=4.0)) as it:
        client = it.ask()
        it.asked().answer(asks)
        response = client.response()
        assert (response.status, response.header("retry-after")) == (429, "5")
        assert it.entry()["retry_denied"] == "retry_after"


def test_a_back_off_is_waited_for(case: MakeCase) -> None:
    with case(policy("5xx", backoff=0.5, max_backoff=0.5)) as it:
        it.book.plane.tables.draws.state = 0  # the draws of a seed are known: 0.88 comes first
        began = it.book.loop.time()
        client = it.ask()
        it.asked().answer(UNAVAILABLE)
        it.asked().answer(DONE)
        assert client.response().status == 200
        assert 0.01 < it.book.loop.time() - began < 2.0


def test_a_client_that_leaves_during_the_pause_ends_the_request(case: MakeCase) -> None:
    asks = b"HTTP/1.1 503 x\r\nRetry-After: 200\r\nContent-Length: 0\r\n\r\n"
    with case(policy("5xx"), circuit_breaker=CircuitBreaker(consecutive_errors=0, max_retries=1)) as it:
        client = it.ask()
        it.asked().answer(asks)
        it.book.until(lambda: it.book.cell("service/app", slots.RETRIES_ACTIVE) == 1, "the pause")
        client.close()
        it.book.until(lambda: not it.book.downstreams(), "the client gone")
        assert it.entry()["status"] == 499
        assert it.book.cell("service/app", slots.RETRIES_ACTIVE) == 0


def test_the_total_ends_a_pause(case: MakeCase) -> None:
    with case(policy("5xx", backoff=0.05, max_backoff=0.05, per_try_timeout=0.1), timeout=0.12) as it:
        client = it.ask()
        while client.has_nothing_to_read():
            for origin in it.origins:
                if origin.is_called():
                    origin.accept()
            it.book.serve(0.005)
        assert client.response().status == 504


# --- what a service can afford ------------------------------------------------------------------------------------


def test_without_a_budget_left_the_last_answer_is_the_clients(case: MakeCase) -> None:
    with case(policy("5xx", budget_pct=0.0, budget_floor=1.0)) as it:
        client = it.ask()
        it.asked().answer(UNAVAILABLE)  # the floor has one
        it.asked().answer(UNAVAILABLE)
        response = client.response()
        assert (response.status, response.body) == (503, b"never")
        entry = it.entry()
        assert (entry["attempts"], entry["flags"], entry["retry_denied"]) == (2, "URX", "budget")
        assert it.denials() == {"budget": 1}


def test_without_a_budget_left_and_without_an_answer_it_is_503_urx(case: MakeCase) -> None:
    with case(policy("5xx", budget_pct=0.0, budget_floor=0.0)) as it:
        client = it.ask()
        lose(it.asked(), "reset")
        response = client.response()
        assert (response.status, response.header("x-envoy-overloaded")) == (503, "true")
        assert (it.entry()["flags"], it.entry()["retry_denied"]) == ("URX,UR", "budget")


def test_a_share_of_the_requests_may_be_sent_again(case: MakeCase) -> None:
    with case(policy("5xx", budget_pct=50.0, budget_floor=0.0, max_retries=1)) as it:
        attempts = 0
        client = it.book.client()
        for _ in range(8):
            client.ask()
            while client.has_nothing_to_read():
                it.asked().answer(UNAVAILABLE)
                attempts += 1
            assert client.response().status == 503
        assert attempts == 8 + 4


def test_no_more_requests_are_sent_again_at_the_same_time_than_the_breaker_allows(case: MakeCase) -> None:
    limit = CircuitBreaker(consecutive_errors=0, success_rate=False, max_retries=1)
    with case(policy("5xx"), circuit_breaker=limit) as it:
        first = it.ask()
        it.asked().answer(UNAVAILABLE)
        again = it.asked()  # and leave it unanswered
        again.head()
        assert it.book.cell("service/app", slots.RETRIES_ACTIVE) == 1
        second = it.ask()
        it.asked().answer(UNAVAILABLE)
        assert second.response().status == 503
        assert (it.entry()["flags"], it.entry()["retry_denied"]) == ("URX", "circuit_breaker")
        retries = words.LIMIT_RESOURCES.index("retries")
        assert it.word(words.REJECTIONS + retries) == 1
        again.send(DONE)
        assert first.response().status == 200
        assert it.book.cell("service/app", slots.RETRIES_ACTIVE) == 0
        second.ask()
        it.asked().answer(UNAVAILABLE)
        it.asked().answer(DONE)
        assert second.response().status == 200


def test_an_answer_that_streams_holds_no_place_among_the_retries(case: MakeCase) -> None:
    limit = CircuitBreaker(consecutive_errors=0, success_rate=False, max_retries=1)
    with case(policy("5xx"), circuit_breaker=limit) as it:
        client = it.ask()
        it.asked().answer(UNAVAILABLE)
        stream = it.asked()
        stream.head()
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlo")
        it.book.settle()
        assert it.book.cell("service/app", slots.RETRIES_ACTIVE) == 0
        stream.send(b"ng")
        assert client.response().body == b"long"


def test_what_never_reached_an_endpoint_costs_nothing(case: MakeCase) -> None:
    with case(policy("5xx", "connect-failure", budget_pct=0.0, budget_floor=0.0), origins=3) as it:
        for origin in it.origins[:2]:
            origin.socket.close()
        client = it.book.client()
        for _ in range(4):
            client.ask("POST", body=b"pay")
            assert live(it).answer(DONE).body == b"pay"
            assert client.response().status == 200
        assert it.word(words.RETRIES) == 0
        assert it.book.cell("service/app", slots.REPLAYS) > 0
        it.origins = it.origins[2:]


def live(it: Case) -> Server:
    origin = it.origins[2]
    return origin.connections[0] if origin.connections else origin.accept()  # type: ignore[return-value]


def test_a_lone_endpoint_that_is_starting_is_connected_to_again(case: MakeCase, make_origin: MakeOrigin) -> None:
    with case(policy("connect-failure", backoff=0.02, max_backoff=0.02), origins=1) as it:
        port = it.origins[0].port
        it.origins[0].socket.close()
        client = it.ask("POST", body=b"pay")
        assert client.response().status == 502
        assert it.entry()["attempts"] == 4
        assert it.entry()["retry_denied"] == "max_retries"
        assert it.word(words.RETRIES) == 3
        assert port


# --- whose policy -------------------------------------------------------------------------------------------------


def test_a_routes_policy_is_instead_of_the_services(case: MakeCase) -> None:
    with case(policy("503"), route={"retry": policy("409")}) as it:
        client = it.ask()
        it.asked().answer(UNAVAILABLE)
        assert client.response().status == 503
        client.ask()
        it.asked().answer(CONFLICT)
        it.asked().answer(DONE)
        assert client.response().status == 200


def test_a_route_may_have_no_retries_at_all(case: MakeCase) -> None:
    with case(policy("5xx"), route={"retry": policy("5xx", max_retries=0)}) as it:
        client = it.ask()
        it.asked().answer(UNAVAILABLE)
        assert client.response().status == 503
        assert it.denials() == {}
        client.ask()
        lose(it.asked(), "close")
        assert client.response().status == 502
        assert it.denials() == {"fresh_connection": 1}


def test_a_change_of_policy_holds_for_the_next_request(case: MakeCase) -> None:
    with case(None) as it:
        client = it.ask()
        it.asked().answer(UNAVAILABLE)
        assert client.response().status == 503
        it.book.apply((service("app", *it.origins, retry=policy("5xx"), circuit_breaker=NO_BREAKER),))
        client.ask()
        it.asked().answer(UNAVAILABLE)
        it.asked().answer(DONE)
        assert client.response().status == 200


# --- the deadline -------------------------------------------------------------------------------------------------

DEADLINE = "x-envoy-expected-rq-timeout-ms"


def test_the_endpoint_is_told_how_long_it_has(case: MakeCase) -> None:
    retry = policy("5xx", per_try_timeout=1.0)
    with case(retry, timeout=5.0, deadline_header=True) as it:
        client = it.ask(headers={DEADLINE: "7"})
        first = it.asked().answer(UNAVAILABLE)
        assert 900 < int(first.header(DEADLINE) or "") <= 1000
        second = it.asked().answer(DONE)
        assert 900 < int(second.header(DEADLINE) or "") <= 1000
        assert client.response().status == 200


def test_what_is_left_of_the_whole_time_counts_too(case: MakeCase) -> None:
    with case(policy("5xx", per_try_timeout=10.0), timeout=5.0, deadline_header=True) as it:
        client = it.ask()
        request = it.asked().answer(DONE)
        assert 4000 < int(request.header(DEADLINE) or "") <= 5000
        assert client.response().status == 200


def test_without_a_limit_nothing_is_said(case: MakeCase) -> None:
    with case(None, deadline_header=True) as it:
        client = it.ask(headers={DEADLINE: "7"})
        assert it.asked().answer(DONE).header(DEADLINE) is None
        assert client.response().status == 200


@pytest.mark.parametrize(("theirs", "least", "most"), [("70", 70, 70), ("9000", 4000, 5000), ("soon", 4000, 5000)])
def test_a_trusted_proxys_deadline_counts_when_it_is_sooner(
    make_origin: MakeOrigin, theirs: str, least: int, most: int
) -> None:
    origin = make_origin()
    settings = Settings(trusted_proxies=("127.0.0.1/32",))
    app = service("app", origin, timeout=5.0, deadline_header=True)
    with Playbook(app, origins=(origin,), settings=settings) as book:
        client = book.client()
        client.ask(headers={DEADLINE: theirs})
        assert least <= int(origin.accept().answer(DONE).header(DEADLINE) or "") <= most
        assert client.response().status == 200
