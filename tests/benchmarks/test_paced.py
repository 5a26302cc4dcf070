"""The client and the origin of the works under pressure, and the configurations that these give to the proxies."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess

import pytest

from benchmarks.compare import native, overload, paced, storm
from benchmarks.compare.bench import free_ports
from benchmarks.compare.contenders import haproxy
from benchmarks.compare.contenders.contender import Setup
from benchmarks.compare.load import LoadFailed
from benchmarks.compare.paced import Pace, PacedOrigin
from benchmarks.compare.processes import Started, wait_until
from proxy.config.load import load_text

needs_compiler = pytest.mark.skipif(shutil.which(native.COMPILER) is None, reason="needs a C compiler")


@pytest.fixture
def start(tmp_path):
    running = []

    def started(origin):
        ports = free_ports(origin.ports)
        running.append(Started(origin.command(ports, tmp_path), 0, tmp_path, tmp_path / "output"))
        assert wait_until(lambda: origin.probe(ports[0]) == "", 10.0), running[-1].last_words()
        return ports

    yield started
    for process in running:
        process.end()


@needs_compiler
@pytest.mark.parametrize("keep", [True, False])
def test_every_request_is_answered_and_counted_once(start, keep):
    (port,) = start(PacedOrigin("quick"))

    report = paced.run(port, Pace(400, 0.5, skip=0, patience=20, keep=keep), ["/a", "/b"])

    assert [target.good.count for target in report.targets] == [100, 100]
    assert report.accounted == report.offered == 200
    assert 0 < report.targets[0].good.p50 <= report.targets[0].good.p99


@needs_compiler
def test_requests_wait_for_a_place_and_a_client_without_patience_leaves(start):
    """One place of 50 ms is asked for 40 times in a fifth of a second: few can have it before all have gone."""
    (port,) = start(PacedOrigin("slow", places=1, service=0.05))
    paced.counts(port)

    report = paced.run(port, Pace(200, 0.2, skip=0, patience=0.2), ["/"])

    assert report.accounted == report.offered == 40
    assert report.gave_up > 0
    assert paced.counts(port)["most"] > 1


@needs_compiler
def test_connections_that_are_closed_without_an_answer_have_failed():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    report = paced.run(port, Pace(100, 0.2, skip=0), ["/"])

    assert (report.failed, report.answered, report.accounted) == (20, 0, report.offered)


@needs_compiler
def test_the_weather_changes_what_checks_see_and_nothing_else(start):
    fair, stormy = start(storm.ORIGIN)

    for weather, check in (("sick", 503), ("fair", 200)):
        paced.ask(fair, f"/weather/{weather}")
        assert [paced.ask(stormy, path)[0] for path in ("/health", "/other")] == [check, 200]
        assert paced.ask(fair, "/health")[0] == 200
    paced.ask(fair, "/weather/mute")
    with pytest.raises(TimeoutError):
        paced.ask(stormy, "/health", timeout=0.1)
    paced.ask(fair, "/weather/gone")
    with pytest.raises(ConnectionRefusedError):
        paced.ask(stormy, "/health")
    paced.ask(fair, "/weather/fair")
    assert paced.ask(stormy, "/health")[0] == 200


def test_what_is_no_report_is_said():
    with pytest.raises(LoadFailed, match="no report but 'oops'"):
        paced.parse("oops")


def setup(lane, folder):
    ports = [21_000, 21_001][: lane.origin.ports]
    return Setup(lane.scenario(ports), 20_500, 20_501, folder)


FEW = str(min(storm.SIZES))
LANES = [*overload.LANES, *(lane for lane in storm.LANES if lane.label.endswith(f" {FEW}"))]


@pytest.mark.parametrize("lane", LANES, ids=lambda lane: lane.label)
def test_every_proxy_accepts_its_configuration(lane, tmp_path):
    given = setup(lane, tmp_path)
    command = lane.contender.command(given)

    if "hivemesh" in lane.label:
        loaded = load_text((tmp_path / "hivemesh.yaml").read_text(), "bench.yaml", {})
        assert loaded.problems == ()
        services = {service.name: len(service.endpoints) for service in loaded.config.snapshot.services}
        assert services == {service.name: len(service.addresses) for service in given.scenario.services}
    elif haproxy.PROGRAM is None:
        pytest.skip("haproxy is not installed")
    else:
        done = subprocess.run([*command.argv, "-c"], cwd=command.cwd, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("form", overload.FORMS)
def test_both_proxies_are_told_of_the_same_limits(form, tmp_path):
    limits = overload.FORMS[form]
    lane = next(lane for lane in overload.LANES if lane.label == f"hivemesh {form}")
    given = setup(lane, tmp_path)
    config = json.loads(json.dumps(overload.hivemesh_config(given, limits)))
    text = overload.haproxy_config(given, limits)

    breaker = config["services"]["slow"]["mesh"]["circuit_breaker"]
    assert (breaker["max_requests"], breaker["max_connections"]) == (limits.requests, limits.places)
    assert config["listeners"][0].get("max_connections", 0) == limits.connections
    assert (f"maxconn {limits.places}\n" in text) is (limits.places > 0)
    admitted = limits.requests or limits.places + limits.waiting
    assert (f"be_conn(slow) ge {admitted} }}" in text) is (admitted > 0)
    assert (f"  maxconn {limits.connections}\n" in text.partition("frontend")[2]) is (limits.connections > 0)
