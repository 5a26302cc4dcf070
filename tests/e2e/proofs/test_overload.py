"""Four times of what a service can do, and a storm of health, in short (benchmarks/compare/overload.py, storm.py): who
is refused and who is admitted add up, limits hold, and nothing fails."""

from __future__ import annotations

import shutil
import threading

import pytest

from benchmarks.compare import native, overload, paced, storm
from benchmarks.compare.bench import free_ports
from benchmarks.compare.contenders.contender import Setup
from benchmarks.compare.overload import Limits
from benchmarks.compare.paced import Pace, PacedOrigin
from benchmarks.compare.processes import Started, wait_until
from benchmarks.proofs.hive import Hive, eventually

pytestmark = pytest.mark.skipif(shutil.which(native.COMPILER) is None, reason="needs a C compiler")

PLACES = 10
SERVICE = 0.05
# Longer than any machine is away.
PATIENCE = 30.0


@pytest.fixture
def start(tmp_path):
    running = []

    def started(origin):
        ports = free_ports(origin.ports)
        core = 0  # any: nothing is measured
        running.append(Started(origin.command(ports, tmp_path), core, tmp_path, tmp_path / "output"))
        assert wait_until(lambda: origin.probe(ports[0]) == "", 20.0), running[-1].last_words()
        return ports

    yield started
    for process in running:
        process.end()


def ours(config):
    """What Hive does not have its own of."""
    return {key: value for key, value in config.items() if key not in ("admin", "access_log")}


@pytest.mark.parametrize(
    ("limits", "resource"),
    [
        (Limits(requests=PLACES), "requests"),
        (Limits(places=PLACES, waiting=PLACES), "pending_requests"),
    ],
    ids=["refuse", "queue"],
)
def test_every_request_is_admitted_or_refused_and_the_limit_holds(limits, resource, start, tmp_path):
    ports = start(PacedOrigin("places", PLACES, SERVICE))
    web, admin = free_ports(2)
    given = Setup(overload.one_slow_service(ports), web, admin, tmp_path)
    config = {**ours(overload.hivemesh_config(given, limits)), "workers": 2}
    with Hive(config, tmp_path) as hive:
        paced.counts(ports[0])
        rate = overload.OVER * PLACES / SERVICE
        report = paced.run(web, Pace(rate, 1.0, skip=0, connections=2000, patience=PATIENCE), ["/slow"])
        had = paced.counts(ports[0])

        (target,) = report.targets
        assert report.accounted == report.offered == rate
        assert (report.failed, report.gave_up, report.unsent, target.other.count) == (0, 0, 0, 0)
        assert target.good.count + target.refused.count == report.offered
        assert target.good.count == had["total"]
        assert target.refused.count > 0
        assert had["most"] <= PLACES
        refused = hive.metric("hivemesh_circuit_rejections_total", service="slow", resource=resource)
        assert refused == target.refused.count
        eventually(lambda: not hive.metric("hivemesh_service_requests_active", service="slow"), "nothing is left", 10)
        assert not hive.bugs()


ENDPOINTS = 50


def test_no_request_fails_while_endpoints_fail_and_recover_at_once(start, tmp_path):
    fair, stormy = start(storm.ORIGIN)
    web, admin = free_ports(2)
    given = Setup(storm.services(ENDPOINTS, [fair, stormy]), web, admin, tmp_path)
    config = ours(storm.hivemesh_config(given, 1))
    check = config["services"]["hit"]["health_check"]
    check.update(interval="200ms", timeout="200ms")
    with Hive(config, tmp_path) as hive:

        def healthy(count):
            def is_so():
                return hive.metric("hivemesh_endpoints", service="hit", state="healthy") == count

            eventually(is_so, f"{count} endpoints are healthy", 20)

        healthy(ENDPOINTS)
        reports = []
        seconds = 3.0
        pace = Pace(100, seconds, skip=0, patience=PATIENCE)
        client = threading.Thread(target=lambda: reports.append(paced.run(web, pace, ["/calm", "/hit"])))
        client.start()
        for weather in ("sick", "fair", "gone", "fair"):
            paced.ask(fair, f"/weather/{weather}")
            out = 0 if weather == "fair" else ENDPOINTS * storm.STORMY // storm.EVERY
            healthy(ENDPOINTS - out)
        client.join()

        (report,) = reports
        assert [target.good.count for target in report.targets] == [150, 150]
        assert report.accounted == report.offered == 300
        assert not hive.bugs()
