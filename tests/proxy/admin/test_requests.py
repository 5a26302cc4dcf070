"""/v1/requests: what the workers have kept of requests that are over."""

from __future__ import annotations

import json

import pytest
from admin_server import AdminServer
from fake_agent import FakeAgent

from mesh.record import Record
from proxy.admin.view import Recorded

LATER = Record(ts="2026-05-01T10:00:01.000Z", request_id="b", status=200, kept="sample", worker=1)
EARLIER = Record(ts="2026-05-01T10:00:00.000Z", request_id="a", status=503, flags="UH", kept="error")


def test_the_records_of_a_request() -> None:
    agent = FakeAgent(recorded=Recorded(records=(EARLIER,), problems=("worker 1 did not answer in time",)))
    with AdminServer(agent) as server:
        reply = server.request("GET", "/v1/requests/id%2Fwith%20odd")
    assert reply.status == 200
    assert json.loads(reply.body) == {
        "records": [
            {"ts": EARLIER.ts, "request_id": "a", "status": 503, "flags": "UH", "kept": "error"},
        ],
        "problems": ["worker 1 did not answer in time"],
    }
    assert agent.searches == ["id/with odd"]


def test_what_is_hidden_from_those_who_look_is_hidden_here() -> None:
    record = Record(ts=EARLIER.ts, request_id="a", path="/a?token=7")
    with AdminServer(FakeAgent(recorded=Recorded(records=(record,)))) as server:
        shown = [server.get(path).json["records"][0]["path"] for path in ("/v1/requests", "/v1/requests/a")]
        assert shown == ["/a?token=(redacted)"] * 2
        assert server.get("/v1/requests/a?open=true").json["records"][0]["path"] == "/a?token=7"
        elsewhere = server.request("GET", "/v1/requests/a?open=true", {"Sec-Fetch-Site": "cross-site"})
        assert elsewhere.status == 403


@pytest.mark.parametrize(
    ("recorded", "detail"),
    [
        (Recorded(), "no record of request 'x': the workers keep none"),
        (
            Recorded(kept=812, since="2026-05-01T10:00:00.000Z"),
            "no record of request 'x': the workers keep 812 of those that ended since 2026-05-01T10:00:00.000Z",
        ),
        (
            Recorded(problems=("worker 0 did not answer in time",)),
            "no record of request 'x': the workers keep none; worker 0 did not answer in time",
        ),
    ],
)
def test_a_request_that_nobody_has(recorded: Recorded, detail: str) -> None:
    with AdminServer(FakeAgent(recorded=recorded)) as server:
        reply = server.request("GET", "/v1/requests/x")
    assert reply.status == 404
    answer = json.loads(reply.body)
    assert (answer["type"], answer["detail"]) == ("urn:hivemesh:problem:not-found", detail)


def test_the_newest() -> None:
    agent = FakeAgent(recorded=Recorded(records=(LATER, EARLIER)))
    with AdminServer(agent) as server:
        for query in ("", "?errors", "?errors=true&count=200", "?count=1"):
            reply = server.request("GET", f"/v1/requests{query}")
            assert reply.status == 200
            assert [record["request_id"] for record in json.loads(reply.body)["records"]] == ["b", "a"]
    assert agent.searches == ["newest 20", "newest 20 errors", "newest 200 errors", "newest 1"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/requests?count=0", "count"),
        ("/v1/requests?count=201", "count"),
        ("/v1/requests?count=many", "count"),
        ("/v1/requests?errors=perhaps", "errors"),
        ("/v1/requests?error=true", "error"),
        ("/v1/requests/x?count=1", "count"),
    ],
)
def test_what_may_not_be_asked(path: str, field: str) -> None:
    with AdminServer(FakeAgent()) as server:
        reply = server.request("GET", path)
    assert reply.status == 422
    assert json.loads(reply.body)["field"] == field
