from __future__ import annotations

import asyncio
import gzip
import re
import socket
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from admin_server import AdminServer, Reply
from fake_agent import FakeAgent

from discovery.model import Position
from mesh.breaker import CLOSED, HALF_OPEN, OPEN
from proxy.admin.view import ReloadResult, WorkerStatus
from proxy.config.load import load_text
from proxy.config.problems import Problem
from proxy.stats import slots
from proxy.stats.words import EPOCH_WORD, RECOVERED_WORD

ENDPOINT = slots.endpoint_key("api", "api-1", "127.0.0.1:9001")


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
def server(agent: FakeAgent) -> Iterator[AdminServer]:
    with AdminServer(agent) as running:
        yield running


def raw(server: AdminServer, request: bytes) -> bytes:
    """What comes back for exactly these bytes."""
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall(request)
        answer = b""
        while data := sock.recv(65536):
            answer += data
    return answer


def assert_problem(reply: Reply, status: int) -> str:
    assert reply.status == status
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json["status"] == status
    return str(reply.json["detail"])


# --- what is no request ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_head",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000,
        b"PUT / HTTP/1.1\r\nX\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_and_not_logged(
    server: AdminServer, caplog: pytest.LogCaptureFixture, request_head: bytes
) -> None:
    assert b" 400 Bad Request" in raw(server, request_head + b"\r\n\r\n")
    assert caplog.text == ""


def test_a_body_that_is_not_as_its_headers_say_is_no_fault_of_ours(
    server: AdminServer, capsys: pytest.CaptureFixture[str]
) -> None:
    head = b"PUT /v1/services/api/domain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = raw(server, head + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde")
    assert answer.startswith(b"HTTP/1.1 400 ") and b"does not come as its headers say" in answer
    assert capsys.readouterr().err == ""


# --- probes and metrics -----------------------------------------------------------------------------------------


def test_live_as_long_as_it_answers(server: AdminServer, agent: FakeAgent) -> None:
    agent.ready = False
    assert server.get("/livez").status == 200


def test_ready_when_the_agent_says_so(server: AdminServer) -> None:
    assert server.get("/readyz").status == 200


def test_not_ready_while_workers_start_or_while_draining(server: AdminServer, agent: FakeAgent) -> None:
    agent.ready = False
    agent.states = (
        WorkerStatus(worker=0, pid=1, version=7, state="ready"),
        WorkerStatus(worker=1, pid=2, version=0, state="starting"),
    )
    assert assert_problem(server.get("/readyz"), 503) == "starting: 1 of 2 workers ready"
    agent.ready = True
    agent.draining = True
    assert assert_problem(server.get("/readyz"), 503) == "draining"


def test_metrics_are_served_in_the_format_that_was_asked_for(server: AdminServer, agent: FakeAgent) -> None:
    agent.row("listener/front").count_request(200, 1000, 1, 2)
    text = server.get("/metrics")
    assert text.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b'hivemesh_downstream_requests_total{code="200",listener="front"} 1.0\n' in text.body
    openmetrics = server.get("/metrics", Accept="application/openmetrics-text; version=1.0.0,text/plain;q=0.5")
    assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert openmetrics.body.endswith(b"# EOF\n")


def test_metrics_are_compressed_for_those_who_take_it(server: AdminServer) -> None:
    reply = server.get("/metrics", Accept_Encoding="gzip")
    assert reply.headers["Content-Encoding"] == "gzip"
    assert b"hivemesh_build_info" in gzip.decompress(reply.body)


def test_scrapers_that_come_together_share_one_scrape(
    server: AdminServer, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    from proxy.stats import collector

    started = threading.Event()
    go_on = threading.Event()
    scrapes = 0
    render = collector.render

    def slow(*arguments: object) -> bytes:
        nonlocal scrapes
        scrapes += 1
        started.set()
        assert go_on.wait(10)
        return render(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(collector, "render", slow)

    async def scrape(session: aiohttp.ClientSession) -> bytes:
        async with session.get(f"{server.url}/metrics") as response:
            return await response.read()

    async def scenario() -> None:
        async with aiohttp.ClientSession() as session:
            first = asyncio.create_task(scrape(session))
            await asyncio.to_thread(started.wait, 10)
            others = [asyncio.create_task(scrape(session)) for _ in range(5)]
            # While a scrape runs in its thread the server answers everything else.
            async with session.get(f"{server.url}/livez") as response:
                assert response.status == 200
            go_on.set()
            assert all(b"hivemesh_build_info" in body for body in await asyncio.gather(first, *others))

    asyncio.run(scenario())
    assert scrapes <= 3  # the first, and those that came before and after /livez was answered


# --- state ------------------------------------------------------------------------------------------------------


def test_services_with_their_endpoints_by_state(server: AdminServer, agent: FakeAgent) -> None:
    agent.row("service/api").add(slots.PENDING, 2)
    services = {service["name"]: service for service in server.get("/v1/services").json}
    assert set(services) == {"api", "web"}
    assert services["api"]["endpoints"] == {"healthy": 1, "checking": 0, "unhealthy": 0, "ejected": 0, "draining": 1}
    assert services["api"]["pending_requests"] == 2
    assert services["api"]["position"] == "shop.yaml:20"


def test_one_service_as_configured_and_counted(server: AdminServer, agent: FakeAgent) -> None:
    agent.row("service/api").count_request(200, 2_000, 10, 20)
    found = server.get("/v1/services/api").json
    assert [endpoint["id"] for endpoint in found["service"]["endpoints"]] == ["api-1", "api-2"]
    assert found["stats"]["stats"]["codes"] == {"200": 1}
    assert found["stats"]["stats"]["duration_quantiles"]["p50"] == pytest.approx(0.00175)


def test_endpoints_with_state_totals_and_pool(server: AdminServer, agent: FakeAgent) -> None:
    row = agent.row(ENDPOINT)
    row.count_request(200, 2_000, 10, 20)
    row.add(slots.ACTIVE, 1)
    row.add(slots.CONNECTIONS_ACTIVE, 4)
    row.add(slots.POOL_IDLE, 3)
    first, second = server.get("/v1/services/api/endpoints").json
    assert (first["id"], first["state"], first["requests"], first["active_requests"]) == ("api-1", "healthy", 1, 1)
    assert first["pool"] == {"idle": 3, "active": 1}
    assert (second["id"], second["state"], second["requests"]) == ("api-2", "draining", 0)


def test_an_ejected_endpoint_is_told_with_reason_and_time_left(server: AdminServer, agent: FakeAgent) -> None:
    agent.put_breaker(ENDPOINT, OPEN, until=100.0, times=2)
    first, second = server.get("/v1/services/api/endpoints").json
    assert (first["state"], second["state"]) == ("ejected", "draining")
    assert 99.0 < first["breaker"].pop("left") <= 100.0
    assert first["breaker"] == {"state": "open", "ejections": 2, "errors": 0, "worked": 0}
    assert re.fullmatch(
        r"circuit breaker open for another \d+\.\d s, ejected 2 times in a row: too many errors", first["reason"]
    )
    assert second["breaker"]["state"] == "closed"
    assert server.get("/v1/services/api/endpoints/api-1").json["endpoint"]["state"] == "ejected"
    services = {service["name"]: service["endpoints"] for service in server.get("/v1/services").json}
    assert services["api"] == {"healthy": 0, "checking": 0, "unhealthy": 0, "ejected": 1, "draining": 1}
    assert server.get("/v1/nodes").json[0]["endpoints"] == {"ejected": 1}
    assert server.get("/v1/nodes/n1").json["endpoints"] == {"ejected": 1}


def test_an_ejected_endpoint_is_not_passing(server: AdminServer, agent: FakeAgent) -> None:
    def passing() -> list[tuple[str, str]]:
        found = server.get("/v1/services/api/endpoints?passing").json
        return [(each["id"], each["state"]) for each in found]

    assert passing() == [("api-1", "healthy")]
    agent.put_breaker(ENDPOINT, OPEN, until=100.0)
    assert passing() == []
    states = {each["id"]: each.get("state") for each in server.get("/v1/services/api").json["service"]["endpoints"]}
    assert states == {"api-1": "ejected", "api-2": "draining"}
    agent.put_breaker(ENDPOINT, HALF_OPEN)
    assert passing() == [("api-1", "healthy")]


@pytest.mark.parametrize(
    ("state", "until", "count", "expected"),
    [
        (HALF_OPEN, 0.0, 3, ("half-open", 0, 3)),
        (OPEN, -1.0, 0, ("half-open", 0, 0)),  # it is over, whether anybody has noted that or not
        (CLOSED, 0.0, 4, ("closed", 4, 0)),
    ],
)
def test_a_breaker_that_lets_requests_through_is_told_beside_the_state(
    server: AdminServer, agent: FakeAgent, state: int, until: float, count: int, expected: tuple[str, int, int]
) -> None:
    agent.put_breaker(ENDPOINT, state, until=until, count=count)
    first, _ = server.get("/v1/services/api/endpoints").json
    assert first["state"] == "healthy"
    assert (first["breaker"]["state"], first["breaker"]["errors"], first["breaker"]["worked"]) == expected
    assert first["breaker"]["left"] == 0.0


def test_what_health_checks_say_covers_a_breaker(server: AdminServer, agent: FakeAgent) -> None:
    agent.put_breaker(slots.endpoint_key("api", "api-2", "127.0.0.1:9002"), OPEN, until=100.0)
    _, second = server.get("/v1/services/api/endpoints").json
    assert (second["state"], second["breaker"]["state"]) == ("draining", "open")
    assert "circuit" not in second["reason"]


def test_a_breaker_is_closed_by_hand(server: AdminServer, agent: FakeAgent) -> None:
    agent.put_breaker(ENDPOINT, OPEN, until=100.0, times=7)
    before = agent.words("service/api").load(EPOCH_WORD)
    path = "/v1/services/api/endpoints/api-1/uneject"
    assert server.post(path).json == {"changed": True}
    first, _ = server.get("/v1/services/api/endpoints").json
    assert first["state"] == "healthy"
    assert first["breaker"] == {"state": "closed", "left": 0.0, "ejections": 0, "errors": 0, "worked": 0}
    assert agent.words("service/api").load(EPOCH_WORD) == before + 1
    assert agent.words(ENDPOINT).load(RECOVERED_WORD) > 0
    assert server.post(path).json == {"changed": False}
    assert_problem(server.post("/v1/services/api/endpoints/nope/uneject"), 404)
    assert server.get(path).status == 405


def test_attempts_are_told_of_endpoints_and_overflows_of_services(server: AdminServer, agent: FakeAgent) -> None:
    row = agent.row(ENDPOINT)
    for cell, count in ((slots.ATTEMPTS, 9), (slots.ATTEMPT_FAILURES, 4), (slots.PROBES, 2)):
        row.add(cell, count)
    agent.row("service/api").add(slots.OVERFLOWS, 3)
    found = server.get("/v1/stats").json
    first = {each["endpoint"]: each for each in found["endpoints"]}["api-1"]
    assert (first["attempts"], first["attempt_failures"], first["probes"]) == (9, 4, 2)
    assert first["stats"]["overflows"] == 0
    assert {each["service"]: each["stats"]["overflows"] for each in found["services"]} == {"api": 3, "web": 0}


def test_what_does_not_exist_is_said_by_name(server: AdminServer) -> None:
    assert assert_problem(server.get("/v1/services/nope"), 404) == "there is no service called nope"
    assert assert_problem(server.get("/v1/services/nope/endpoints"), 404) == "there is no service called nope"
    assert assert_problem(server.get("/v1/nothing"), 404) == "there is no /v1/nothing here"


def test_routes_say_where_they_were_written(server: AdminServer, agent: FakeAgent) -> None:
    agent.row("route/front/api").count_request(200, 1, 0, 0)
    first, second = server.get("/v1/routes").json
    assert (first["listener"], first["route"]["name"], first["position"]) == ("front", "api", "shop.yaml:7")
    assert (first["requests"], second["requests"]) == (1, 0)


def test_statistics_of_everything(server: AdminServer, agent: FakeAgent) -> None:
    agent.row("listener/front", worker=0).count_request(200, 1_000, 10, 20)
    agent.row("listener/front", worker=1).count_request(404, 1_000, 10, 20)
    stats = server.get("/v1/stats").json
    assert stats["listeners"][0]["stats"]["codes"] == {"200": 1, "404": 1}
    assert len(stats["listeners"][0]["stats"]["duration_buckets"]) == len(stats["bucket_bounds"]) + 1
    assert [entry["endpoint"] for entry in stats["endpoints"]] == ["api-1", "api-2", "web-1"]
    assert [entry["route"] for entry in stats["routes"]] == ["api", "default"]


def test_problems_name_their_place(server: AdminServer, agent: FakeAgent) -> None:
    agent.known_problems = (
        Problem(message="cannot listen", position=Position(file="a.yaml", line=3, column=5), key="listeners[0]"),
    )
    assert server.get("/v1/problems").json == [
        {"message": "cannot listen", "position": {"file": "a.yaml", "line": 3, "column": 5}, "key": "listeners[0]"}
    ]


def test_workers_and_version(server: AdminServer) -> None:
    workers = server.get("/v1/workers").json
    assert [(worker["worker"], worker["state"], worker["version"]) for worker in workers] == [
        (0, "ready", 7),
        (1, "ready", 7),
    ]
    version = server.get("/v1/version").json
    assert version["modules"]["proxy.kernel.cells"] == "compiled"
    assert (version["snapshot"], version["config"]) == (7, "0123456789ab")


def test_the_effective_configuration_has_a_tag_and_no_secret(agent: FakeAgent) -> None:
    pytest.importorskip("proxy.config.effective")
    with AdminServer(agent, token="s3cret-token") as server:
        token = {"Authorization": "Bearer s3cret-token"}
        first = server.get("/v1/config", **token)
        assert first.status == 200
        assert b"s3cret-token" not in first.body
        again = server.get("/v1/config", If_None_Match=first.headers["ETag"], **token)
        assert (again.status, again.body) == (304, b"")
        assert server.get("/v1/config", If_None_Match='"other"', **token).status == 200


def test_the_effective_configuration_tells_where_its_values_are_from() -> None:
    text = "admin: { address: 127.0.0.1:9 }\nservices: { a: { domain: a.test } }\n"
    config = load_text(text.replace(":9 ", ":8 "), "shop.yaml", {}).config
    assert config is not None
    agent = FakeAgent(config=config, config_text=zlib.compress(text.encode()))
    with AdminServer(agent) as server:
        answer = server.get("/v1/config?origins=true").json
        assert answer["config"] == server.get("/v1/config").json
        assert answer["origins"]["services.a.domain"] == {
            "origin": "file",
            "file": "shop.yaml",
            "line": 2,
            "column": 26,
        }
        assert answer["origins"]["workers"] == {"origin": "default"}
        assert answer["origins"]["admin.address"]["origin"] == "running"
        assert server.get("/v1/config?origin=true").status == 422


def test_origins_that_nobody_knows_are_not_made_up(server: AdminServer) -> None:
    answer = server.get("/v1/config?origins=true")
    assert answer.status == 503
    assert "a reload tells" in answer.json["detail"]


def test_a_fault_of_ours_is_a_problem_like_others(
    server: AdminServer, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken() -> tuple[Problem, ...]:
        raise RuntimeError("broken")

    monkeypatch.setattr(agent, "problems", broken)
    assert "fault of hivemesh" in assert_problem(server.get("/v1/problems"), 500)
    assert "RuntimeError: broken" in capfd.readouterr().err
    assert server.get("/livez").status == 200


# --- changes ----------------------------------------------------------------------------------------------------


def test_a_reload_that_succeeds_says_what_it_did(server: AdminServer, agent: FakeAgent) -> None:
    reply = server.post("/v1/reload")
    assert reply.status == 200
    assert reply.json == {"ok": True, "changed": True, "version": 8, "problems": []}
    assert agent.reload_calls == 1


def test_a_reload_that_is_refused_lists_the_problems(server: AdminServer, agent: FakeAgent) -> None:
    problem = Problem(message="unknown key", position=Position(file="a.yaml", line=2, column=1), key="listners")
    agent.reload_answer = ReloadResult(ok=False, changed=False, version=7, problems=(problem,))
    reply = server.post("/v1/reload")
    assert "stays in force" in assert_problem(reply, 422)
    assert reply.json["problems"][0]["key"] == "listners"


def test_reading_never_reloads(server: AdminServer, agent: FakeAgent) -> None:
    reply = server.get("/v1/reload")
    assert_problem(reply, 405)
    assert reply.headers["Allow"] == "POST"
    assert agent.reload_calls == 0


def test_other_methods_are_refused_with_what_is_possible(server: AdminServer) -> None:
    reply = server.request("PUT", "/v1/services")
    assert_problem(reply, 405)
    assert reply.headers["Allow"] == "GET, HEAD"


def test_a_page_of_another_site_cannot_reload(server: AdminServer, agent: FakeAgent) -> None:
    assert_problem(server.post("/v1/reload", Origin="https://evil.example"), 403)
    assert_problem(server.post("/v1/reload", Sec_Fetch_Site="cross-site"), 403)
    assert agent.reload_calls == 0


# --- who may ask ------------------------------------------------------------------------------------------------


def test_a_rebound_name_reads_nothing(server: AdminServer) -> None:
    answer = raw(server, b"GET /v1/stats HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 421 ")
    assert b"front" not in answer


def test_a_request_without_host_reads_nothing(server: AdminServer) -> None:
    assert raw(server, b"GET /v1/stats HTTP/1.0\r\n\r\n").split(b" ")[1] == b"421"


def test_an_answer_is_neither_cached_nor_guessed_at(server: AdminServer) -> None:
    for path in ("/v1/stats", "/nothing", "/metrics"):
        reply = server.get(path)
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"


def test_a_configured_token_is_needed(agent: FakeAgent) -> None:
    with AdminServer(agent, token="s3cret") as server:
        refused = server.post("/v1/reload")
        assert_problem(refused, 401)
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        assert_problem(server.post("/v1/reload", Authorization="Bearer wrong"), 401)
        assert agent.reload_calls == 0
        assert server.post("/v1/reload", Authorization="Bearer s3cret").status == 200
        assert server.get("/readyz").status == 200


# --- addresses --------------------------------------------------------------------------------------------------


def test_the_metrics_address_serves_probes_and_metrics_only(agent: FakeAgent) -> None:
    with AdminServer(agent, only_metrics=True) as server:
        assert server.get("/metrics").status == server.get("/livez").status == server.get("/readyz").status == 200
        for path in ("/v1/stats", "/v1/config", "/"):
            assert_problem(server.get(path), 404)
        assert_problem(server.post("/v1/reload"), 404)
        assert_problem(server.get("/metrics", Host="evil.example"), 421)


def test_a_metrics_address_for_others_is_reached_by_any_name(agent: FakeAgent) -> None:
    with AdminServer(agent, address="0.0.0.0:0", only_metrics=True) as server:
        server.address = server.address.replace("0.0.0.0", "127.0.0.1")
        assert server.get("/metrics", Host="proxy.monitoring.svc").status == 200


def test_a_unix_address_is_served(agent: FakeAgent, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with AdminServer(agent, address=f"unix:{path}"):

        async def get() -> int:
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
                session.get("http://any.name/readyz") as response,
            ):
                return response.status

        assert asyncio.run(get()) == 200


def test_an_ipv6_address_is_served(agent: FakeAgent) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with AdminServer(agent, address="[::1]:0") as server:
        assert server.get("/livez").status == 200
