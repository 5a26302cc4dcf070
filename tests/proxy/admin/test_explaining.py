"""GET /v1/explain: how a question comes in, and what goes out beside what the workers say."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from admin_server import AdminServer
from fake_agent import FakeAgent

from mesh.decision import Decision, EndpointReport, Question
from proxy.admin.view import Asked


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent(said=Asked(decisions=(Decision(worker=0, service="web"), Decision(worker=1, service="web"))))


@pytest.fixture
def server(agent: FakeAgent) -> Iterator[AdminServer]:
    with AdminServer(agent) as server:
        yield server


def explain(server: AdminServer, **parameters: str | list[str]) -> tuple[int, dict[str, object]]:
    reply = server.get(f"/v1/explain?{urlencode(parameters, doseq=True)}")
    return reply.status, reply.json


def test_a_question_with_everything(agent: FakeAgent, server: AdminServer) -> None:
    status, _ = explain(
        server,
        method="POST",
        url="http://shop.test/a?b=1",
        header=["X-One: 1", "X-One: 2"],
        body_size="-1",
        listener="front",
        id="abc",
        routes="0",
        endpoints="3",
        **{"from": "10.0.0.9"},
    )
    assert status == 200
    assert agent.questions == [
        Question(
            method="POST",
            host="shop.test",
            target="/a?b=1",
            headers=(("X-One", "1"), ("X-One", "2")),
            client="10.0.0.9",
            body_size=-1,
            listener="front",
            request_id="abc",
            most_routes=0,
            most_endpoints=3,
        )
    ]


def test_what_is_left_out_is_a_get_from_this_machine(agent: FakeAgent, server: AdminServer) -> None:
    assert explain(server, url="/a")[0] == 200
    asked = agent.questions[0]
    assert asked == Question(target="/a", listener="front", request_id=asked.request_id)


def test_workers_are_asked_about_one_new_request_id(agent: FakeAgent, server: AdminServer) -> None:
    """Each would make up its own otherwise, and draw another version by it."""
    for _ in range(2):
        assert explain(server, url="/a")[0] == 200
    first, second = (question.request_id for question in agent.questions)
    assert len(first) == 36
    assert first != second


def test_every_decision_has_all_its_fields(server: AdminServer) -> None:
    _, answer = explain(server, url="/a")
    decisions = answer["decisions"]
    assert isinstance(decisions, list)
    assert [each["worker"] for each in decisions] == [0, 1]
    assert set(decisions[0]) == set(Decision.__struct_fields__)
    assert answer["problems"] == []


def test_the_registry_says_why_an_endpoint_has_its_state(agent: FakeAgent, server: AdminServer) -> None:
    service = agent.snapshot.services[0]
    endpoint = service.endpoints[0]
    reports = (
        EndpointReport(id=endpoint.id, address=endpoint.address, state="draining", usable=False),
        EndpointReport(id=endpoint.id, address=endpoint.address, state="ejected", usable=False, detail="for 3 s"),
    )
    agent.said = Asked(decisions=(Decision(service=service.name, endpoints=reports),))
    assert server.post(f"/v1/services/{service.name}/endpoints/{endpoint.id}/drain").status == 200
    _, answer = explain(server, url="/a")
    told = [each["detail"] for each in answer["decisions"][0]["endpoints"]]  # type: ignore[index]
    assert told[1] == "for 3 s"
    assert told[0]


@pytest.mark.parametrize(
    ("parameters", "detail"),
    [
        ({}, "url: is missing, expected http://HOST/PATH or /PATH"),
        ({"url": "/a", "header": "no colon"}, "header: 'no colon' has no colon, expected Name: value"),
        ({"url": "/a", "body_size": "-2"}, "body_size: '-2' is not expected, expected a number from -1"),
        ({"url": "/a", "body_size": "much"}, "body_size: 'much' is not expected, expected a number from -1"),
        ({"url": "/a", "listener": "back"}, "listener 'back' is none, expected one of front"),
        ({"url": "/a", "from": "nobody"}, "'nobody' is not an IP address"),
        ({"url": "/a", "method": "GE T"}, "GE T"),
        ({"url": "/a", "verbose": "1"}, "verbose: unknown parameter, expected method, url"),
    ],
)
def test_a_wrong_question_says_what_is_wrong(server: AdminServer, parameters: dict[str, str], detail: str) -> None:
    status, answer = explain(server, **parameters)
    assert status in (400, 422)
    assert detail in str(answer["detail"])


def test_without_a_worker_there_is_no_answer(agent: FakeAgent, server: AdminServer) -> None:
    agent.said = Asked(problems=("worker 0 did not answer in time",))
    status, answer = explain(server, url="/a")
    assert (status, answer["detail"]) == (503, "worker 0 did not answer in time")
    agent.said = Asked()
    assert explain(server, url="/a")[1]["detail"] == "no worker is in service"
