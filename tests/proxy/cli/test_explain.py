"""`hivemesh explain` against an agent that answers what the test says: what is asked, what is printed, exit codes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import decisions
import msgspec
import pytest
from msgspec.structs import replace

from mesh.decision import Decision
from mesh.retry import DENIALS
from proxy.cli.main import cli
from proxy.cli.timeline import cells_of, parts_of
from proxy.http1 import flags, replies


class Agent:
    """Answers GET by path; `asked` are the queries in order."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[list[tuple[str, str]]] = []
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                agent.asked.append(parse_qsl(parts.query))
                status, answer = agent.answers.get(parts.path, (404, {"detail": f"there is nothing at {parts.path}"}))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(msgspec.json.encode(answer))

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def explains(self, *found: Any, problems: tuple[str, ...] = ()) -> None:
        self.answers["/v1/explain"] = (200, {"decisions": found, "problems": problems})

    def remembers(self, *found: Any) -> None:
        self.answers[f"/v1/requests/{decisions.ID}"] = (200, {"records": found})


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    made = Agent()
    monkeypatch.setenv("HIVEMESH_ADMIN", made.url)
    monkeypatch.setenv("COLUMNS", "80")
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def command(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert cli(["explain", *arguments]) == code
        captured = capsys.readouterr()
        return captured.out or captured.err

    return command


# --- what is asked -------------------------------------------------------------------------------------------------


def test_the_question_as_parameters(run: Any, agent: Agent) -> None:
    agent.explains(decisions.forwarded())
    run(
        *("POST", "http://shop.local/a b?x=1&y=%20", "-H", "X-A: 1:2", "-H", "x-a:", "--from", "10.0.0.7", "--all"),
        *("--body-size", "-1", "--listener", "web", "--id", decisions.ID),
    )
    assert sorted(agent.asked[0]) == sorted(
        [
            ("method", "POST"),
            ("url", "http://shop.local/a b?x=1&y=%20"),
            ("header", "X-A: 1:2"),
            ("header", "x-a: "),
            ("from", "10.0.0.7"),
            ("listener", "web"),
            ("id", decisions.ID),
            ("body_size", "-1"),
            ("routes", "0"),
            ("endpoints", "0"),
        ]
    )


def test_the_method_may_be_left_out(run: Any, agent: Agent) -> None:
    agent.explains(decisions.forwarded())
    run("/x")
    assert agent.asked == [[("method", "GET"), ("url", "/x")]]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "expected METHOD and URL"),
        (("GET", "/a", "/b"), "expected METHOD and URL"),
        (("/", "-H", "no colon"), "'no colon' is not a header field, expected 'NAME: VALUE'"),
        (("/", "-H", ": x"), "': x' is not a header field"),
        (("/", "--body-size", "-2"), "body-size"),
        (("/", "--request-id", "x"), "--request-id explains a past request"),
        (("--from", "10.0.0.1", "--request-id", "x"), "--request-id explains a past request"),
    ],
)
def test_wrong_usage(run: Any, agent: Agent, arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in run(*arguments, code=2)
    assert agent.asked == []


def test_what_the_agent_refuses_is_one_sentence(run: Any, agent: Agent) -> None:
    agent.answers["/v1/explain"] = (400, {"detail": "'x' is not an address", "status": 400})
    assert run("GET", "/", "--from", "x", code=1) == "hivemesh: 'x' is not an address\n"


def test_nobody_is_there(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIVEMESH_ADMIN", "unix:/nowhere.sock")
    assert "cannot reach the agent" in run("GET", "/", code=3)


@pytest.mark.parametrize("answer", [{}, [], {"decisions": [{"worker": "x"}]}, {"decisions": 3}])
def test_an_answer_of_another_form(run: Any, agent: Agent, answer: Any) -> None:
    agent.answers["/v1/explain"] = (200, answer)
    assert "answers in another form" in run("GET", "/", code=3)


def test_no_worker_has_answered(run: Any, agent: Agent) -> None:
    agent.explains(problems=("worker 0 did not answer in time",))
    assert run("GET", "/", code=1) == "hivemesh: worker 0 did not answer in time\n"


# --- what is printed -----------------------------------------------------------------------------------------------


def test_the_workers_in_order(run: Any, agent: Agent) -> None:
    one = decisions.forwarded()
    agent.explains(replace(one, worker=1, endpoint="10.0.0.4:80"), one)
    out = run("GET", "/")
    assert out.startswith("POST shop.local/api/v2/items?q=1 → web v2 at 10.0.0.3:80 or 10.0.0.4:80\n")
    assert "worker 1  →  web v2 at 10.0.0.4:80" in out
    assert max(map(len, out.splitlines())) <= 80


def test_an_answer_of_ours_is_an_answer(run: Any, agent: Agent) -> None:
    agent.explains(decisions.unrouted())
    assert "404 Not Found" in run("GET", "http://other.local/x", code=0)


@pytest.mark.parametrize("decision", [decisions.forwarded(), decisions.unrouted(), decisions.limited()])
def test_json_is_the_answer_of_the_api(run: Any, agent: Agent, decision: Any) -> None:
    agent.explains(decision, problems=("p",))
    answer = json.loads(run("GET", "/", "--json"))
    assert answer["problems"] == ["p"]
    assert [msgspec.convert(each, type(decision)) for each in answer["decisions"]] == [decision]


# --- by a file -----------------------------------------------------------------------------------------------------

SHOP = """
trusted_proxies: [ 10.0.0.0/8 ]
listeners:
  - name: web
    address: 127.0.0.1:8080
    routes:
      - name: old
        match: { host: old.local }
        filters: [ { redirect: { host: shop.local, status: 301 } } ]
      - name: limited
        match: { host: shop.local, path_prefix: /limited }
        service: web
        filters: [ { rate_limit: { requests: 5, per: 1s } }, { max_body: 10 } ]
      - name: api
        match: { host: shop.local, path_prefix: /api, methods: [ GET, POST ] }
        service: api
        filters: [ { request_headers: { set: { x-env: demo }, remove: [ x-debug ] } } ]
services:
  web: { endpoints: [ { id: w1, address: 127.0.0.1:9001 } ] }
  api:
    traffic_split: [ { version: v1, weight: 80 }, { version: v2, weight: 20 } ]
    endpoints:
      - { id: a1, address: 127.0.0.1:9011, version: v1 }
      - { id: a2, address: 127.0.0.1:9012, version: v2 }
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP)
    return str(file)


def test_a_file_decides_alone(run: Any, shop: str) -> None:
    out = run("-c", shop, "POST", "http://shop.local/api//x?q=1", "-H", "X-Debug: 1", "--body-size", "7", "--id", "one")
    first, second = out.splitlines()[:2]
    assert first.startswith("POST shop.local/api/x?q=1 → api v")
    assert second.startswith("by ")
    assert "every endpoint is taken for healthy and idle" in " ".join(out.split())
    assert "/api/x?q=1, normalised from /api//x?q=1" in out
    assert re.search(r"→  api +wins +shop\.yaml:14", out)
    assert re.search(r"old +host: shop\.local is not old\.local +shop\.yaml:7", out)
    assert "+ x-env: demo" in out
    assert "- X-Debug: 1" in out
    assert "not sent again once an endpoint may have got it" in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_same_id_draws_the_same(run: Any, shop: str) -> None:
    def draw(identity: str) -> tuple[float, str]:
        answer = json.loads(run("-c", shop, "http://shop.local/api", "--id", identity, "--json"))
        [decision] = answer["decisions"]
        return decision["splits"][0]["number"], decision["version"]

    drawn = [draw(f"id-{n}") for n in range(8)]
    assert drawn == [draw(f"id-{n}") for n in range(8)]
    assert all(version == ("v1" if number < 0.8 else "v2") for number, version in drawn)


@pytest.mark.parametrize(
    ("arguments", "outcome", "sentence"),
    [
        (("http://none.local/",), "404 Not Found (NR)", "no route of listener web takes it"),
        (("http://old.local/x",), "301 Moved Permanently", "http://shop.local/x"),
        (("POST", "http://shop.local/limited", "--body-size", "11"), "413 ", "max_body of route limited"),
        (("http://shop.local/limited",), "web at 127.0.0.1:9001", "route limited"),
        (("http://shop.local/a%2Fb",), "400 Bad Request (DPE)", "before any route was asked"),
    ],
)
def test_stories_that_end_elsewhere(
    run: Any, shop: str, arguments: tuple[str, ...], outcome: str, sentence: str
) -> None:
    out = run("-c", shop, *arguments)
    assert outcome in out.splitlines()[0]
    assert sentence in " ".join(out.split())


def test_a_file_that_is_no_configuration_is_refused_as_check_does(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text("listeners: 7\n")
    answer = json.loads(run("-c", str(file), "/api", "--json", code=1))
    assert answer["ok"] is False
    assert [problem["key"] for problem in answer["problems"]] == ["listeners"]
    assert f"{file}:1:12: listeners: " in run("-c", str(file), "/api", code=1)


def test_json_of_a_file_is_of_the_same_form(run: Any, shop: str) -> None:
    answer = json.loads(run("-c", shop, "/api", "-H", "Host: shop.local", "--json", "--all"))
    assert answer["problems"] == []
    [decision] = [msgspec.convert(each, Decision) for each in answer["decisions"]]
    assert decision.question.most_routes == decision.question.most_endpoints == 0
    assert (decision.route, decision.client, decision.hidden) == ("api", "127.0.0.1", ())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("/", "--from", "x"), "x"),
        (("nonsense",), "nonsense"),
        (("GE T", "/"), "GE T"),
        (("/", "--listener", "none"), "listener 'none' is none, expected one of web (127.0.0.1:8080)"),
        (("/", "-H", "a b: c"), "a b"),
        (("/", "-H", "x: a\nb"), "x"),
        (("/", "-H", "Content-Length: 3"), "Content-Length is not expected"),
        (("/", "--id", "two words"), "'two words' is not a request id"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(run: Any, shop: str, arguments: tuple[str, ...], sentence: str) -> None:
    out = run("-c", shop, *arguments, code=1)
    assert out.startswith("hivemesh: ")
    assert sentence in out
    assert len(out.splitlines()) == 1


def test_problems_of_the_file_are_printed_as_check_does(run: Any, shop: str, capsys: Any) -> None:
    Path(shop).write_text(SHOP.replace("rate_limit", "rate_limt"))
    out = run("-c", shop, "/", code=1)
    assert cli(["check", shop]) == 1
    assert out == capsys.readouterr().out
    assert "shop.yaml:13:" in out


def test_a_file_that_is_not_there(run: Any, tmp_path: Path) -> None:
    assert "none.yaml" in run("-c", str(tmp_path / "none.yaml"), "/", code=1)


# --- a past request ------------------------------------------------------------------------------------------------


def test_a_past_request_and_what_would_become_of_it_now(run: Any, agent: Agent) -> None:
    agent.remembers(replace(decisions.failed(), headers=(("X-User", "7"),)))
    agent.explains(decisions.forwarded())
    out = run("--request-id", decisions.ID)
    assert "504 Gateway Timeout" in out
    assert "The configuration is still the same." in out
    assert "web v2 at 10.0.0.3:80" in out
    assert agent.asked[1] == [
        ("method", "POST"),
        ("url", "http://shop.local/api/v2/items?q=1"),
        ("header", "X-User: 7"),
        ("from", "10.0.0.7"),
        ("listener", "web"),
        ("id", decisions.ID),
        ("body_size", "2048"),
    ]


def test_a_past_request_under_a_configuration_that_is_gone(run: Any, agent: Agent) -> None:
    agent.remembers(replace(decisions.failed(), config_version=5))
    agent.explains(decisions.forwarded(), replace(decisions.forwarded(), worker=1))
    out = run("--request-id", decisions.ID)
    assert "The configuration has changed since: version 5 decided it, 7 is in force now." in out
    assert "web v2 at 10.0.0.3:80" not in out


def test_a_past_request_that_cannot_be_asked_again(run: Any, agent: Agent) -> None:
    agent.remembers(decisions.failed())
    agent.answers["/v1/explain"] = (400, {"detail": "there is no listener called web", "status": 400})
    assert "It cannot be asked again: there is no listener called web." in run("--request-id", decisions.ID)


def test_a_request_that_nobody_remembers(run: Any, agent: Agent) -> None:
    agent.answers["/v1/requests/x"] = (404, {"detail": "no worker remembers a request x", "status": 404})
    assert run("--request-id", "x", code=1) == "hivemesh: no worker remembers a request x\n"


def test_a_record_as_json(run: Any, agent: Agent) -> None:
    agent.remembers(decisions.failed())
    answer = json.loads(run("--request-id", decisions.ID, "--json"))
    assert [msgspec.convert(each, type(decisions.failed())) for each in answer["records"]] == [decisions.failed()]
    assert len(agent.asked) == 1


# --- words and lines of time ---------------------------------------------------------------------------------------


def test_every_flag_of_an_answer_and_every_denial_has_words() -> None:
    answered = {value.flag for value in vars(replies).values() if isinstance(value, replies.Failure)}
    assert answered - {""} <= set(flags.FLAGS)
    assert set(flags.DENIALS) == set(DENIALS)
    assert flags.flag_in_words("XX") == "a flag that this version does not know"


def test_the_phases_sum_up_to_the_whole() -> None:
    record = decisions.failed()
    assert sum(part.took for part in parts_of(record)) == pytest.approx(record.t_total)


@pytest.mark.parametrize(
    ("sizes", "cells"),
    [
        ([50.0, 50.0], [10, 10]),
        ([1.0, 999.0], [1, 19]),
        ([0.0, 5.0, 0.0], [0, 20, 0]),
        ([0.0, 0.0], [0, 0]),
        ([3.0] * 6 + [0.1] * 5, [2, 2, 2, 3, 3, 3, 1, 1, 1, 1, 1]),
    ],
)
def test_cells_are_to_scale_and_none_is_lost(sizes: list[float], cells: list[int]) -> None:
    assert cells_of(sizes, 20) == cells
    assert sum(cells_of([1.0] * 100, 20)) == 20
