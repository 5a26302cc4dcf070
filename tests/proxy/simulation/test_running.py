"""Recorded requests, decided again: what is compared, and what goes by recorded times. Decisions are made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from discovery.model import Snapshot
from mesh.capture import CaptureEnd, CaptureStart, read_capture
from mesh.decision import AffinityView, Decision, PhaseVerdict, Question, RetryView
from mesh.record import Record
from proxy.config.load import load_text
from proxy.simulation.outcomes import Outcome, outcome_of, question_of
from proxy.simulation.report import Report
from proxy.simulation.running import Simulation

FILE = """
listeners:
  - name: web
    address: 127.0.0.1:8080
    routes:
      - { name: api, match: { path_prefix: /api }, service: api,
          filters: [ { rate_limit: { requests: 1, per: 1s, key: "header:x-user" } }, { max_concurrent: 2 } ] }
      - { name: all, service: web }
services:
  api: { endpoints: [ { id: a1, address: 127.0.0.1:9001 } ], mesh: { rate_limit: { requests: 2, per: 1s, burst: 1 } } }
  web:
    load_balancing: LOAD
    endpoints:
      - { id: w1, address: 127.0.0.1:9003, version: v1 }
      - { id: w2, address: 127.0.0.1:9004, version: v1 }
    traffic_split: [ { version: v1, weight: 1 } ]
"""
START = CaptureStart(capture=1, headers=("*",))


def snapshot(load: str = "round_robin") -> Snapshot:
    loaded = load_text(FILE.replace("LOAD", load), "new.yaml", {})
    assert loaded.config is not None, loaded.problems
    return loaded.config.snapshot


def record(number: int, *, at: float = 0.0, ms: float = 1.0, **fields: object) -> Record:
    """Number `number`, which came `at` seconds after noon and took `ms`."""
    whole, rest = divmod(at, 1)
    known: dict[str, object] = {
        "ts": f"2026-11-30T12:{int(whole) // 60:02}:{int(whole) % 60:02}.{round(rest * 1e6):06}Z",
        "duration_ms": ms,
        "request_id": f"id-{number}",
        "method": "GET",
        "host": "x",
        "path": f"/{number}",
        "status": 200,
        "route": "all",
        "service": "web",
        "version": "v1",
        "endpoint": "127.0.0.1:9003",
        "attempts": 1,
        "listener": "web",
        "peer": "10.0.0.1",
    }
    return msgspec.convert({**known, **fields}, Record)


def run(
    records: Sequence[Record],
    decide: Callable[[Question], Decision],
    *,
    start: CaptureStart = START,
    load: str = "round_robin",
    seed: int = 0,
) -> Report:
    lines = [start, *records, CaptureEnd(ended="", count=len(records))]
    capture = read_capture([msgspec.json.encode(line) + b"\n" for line in lines])
    return Simulation(snapshot(load), decide, seed).run(capture)


def forward(question: Question, route: str = "all", service: str = "web", version: str = "v1") -> Decision:
    limits = (("rate_limit", "route api"), ("max_concurrent", "route api"), ("rate_limit", "service api"))
    phases = tuple(PhaseVerdict(name=name, owner=owner) for name, owner in limits if route == "api")
    return Decision(
        listener="web",
        question=question,
        outcome="forward",
        route=route,
        service=service,
        version=version,
        phases=phases,
    )


def api(question: Question) -> Decision:
    decision = forward(question, "api", "api", "")
    return msgspec.structs.replace(decision, phases=decision.phases)


def on_api(number: int, *, at: float, **fields: object) -> Record:
    known = {"route": "api", "service": "api", "version": "", "endpoint": "127.0.0.1:9001"}
    return record(number, at=at, **{**known, **fields})  # type: ignore[arg-type]


def test_what_is_decided_as_it_was_is_no_change() -> None:
    found = run([record(1), record(2)], forward)
    assert (found.requests, found.compared, found.changed, found.groups) == (2, 2, (), ())


def test_each_request_is_asked_about_as_it_came_with_its_own_id() -> None:
    asked: list[Question] = []

    def decide(question: Question) -> Decision:
        asked.append(question)
        return forward(question)

    run([record(7, method="POST", path="/a?b=1", body_bytes=3, headers=[["x-user", "u"]])], decide)
    (question,) = asked
    assert (question.method, question.host, question.target, question.body_size) == ("POST", "x", "/a?b=1", 3)
    assert (question.request_id, question.client, question.listener) == ("id-7", "10.0.0.1", "web")
    assert question.headers == (("x-user", "u"),)


@pytest.mark.parametrize(
    ("headers", "size"),
    [([], 3), ([["Content-Length", "9000"]], 9000), ([["transfer-encoding", "chunked"]], -1)],
)
def test_the_size_of_a_body_is_what_the_head_said(headers: list[list[str]], size: int) -> None:
    question = question_of(record(1, method="POST", body_bytes=3, headers=headers))
    assert (question.body_size, question.headers) == (size, ())


def test_changes_are_grouped_with_an_example_and_listed() -> None:
    def decide(question: Question) -> Decision:
        return forward(question, version="v2") if int(question.target[1:]) % 3 else forward(question, route="new")

    found = run([record(number, at=number) for number in range(1, 7)], decide)
    assert [(group.count, group.was.version, group.now.version, group.now.route) for group in found.groups] == [
        (4, "v1", "v2", "all"),
        (2, "v1", "v1", "new"),
    ]
    assert found.groups[0].example.request_id == "id-1"
    assert [each.request_id for each in found.changed] == [f"id-{number}" for number in range(1, 7)]
    assert found.seconds == 5.0


def test_answers_of_ours_are_outcomes() -> None:
    def denied(question: Question) -> Decision:
        return Decision(question=question, listener="web", route="all", outcome="answer", status=403, flag="UAEX")

    (group,) = run([record(1)], denied).groups
    assert group.now == Outcome(kind="answer", route="all", status=403, flag="UAEX")


def test_a_listener_that_is_gone_refuses() -> None:
    (group,) = run([record(1, listener="old")], forward).groups
    assert group.now == Outcome(kind="refused")


UNSENT = {"attempts": 0, "endpoint": ""}
UNROUTED = {**UNSENT, "route": "", "service": ""}


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"status": 503, "flags": "UH", **UNSENT}, "forward"),
        ({"status": 502, "flags": "UF"}, "forward"),
        ({"status": 500}, "forward"),
        ({"status": 499, "flags": "DC", **UNSENT}, "forward"),
        ({"status": 503, "flags": "UO", "flag_details": "the service has max_requests under way", **UNSENT}, "forward"),
        ({"status": 503, "flags": "UO", "flag_details": "max_concurrent (2) is reached", **UNSENT}, "answer"),
        ({"status": 503, "flags": "DI,FI", **UNSENT, "service": ""}, "answer"),
        ({"status": 302, **UNSENT, "service": ""}, "answer"),
        ({"status": 404, "flags": "NR", **UNROUTED}, "answer"),
        ({"status": 400, "flags": "DPE", **UNROUTED}, "undecided"),
        ({"status": 508, **UNROUTED}, "undecided"),
    ],
)
def test_what_a_record_says_was_decided(fields: dict[str, object], kind: str) -> None:
    assert outcome_of(record(1, **fields)).kind == kind  # type: ignore[arg-type]


def test_what_no_rule_was_asked_about_is_left_out() -> None:
    found = run([record(1), record(2, status=400, flags="DPE", **UNROUTED)], forward)  # type: ignore[arg-type]
    assert (found.requests, found.compared, found.undecided, found.changed) == (2, 1, 1, ())


def test_a_version_that_nothing_decides_is_no_change() -> None:
    assert run([record(1)], lambda question: forward(question, version="")).changed == ()


# --- by recorded times --------------------------------------------------------------------------------------------


def test_a_rate_limit_takes_by_key_and_by_recorded_times() -> None:
    users = [("a", 0.0), ("b", 0.7), ("a", 0.5), ("a", 1.5), ("b", 1.2)]
    records = [on_api(number, at=at, headers=[["x-user", user]]) for number, (user, at) in enumerate(users)]
    found = run(records, api)
    assert [each.request_id for each in found.changed] == ["id-2", "id-4"]
    assert found.groups[0].now == Outcome(kind="answer", route="api", status=429, flag="RL")
    (refused,) = found.refused
    assert (refused.owner, refused.limit, refused.requests) == ("route api", "rate_limit", 2)


def test_a_limit_of_the_service_answers_for_the_service() -> None:
    records = [on_api(number, at=0.0, ms=0.0, headers=[["x-user", str(number)]]) for number in range(4)]
    found = run(records, api)
    assert [each.now for each in found.changed] == [
        Outcome(kind="answer", route="api", service="api", status=429, flag="RL")
    ] * 2


def test_requests_at_the_same_time_go_by_recorded_durations() -> None:
    ends = [(0.0, 2000.0), (0.7, 500.0), (0.9, 10.0), (1.5, 10.0)]
    records = [on_api(number, at=at, ms=ms, headers=[["x-user", str(number)]]) for number, (at, ms) in enumerate(ends)]
    found = run(records, api)
    assert [each.request_id for each in found.changed] == ["id-2"]
    assert found.changed[0].now == Outcome(kind="answer", route="api", status=503, flag="UO")


def test_a_phase_that_answers_first_leaves_limits_alone() -> None:
    def decide(question: Question) -> Decision:
        decision = api(question)
        denied = PhaseVerdict(name="access", owner="route api", result="answer")
        return msgspec.structs.replace(
            decision, outcome="answer", status=403, flag="UAEX", phases=(denied, *decision.phases)
        )

    found = run([on_api(number, at=0.0) for number in range(5)], decide)
    assert {each.now.status for each in found.changed} == {403}
    assert found.refused == ()


# --- load ---------------------------------------------------------------------------------------------------------


def shares(found: Report) -> dict[str, tuple[int, int]]:
    return {share.endpoint: (share.was, share.now) for share in found.shares}


def test_rotation_moves_on() -> None:
    found = run([record(number, at=number) for number in range(10)], forward)
    assert shares(found) == {"127.0.0.1:9003": (10, 5), "127.0.0.1:9004": (0, 5)}


def test_busy_endpoints_get_less_where_the_strategy_looks() -> None:
    records = [record(0, at=0.0, ms=60_000.0), *(record(number, at=number) for number in range(1, 11))]
    found = run(records, forward, load="least_connections")
    assert sorted(now for _, now in shares(found).values()) == [1, 10]


def test_what_a_client_is_bound_to_is_kept() -> None:
    def decide(question: Question) -> Decision:
        bound = AffinityView(by="cookie hm", state="kept", endpoint="127.0.0.1:9004")
        return msgspec.structs.replace(forward(question), affinity=bound, endpoint="127.0.0.1:9004")

    found = run([record(number, at=number) for number in range(4)], decide)
    assert shares(found)["127.0.0.1:9004"] == (0, 4)


@pytest.mark.parametrize("load", ["random", "round_robin"])
def test_the_same_seed_gives_the_same_report(load: str) -> None:
    records = [record(number, at=number) for number in range(50)]
    assert run(records, forward, load=load, seed=3) == run(list(reversed(records)), forward, load=load, seed=3)


# --- what is said besides -----------------------------------------------------------------------------------------


def test_retries_that_could_not_be() -> None:
    def decide(question: Question) -> Decision:
        retry = RetryView(policy="2 retries", repeatable=question.method == "GET", why="POST is not idempotent")
        return msgspec.structs.replace(forward(question), retry=retry)

    found = run([record(1, retries=1), record(2, retries=1, method="POST"), record(3)], decide)
    assert (found.retried.requests, found.retried.denied) == (2, (("POST is not idempotent", 1),))


def test_headers_that_were_not_kept_are_named() -> None:
    found = run([record(1)], forward, start=CaptureStart(capture=1, headers=("via", "x-request-id")))
    assert "header x-user" in found.missing
    assert any("header x-user" in text for text in found.assumptions)
    assert run([record(1)], forward).missing == ()


def test_the_seed_and_a_capture_that_was_cut_off_are_told() -> None:
    capture = read_capture([msgspec.json.encode(CaptureStart(capture=1)) + b"\n"])
    found = Simulation(snapshot(), forward, 9).run(capture)
    assert any("seed 9" in text for text in found.assumptions)
    assert any("has no end" in text for text in found.assumptions)
