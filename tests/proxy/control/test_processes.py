"""The program as processes: what signals, crashes and changed files do to traffic.

Each test starts the real program. The routes answer by themselves ("one", "two") unless a test needs an origin.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ports import free_address
from processes import (
    Hive,
    Load,
    answering,
    children_of,
    command,
    fail_to_start,
    is_alive,
    is_refused,
    listener,
    name_of,
    state_of,
)
from program import Program
from raw_client import RawClient
from raw_origin import OK, RawOrigin, Upstream
from waiting import eventually

Start = Callable[..., Hive]


# --- start -------------------------------------------------------------------------------------------------------


def test_the_start_is_told_with_what_is_listened_on(start: Start) -> None:
    hive = start(workers=2)

    assert hive.await_event("listening")["address"] == hive.config["listeners"][0]["address"]
    assert sorted(hive.children()) == ["agent", "worker 0", "worker 1"]
    assert hive.admin("GET", "/readyz")[0] == 200
    assert {hive.get() for _ in range(20)} == {"one"}


def test_with_no_workers_the_agent_serves(start: Start) -> None:
    hive = start(workers=0)

    assert list(hive.children()) == ["agent"]
    assert hive.get() == "one"
    hive.signal(signal.SIGTERM)
    assert hive.wait() == 0


def test_the_descriptor_limit_is_raised(start: Start) -> None:
    hive = start()

    limits = Path(f"/proc/{hive.children()['worker 0']}/limits").read_text()

    soft, hard = next(line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files"))
    assert soft == hard


def test_a_bad_file_is_told_problem_by_problem(tmp_path: Path) -> None:
    result = fail_to_start(tmp_path, "listeners:\n  - name: web\n    adress: 127.0.0.1:1\n")

    assert result.returncode == 1
    assert f"hivemesh: {tmp_path}/hivemesh.yaml:3:5: " in result.stderr
    assert "adress" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_in_use_names_the_process_that_has_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        port = other.getsockname()[1]
        web = {**listener("web", answering("one")), "address": f"127.0.0.1:{port}"}
        result = fail_to_start(tmp_path, {"admin": {"address": free_address()}, "listeners": [web]})

    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: the port is in use by " in result.stderr
    assert f"(pid {os.getpid()})" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_admin_address_in_use_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        admin = f"127.0.0.1:{other.getsockname()[1]}"
        result = fail_to_start(
            tmp_path, {"admin": {"address": admin}, "listeners": [listener("web", answering("one"))]}
        )

    assert result.returncode == 1
    assert f"cannot listen on {admin}: the port is in use by " in result.stderr
    assert f"(pid {os.getpid()})" in result.stderr
    assert "Traceback" not in result.stderr


# --- stop --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_flight_is_finished_before_the_program_ends(start: Start, number: signal.Signals) -> None:
    with RawOrigin() as origin:
        services = {"app": {"endpoints": [{"id": "a", "address": origin.address}]}}
        hive = start(routes=[{"name": "all", "service": "app"}], services=services)
        address = hive.config["listeners"][0]["address"]
        with RawClient(address) as client:
            client.ask()
            upstream = origin.accept()
            upstream.request()

            hive.signal(number)
            eventually(lambda: is_refused(address), "new connections are refused")
            assert hive.admin("GET", "/readyz")[0] == 503
            upstream.send(OK)

            assert client.response().status == 200
    assert hive.wait() == 0
    assert hive.events()[-1] == "stopped"


def test_it_can_be_stopped_before_it_is_in_service(tmp_path: Path) -> None:
    file = tmp_path / "hivemesh.yaml"
    web = listener("web", answering("one"))
    file.write_text(json.dumps({"admin": {"address": free_address()}, "workers": 2, "listeners": [web]}))
    program = Program(command(file), tmp_path, lambda: not is_refused(web["address"]), "hivemesh")

    program.signal(signal.SIGTERM)  # the sockets are bound; the workers are being started, or will be

    assert program.wait() == 0, program.log()


def test_the_second_sigint_ends_it_at_once(start: Start) -> None:
    with RawOrigin() as origin:
        services = {"app": {"endpoints": [{"id": "a", "address": origin.address}]}}
        hive = start(routes=[{"name": "all", "service": "app"}], services=services)
        with RawClient(hive.config["listeners"][0]["address"]) as client:
            client.ask()
            origin.accept().request()
            hive.signal(signal.SIGINT)
            hive.await_event("draining")

            hive.signal(signal.SIGINT)

            assert hive.wait(timeout=5) == 130


def test_a_request_that_never_ends_is_cut_off_at_the_drain_deadline(start: Start) -> None:
    with RawOrigin() as origin:
        services = {"app": {"endpoints": [{"id": "a", "address": origin.address}]}}
        hive = start(routes=[{"name": "all", "service": "app"}], services=services, timeouts={"drain": "200ms"})
        with RawClient(hive.config["listeners"][0]["address"]) as client:
            client.ask()
            origin.accept().request()

            hive.signal(signal.SIGTERM)

            assert hive.wait(timeout=5) == 0


def test_no_process_is_left_when_the_supervisor_is_killed(start: Start) -> None:
    hive = start(workers=2)
    children = hive.children().values()

    hive.kill()

    eventually(lambda: not any(is_alive(pid) for pid in children), "agent and workers have ended")


# --- reload ------------------------------------------------------------------------------------------------------


def test_sighup_puts_the_changed_file_in_force(start: Start) -> None:
    hive = start(workers=2)
    hive.config["listeners"][0]["routes"] = [answering("two")]
    hive.write()

    hive.signal(signal.SIGHUP)

    assert hive.await_event("reload succeeded")["changed"]
    assert {hive.get() for _ in range(20)} == {"two"}


def test_a_bad_file_changes_nothing_and_is_a_problem_until_it_is_mended(start: Start) -> None:
    hive = start()
    hive.write("listeners: [ { name: web, adress: x } ]")

    hive.signal(signal.SIGHUP)

    assert "adress" in hive.await_event("reload failed")["problem"]
    assert hive.get() == "one"
    assert any("adress" in problem or "address" in problem for problem in hive.problems())
    assert hive.admin("GET", "/readyz")[0] == 200

    hive.write()
    assert hive.admin("POST", "/v1/reload")[0] == 200
    assert hive.problems() == []


def test_a_failing_route_test_keeps_what_is_in_force(start: Start) -> None:
    hive = start()
    hive.config["listeners"][0]["routes"] = [answering("two")]
    hive.config["tests"] = [{"request": "GET http://a.test/", "expect": {"route": "one"}}]
    hive.write()

    status, body = hive.admin("POST", "/v1/reload")

    assert status == 422
    assert "two" in body
    assert hive.get() == "one"


def test_a_changed_file_is_noticed_without_being_told(start: Start) -> None:
    hive = start()
    hive.config["listeners"][0]["routes"] = [answering("two")]

    hive.write()

    hive.answers("two")


def test_listeners_come_and_go_by_reload(start: Start) -> None:
    hive = start(workers=2)
    first = hive.config["listeners"][0]
    second = listener("second", answering("two"))
    hive.config["listeners"] = [second]
    hive.write()

    assert hive.admin("POST", "/v1/reload")[0] == 200

    hive.answers("two", second["address"])
    eventually(lambda: is_refused(first["address"]), "the old address is refused")


def test_an_address_that_is_taken_refuses_the_whole_reload(start: Start) -> None:
    hive = start()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        second = {**listener("second", answering("two")), "address": f"127.0.0.1:{port}"}
        hive.config["listeners"] = [{**hive.config["listeners"][0], "routes": [answering("two")]}, second]
        hive.write()

        status, body = hive.admin("POST", "/v1/reload")

    assert status == 422
    assert f"127.0.0.1:{port}: the port is in use by" in body
    assert hive.get() == "one"


def test_a_connection_lives_through_reloads(start: Start) -> None:
    hive = start()
    with RawClient(hive.config["listeners"][0]["address"]) as client:
        client.ask()
        assert client.response().text == "one"
        hive.config["listeners"][0]["routes"] = [answering("two")]
        hive.write()
        assert hive.admin("POST", "/v1/reload")[0] == 200

        client.ask()

        assert client.response().text == "two"


def test_the_number_of_workers_changes_by_reload_and_no_request_fails(start: Start) -> None:
    hive = start()
    with Load(hive.config["listeners"][0]["address"]) as load:
        for workers in (3, 1, 2):
            hive.config["workers"] = workers
            hive.write()
            assert hive.admin("POST", "/v1/reload")[0] == 200
            wanted = ["agent", *(f"worker {number}" for number in range(workers))]
            eventually(lambda wanted=wanted: sorted(hive.children()) == wanted, f"{workers} workers")
            load.goes_on()
    assert hive.problems() == []
    assert not load.failures
    eventually(lambda: requests_of_web(hive) == load.answered, "every request is counted, those of who left too")
    eventually(lambda: gauge(hive, "hivemesh_downstream_connections_active") == 0, "no connection is counted as open")
    assert [entry["status"] for entry in hive.entries() if entry["event"] == "worker exited"] == [0, 0]


def test_a_worker_that_leaves_finishes_its_requests_first(start: Start) -> None:
    with RawOrigin() as origin:
        services = {"app": {"endpoints": [{"id": "a", "address": origin.address}]}}
        hive = start(workers=2, routes=[{"name": "all", "service": "app"}], services=services)
        clients, upstreams = busy(hive, origin)
        hive.config["workers"] = 1
        hive.write()

        assert hive.admin("POST", "/v1/reload")[0] == 200
        leaving = hive.await_event("worker leaving")
        assert (leaving["worker"], leaving["pid"]) == (1, hive.children()["worker 1"])
        for upstream in upstreams:
            upstream.request()
            upstream.send(OK)

        assert {client.response().status for client in clients} == {200}
        eventually(lambda: sorted(hive.children()) == ["agent", "worker 0"], "worker 1 has ended")
        for client in clients:
            client.close()


def test_between_workers_and_none_lies_a_restart(start: Start) -> None:
    hive = start()
    hive.config["workers"] = 0
    hive.config["listeners"][0]["routes"] = [answering("two")]
    hive.write()

    assert hive.admin("POST", "/v1/reload")[0] == 200

    assert hive.problems() == ["0 takes effect after a restart, 1 is in force until then"]
    assert hive.get() == "two"
    assert sorted(hive.children()) == ["agent", "worker 0"]


def test_an_agent_that_dies_while_a_worker_leaves_is_replaced_and_knows(start: Start) -> None:
    with RawOrigin() as origin:
        services = {"app": {"endpoints": [{"id": "a", "address": origin.address}]}}
        hive = start(workers=2, routes=[{"name": "all", "service": "app"}], services=services)
        clients, upstreams = busy(hive, origin)
        hive.config["workers"] = 1
        hive.write()
        assert hive.admin("POST", "/v1/reload")[0] == 200
        hive.await_event("worker leaving")

        os.kill(hive.children()["agent"], signal.SIGKILL)
        hive.await_event("started", count=2)
        workers = json.loads(hive.admin("GET", "/v1/workers")[1])
        assert [(worker["worker"], worker["state"]) for worker in workers] == [(0, "ready"), (1, "draining")]
        for upstream in upstreams:
            upstream.request()
            upstream.send(OK)

        assert {client.response().status for client in clients} == {200}
        for client in clients:
            client.close()
        eventually(lambda: sorted(hive.children()) == ["agent", "worker 0"], "worker 1 has ended")


# --- crashes -----------------------------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_and_connections_wait_for_it(start: Start) -> None:
    hive = start()
    before = hive.children()

    os.kill(before["worker 0"], signal.SIGKILL)

    assert hive.get() == "one"  # waits in the backlog of the socket, which the supervisor keeps
    exited = hive.await_event("worker exited")
    assert (exited["pid"], exited["status"]) == (before["worker 0"], -signal.SIGKILL)
    assert hive.children()["worker 0"] != before["worker 0"]
    assert hive.children()["agent"] == before["agent"]
    eventually(lambda: hive.admin("GET", "/readyz")[0] == 200, "ready again")


def test_siblings_accept_while_a_worker_is_dead(start: Start) -> None:
    hive = start(workers=2)
    address = hive.config["listeners"][0]["address"]
    for _ in range(5):  # so that the next start has to wait
        kill_and_await(hive, "worker 1")
    assert hive.await_event("worker exited", count=5)["restart_in"] >= 0.8
    assert "worker 1" not in hive.children()

    connections = [RawClient(address) for _ in range(32)]
    for client in connections:
        client.ask()
    for client in connections:
        assert client.response().text == "one"
        client.close()

    assert "worker 1" not in hive.children()
    eventually(lambda: "worker 1" in hive.children(), "worker 1 is started again")


def test_a_worker_that_keeps_ending_is_a_problem(start: Start) -> None:
    hive = start(workers=2)
    for _ in range(5):
        kill_and_await(hive, "worker 1")

    failing = hive.await_event("worker failing")
    assert (failing["worker"], failing["deaths"]) == (1, 5)
    (problem,) = hive.problems()
    assert problem == "worker 1 keeps ending soon after its start (5 times in a row, status -9)"
    assert gauge(hive, "hivemesh_worker_restarts_total") == 5
    os.kill(hive.children()["agent"], signal.SIGKILL)
    hive.await_event("started", count=2)
    assert hive.problems() == [problem]
    assert hive.get() == "one"


def test_a_worker_that_hangs_is_replaced(start: Start) -> None:
    hive = start(workers=2, timeouts={"worker_hang": "1s"})
    before = hive.children()["worker 1"]

    os.kill(before, signal.SIGSTOP)

    hangs = hive.await_event("process hangs")
    assert (hangs["process"], hangs["pid"]) == ("worker 1", before)
    assert 1.0 < hangs["silent_for"] < 3.0
    eventually(lambda: hive.children().get("worker 1", before) != before, "worker 1 is replaced")
    eventually(lambda: gauge(hive, "hivemesh_worker_up") == 2, "both are in service")
    assert gauge(hive, "hivemesh_worker_hangs_total") == 1
    assert {hive.get() for _ in range(20)} == {"one"}


def test_an_agent_that_hangs_is_replaced_while_traffic_goes_on(start: Start) -> None:
    hive = start(workers=2, timeouts={"worker_hang": "1s"})
    before = hive.children()
    with Load(hive.config["listeners"][0]["address"]) as load:
        os.kill(before["agent"], signal.SIGSTOP)
        assert hive.await_event("process hangs")["process"] == "agent"
        hive.await_event("started", count=2)
        load.goes_on()
    assert not load.failures
    after = hive.children()
    assert after["agent"] != before["agent"]
    assert (after["worker 0"], after["worker 1"]) == (before["worker 0"], before["worker 1"])
    assert gauge(hive, "hivemesh_agent_restarts_total") == 1


def test_who_was_stopped_with_the_supervisor_does_not_hang(start: Start) -> None:
    hive = start(timeouts={"worker_hang": "1s"})
    before = hive.children()
    everybody = [*before.values(), hive.pid]

    for pid in reversed(everybody):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(2.5)  # what is tested is that time goes by
    os.kill(hive.pid, signal.SIGCONT)
    eventually(lambda: state_of(hive.pid) == "S", "the supervisor waits again")
    for pid in before.values():
        os.kill(pid, signal.SIGCONT)

    assert hive.get() == "one"
    assert hive.children() == before
    assert "process hangs" not in hive.events()


def test_workers_are_pinned_and_unpinned_by_reload(start: Start) -> None:
    cores = sorted(os.sched_getaffinity(0))
    hive = start(workers=2, pin_workers=True)
    workers = [hive.children()[f"worker {number}"] for number in range(2)]
    pinned = [{cores[0]}, {cores[1 % len(cores)]}]
    eventually(lambda: [os.sched_getaffinity(pid) for pid in workers] == pinned, "they are pinned")
    hive.config["pin_workers"] = False
    hive.write()

    assert hive.admin("POST", "/v1/reload")[0] == 200

    free = [set(cores)] * 2
    eventually(lambda: [os.sched_getaffinity(pid) for pid in workers] == free, "they are pinned no more")


def test_gauges_are_true_again_when_agent_and_worker_died_together(start: Start) -> None:
    hive = start(workers=2)
    with RawClient(hive.config["listeners"][0]["address"]) as client:
        client.ask()
        client.response()
        eventually(lambda: gauge(hive, "hivemesh_downstream_connections_active") == 1, "one connection")
        os.kill(hive.children()["agent"], signal.SIGSTOP)
        children = hive.children()
        for name in ("worker 0", "worker 1", "agent"):
            os.kill(children[name], signal.SIGKILL)
        hive.await_event("started", count=2)
        assert client.is_ended_by_peer()

    assert gauge(hive, "hivemesh_downstream_connections_active") == 0


def test_tcp_connections_have_a_time_of_their_own_to_end(start: Start) -> None:
    with RawOrigin() as origin:
        services = {"app": {"endpoints": [{"id": "a", "address": origin.address}]}}
        tcp = {
            "name": "tcp",
            "protocol": "tcp",
            "address": free_address(),
            "routes": [{"name": "all", "service": "app"}],
        }
        timeouts = {"drain": "0s", "drain_streams": "20s"}
        hive = start(services=services, timeouts=timeouts, listeners=[tcp])
        with RawClient(tcp["address"]) as client:
            client.ask()
            upstream = origin.accept()
            upstream.request()

            hive.signal(signal.SIGTERM)
            eventually(lambda: is_refused(tcp["address"]), "new connections are refused")
            upstream.send(OK)

            assert client.response().status == 200
    assert hive.wait(timeout=10) == 0


def test_a_worker_that_is_asked_to_end_drains_and_is_replaced(start: Start) -> None:
    hive = start()
    before = hive.children()["worker 0"]

    os.kill(before, signal.SIGTERM)

    assert hive.await_event("worker exited")["status"] == 0
    assert hive.get() == "one"


def test_traffic_does_not_notice_a_killed_agent(start: Start) -> None:
    hive = start(workers=2)
    before = hive.children()
    with RawClient(hive.config["listeners"][0]["address"]) as client:
        client.ask()
        assert client.response().text == "one"

        os.kill(before["agent"], signal.SIGKILL)
        hive.await_event("agent exited")
        client.ask()
        assert client.response().text == "one"
        assert hive.get() == "one"

        hive.await_event("started", count=2)
        after = hive.children()
        assert after["agent"] != before["agent"]
        assert (after["worker 0"], after["worker 1"]) == (before["worker 0"], before["worker 1"])
        client.ask()
        assert client.response().text == "one"

    hive.config["listeners"][0]["routes"] = [answering("two")]
    hive.write()
    assert hive.admin("POST", "/v1/reload")[0] == 200
    assert {hive.get() for _ in range(20)} == {"two"}


def test_who_asks_while_the_agent_is_replaced_waits_and_is_not_refused(start: Start) -> None:
    metrics = free_address()
    hive = start(metrics={"address": metrics})
    before = hive.children()["agent"]

    os.kill(before, signal.SIGSTOP)
    eventually(lambda: state_of(before) == "T", "the agent is stopped and accepts nothing")
    with RawClient(hive.config["admin"]["address"]) as admin, RawClient(metrics) as scraper:
        admin.ask(target="/livez", host="localhost")
        scraper.ask(target="/livez", host="localhost")
        os.kill(before, signal.SIGKILL)

        assert admin.response().status == scraper.response().status == 200
    assert hive.children()["agent"] != before


def test_a_new_agent_answers_nothing_before_it_knows_what_is_in_force(start: Start) -> None:
    hive = start(services={"shop": {"endpoints": [{"id": "s1", "address": "127.0.0.1:9"}]}})
    before = hive.children()["agent"]
    paths = ("/v1/services/shop/endpoints", "/v1/explain?url=/", "/v1/routes", "/metrics")

    os.kill(before, signal.SIGSTOP)
    eventually(lambda: state_of(before) == "T", "the agent is stopped and accepts nothing")
    with contextlib.ExitStack() as waiting:
        # Where the next agent finds them at its first moment.
        clients = [waiting.enter_context(RawClient(hive.config["admin"]["address"])) for _ in paths]
        for client, path in zip(clients, paths, strict=True):
            client.ask(target=path, host="localhost")
        os.kill(before, signal.SIGKILL)
        endpoints, explained, routes, metrics = (client.response() for client in clients)

    assert [endpoint["id"] for endpoint in json.loads(endpoints.text)] == ["s1"]
    assert (explained.status, json.loads(explained.text)["problems"]) == (200, [])
    assert [route["listener"] for route in json.loads(routes.text)] == ["web"]
    assert 'hivemesh_endpoints{service="shop",state="healthy"} 1' in metrics.text


@pytest.mark.parametrize("is_killed", [False, True])
def test_whoever_checks_a_file_ends_with_the_agent(start: Start, is_killed: bool) -> None:
    hive = start()
    agent = hive.children()["agent"]
    hive.file.unlink()
    os.mkfifo(hive.file)  # whoever opens it waits for somebody to write

    def writer() -> int | None:
        try:
            return os.open(hive.file, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody has opened it to read
            return None

    hive.signal(signal.SIGHUP)
    with os.fdopen(eventually(writer, "the file is read"), "wb"):
        checking = children_of(agent)
        assert checking
        if is_killed:
            os.kill(agent, signal.SIGKILL)
        else:
            hive.signal(signal.SIGTERM)

        eventually(lambda: not any(is_alive(pid) for pid in checking), "nobody reads it any more")


def test_counters_go_on_after_both_kinds_of_crash(start: Start) -> None:
    hive = start()
    for _ in range(3):
        hive.get()
    eventually(lambda: requests_of_web(hive) == 3, "three requests are counted")

    os.kill(hive.children()["agent"], signal.SIGKILL)
    hive.await_event("started", count=2)
    assert requests_of_web(hive) == 3
    os.kill(hive.children()["worker 0"], signal.SIGKILL)
    hive.get()

    eventually(lambda: requests_of_web(hive) == 4, "the fourth request is counted")


def test_a_new_agent_goes_on_with_what_was_in_force_when_the_file_is_broken(start: Start) -> None:
    hive = start()
    os.kill(hive.children()["agent"], signal.SIGSTOP)  # so that it does not notice the file first
    hive.write("listeners: 5")
    os.kill(hive.children()["agent"], signal.SIGKILL)

    hive.await_event("started", count=2)
    hive.await_event("reload failed")
    assert hive.get() == "one"
    assert hive.problems()
    assert hive.admin("GET", "/readyz")[0] == 200


def test_sigterm_drains_also_while_the_agent_is_dead(start: Start) -> None:
    hive = start()
    os.kill(hive.children()["agent"], signal.SIGKILL)
    hive.signal(signal.SIGTERM)

    assert hive.wait() == 0


def test_as_process_1_of_a_container_it_reaps_orphans(tmp_path: Path) -> None:
    isolate = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*isolate, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make a PID namespace")
    file = tmp_path / "hivemesh.yaml"
    web = listener("web", answering("one"))
    file.write_text(json.dumps({"admin": {"address": free_address()}, "listeners": [web]}))
    # The shell's child becomes the supervisor's, who never heard of it.
    script = f"sleep 0.1 & exec {shlex.join(command(file))}"
    outer = Program([*isolate, "sh", "-c", script], tmp_path, lambda: not is_refused(web["address"]), "container")
    (supervisor,) = children_of(outer.pid)
    try:
        eventually(lambda: "sleep" not in map(name_of, children_of(supervisor)), "the orphan was reaped")

        os.kill(supervisor, signal.SIGTERM)
        assert outer.wait() == 0, outer.log()
    finally:
        outer.kill()  # and with it everything in its namespace


def kill_and_await(hive: Hive, name: str) -> None:
    """Kill this process when it runs, and wait until the supervisor has noticed."""
    pid = eventually(lambda: hive.children().get(name), f"{name} runs")
    exits = hive.events().count("worker exited")
    os.kill(pid, signal.SIGKILL)
    hive.await_event("worker exited", count=exits + 1)


def requests_of_web(hive: Hive) -> float:
    text = hive.admin("GET", "/metrics")[1]
    lines = [line for line in text.splitlines() if line.startswith("hivemesh_downstream_requests_total{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if 'listener="web"' in line)


def gauge(hive: Hive, family: str) -> float:
    """The sum of the family's samples."""
    text = hive.admin("GET", "/metrics")[1]
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(rf"{family}[ {{]", line))


def busy(hive: Hive, origin: RawOrigin) -> tuple[list[RawClient], list[Upstream]]:
    """Requests that are under way, in every worker some, and the origin's side of them."""
    clients, upstreams = [], []

    def is_everywhere() -> bool:
        clients.append(RawClient(hive.config["listeners"][0]["address"]))
        clients[-1].ask()
        upstreams.append(origin.accept())
        return all(worker["connections"] for worker in json.loads(hive.admin("GET", "/v1/workers")[1]))

    eventually(is_everywhere, "every worker has a request")
    return clients, upstreams
