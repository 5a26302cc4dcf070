"""What explain says is what happens: every question of questions.yaml is asked of the real program, with two workers,
and then sent. What became of the request is told by its decision record and by the origin that answered.

Nothing else is sent meanwhile, so a prediction also holds for strategies that move on with every request: that of the
worker which served it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import h11
import pytest
import yaml
from http_origin import HttpOrigin, _whole
from ports import free_address, split_address
from program import Hivemesh, run_hivemesh
from waiting import eventually

HERE = Path(__file__).parent
QUESTIONS: list[dict[str, Any]] = yaml.safe_load((HERE / "questions.yaml").read_text())
ORIGINS = ("o1", "o2", "o3")
DRAINED = (("drained", "o1"), ("drained-all", "o1"), ("backup", "o1"))

# What a hop writes anew for each request, so that no two are the same.
FRESH = ("traceparent",)


class Origin(HttpOrigin):
    """Answers with what it was sent; `x-hold` waits until it is released, `x-fail` is answered 503."""

    def _answer(self, request: h11.Request, body: bytes) -> list[h11.Event]:
        names = {name for name, _ in request.headers}
        if b"x-fail" in names:
            return _whole(503, b"")
        if b"x-hold" in names:
            self.released.wait(20)
        return _whole(200, json.dumps(self._seen_as(request, body)).encode(), "application/json")


class Bench:
    def __init__(self, directory: Path) -> None:
        self.origins = {name: Origin(name) for name in ORIGINS}
        self.addresses = {"front": free_address(), "domains": free_address()}
        admin = free_address()
        text = (HERE / "mesh.yaml").read_text()
        known = {"admin": admin, "log": str(directory / "access.log"), **self.addresses}
        for name, value in [*known.items(), *((name, origin.address) for name, origin in self.origins.items())]:
            text = text.replace(f"{{{name}}}", value)
        self.hive: Hivemesh = run_hivemesh(text, directory, admin)
        for service, endpoint in DRAINED:
            assert self.hive.api("POST", f"/v1/services/{service}/endpoints/{endpoint}/drain").status == 200
        self.ids = count(1)
        self.settle()

    def close(self) -> None:
        self.hive.stop()
        for origin in self.origins.values():
            origin.close()

    def settle(self) -> None:
        """Nothing is under way, and every worker decides by what is in force."""
        eventually(self.is_settled, "everything is settled")

    def is_settled(self) -> bool:
        stats = self.get("/v1/stats")
        busy = sum(each["stats"]["active_requests"] for each in stats["services"])
        versions = {worker["version"] for worker in self.get("/v1/workers")}
        return busy == 0 and len(versions) == 1

    def get(self, path: str, **parameters: str | list[str]) -> Any:
        query = f"?{urlencode(parameters, doseq=True)}" if parameters else ""
        response = self.hive.api("GET", path + query)
        assert response.status == 200, response.text  # type: ignore[attr-defined]
        return json.loads(response.text)  # type: ignore[attr-defined]

    def new_id(self) -> str:
        return f"question-{next(self.ids)}"


class Asked:
    """One question: how it is put, and how it is sent."""

    def __init__(self, question: dict[str, Any]) -> None:
        self.method, _, url = question["ask"].partition(" ")
        host, _, path = url.removeprefix("http://").partition("/")
        self.host = host or "shop.test"
        self.target = f"/{path}"
        self.headers = dict(question.get("headers", {}))
        self.client = question.get("from", "127.0.0.1")
        self.body = question.get("body", 0)
        self.listener = question.get("listener", "front")

    def explained(self, bench: Bench, id: str) -> list[dict[str, Any]]:
        answer = bench.get(
            "/v1/explain",
            method=self.method,
            url=f"http://{self.host}{self.target}",
            header=[f"{name}: {value}" for name, value in [*self.headers.items(), ("X-Request-Id", id)]],
            body_size=str(self.body),
            listener=self.listener,
            **{"from": self.client},
        )
        assert answer["problems"] == []
        return list(answer["decisions"])

    def sent(self, bench: Bench, id: str, **more: str) -> HTTPResponse:
        """The answer, read whole; its connection is closed."""
        connection = self.begun(bench, id, **more)
        try:
            response = connection.getresponse()
            response.text = response.read().decode()  # type: ignore[attr-defined]
            return response
        finally:
            connection.close()

    def begun(self, bench: Bench, id: str, **more: str) -> HTTPConnection:
        address = split_address(bench.addresses[self.listener])
        connection = HTTPConnection(*address, timeout=20, source_address=(self.client, 0))
        connection.putrequest(self.method, self.target, skip_host=True, skip_accept_encoding=True)
        for name, value in [("Host", self.host), *self.headers.items(), *more.items(), ("X-Request-Id", id)]:
            connection.putheader(name.replace("_", "-"), value)
        if self.body:
            connection.putheader("Content-Length", str(self.body))
        connection.endheaders(b"x" * self.body if self.body else None)
        return connection


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("explain"))
    try:
        yield bench
    finally:
        bench.close()


def test_there_are_enough_questions() -> None:
    assert len(QUESTIONS) >= 60


@pytest.mark.parametrize("question", QUESTIONS, ids=[f"{n}-{each['ask']}" for n, each in enumerate(QUESTIONS)])
def test_what_is_explained_is_what_happens(bench: Bench, question: dict[str, Any]) -> None:
    asked = Asked(question)
    held = prepare(bench, asked, question.get("after", ()))
    try:
        for _ in range(question.get("times", 1)):
            if held is None:
                bench.settle()
            id = bench.new_id()
            decisions = asked.explained(bench, id)
            answer = asked.sent(bench, id)
            compare(bench, question, id, decisions, answer)
    finally:
        if held is not None:
            for origin in bench.origins.values():
                origin.release()
            held.getresponse().read()
            held.close()
            for origin in bench.origins.values():
                origin.released.clear()


def prepare(bench: Bench, asked: Asked, steps: tuple[str, ...]) -> HTTPConnection | None:
    """Do what comes before the question; a connection whose request is kept open."""
    held = None
    for step in steps:
        what, _, path = step.partition(" ")
        first = Asked({"ask": f"GET {path}"})
        match what:
            case "hold":
                service = asked.explained(bench, bench.new_id())[0]["service"]
                held = first.begun(bench, bench.new_id(), x_hold="1")
                eventually(lambda: active(bench, service) == 1, "a request is held")  # noqa: B023
            case "fail":
                assert first.sent(bench, bench.new_id(), x_fail="1").status == 503
            case "get":
                cookie = first.sent(bench, bench.new_id()).headers["Set-Cookie"]
                asked.headers["cookie"] = cookie.partition(";")[0]
    return held


def active(bench: Bench, service: str) -> int:
    stats = bench.get("/v1/stats")
    return next(each["stats"]["active_requests"] for each in stats["services"] if each["service"] == service)


def compare(
    bench: Bench, question: dict[str, Any], id: str, decisions: list[dict[str, Any]], answer: HTTPResponse
) -> None:
    (record,) = bench.get(f"/v1/requests/{id}")["records"]
    decision = next(each for each in decisions if each.get("worker", 0) == record.get("worker", 0))
    for name in ("route", "rule_source", "service", "version"):
        assert decision.get(name, "") == record.get(name, ""), name
    assert decision["request_id"] == id
    flags = record.get("flags", "")
    if decision["outcome"] == "forward":
        assert record["endpoint"] == decision["endpoint"]
        seen = json.loads(answer.text)  # type: ignore[attr-defined]
        assert bench.origins[seen["origin"]].address == decision["endpoint"]
        assert sent_head(decision) == origin_head(seen)
        assert flags == decision.get("flag", "")
    else:
        assert decision["outcome"] == "answer"
        assert (answer.status, flags) == (decision["status"], decision.get("flag", ""))
        assert "endpoint" not in record
        assert record.get("flag_details", "") == decision["detail"]
    check_expected(bench, question, decisions, decision, answer, flags)


def check_expected(
    bench: Bench,
    question: dict[str, Any],
    decisions: list[dict[str, Any]],
    decision: dict[str, Any],
    answer: HTTPResponse,
    flags: str,
) -> None:
    expect = dict(question["expect"])
    endpoint = expect.pop("endpoint", None)
    if endpoint is not None:
        assert decision["endpoint"] == bench.origins[endpoint].address
    flag = expect.pop("flag", None)
    if flag is not None:
        assert flag in flags.split(",")
    status = expect.pop("status", None)
    if status is not None:
        assert answer.status == status
    for name, value in expect.items():
        assert decision[name] == value, name
    if "certain" in question:
        assert decision["balance"].get("certain", False) is question["certain"]
    if question.get("certain"):
        assert len({each["endpoint"] for each in decisions}) == 1
    if "repeatable" in question:
        assert decision["retry"].get("repeatable", False) is question["repeatable"]
        assert decision["retry"]["why"]


def sent_head(decision: dict[str, Any]) -> list[str]:
    """The request head that explain says the endpoint gets, without what is new for each request."""
    first, *fields = decision["head"]
    return [first, *sorted(line.lower() for line in fields if line.partition(":")[0].lower() not in FRESH)]


def origin_head(seen: dict[str, Any]) -> list[str]:
    """The head that the origin got."""
    fields = [f"{name}: {value}".lower() for name, value in seen["headers"] if name not in FRESH]
    return [f"{seen['method']} {seen['target']} HTTP/1.1", *sorted(fields)]
