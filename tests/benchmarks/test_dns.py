from __future__ import annotations

import json
from pathlib import Path

import dns.message
import dns.zone
import pytest

from benchmarks.compare.contenders import dns_servers, hivemesh
from benchmarks.compare.contenders.contender import Setup
from benchmarks.compare.dns import addresses, parse_dnsperf, query_file, question
from benchmarks.compare.load import LoadFailed
from benchmarks.compare.traffic import DNS_TTL, DNS_ZONE, service_names
from proxy.config.load import load_text

SCENARIO = service_names(300)
SETUP = Setup(SCENARIO, 20500, 20501, Path("/run/bench"))
REPORT = """Statistics:

  Queries sent:         1000
  Queries completed:    999 (99.90%)
  Queries lost:         1 (0.10%)

  Response codes:       NOERROR 999 (100.00%)
  Average packet size:  request 41, response 105
  Run time (s):         2.000000
  Queries per second:   499.500000

  Average Latency (s):  0.000921 (min 0.000022, max 0.052345)
"""


def test_every_server_has_the_same_names_and_addresses() -> None:
    expected = sorted(dns_servers.records(SCENARIO))
    assert len(set(expected)) == 4 * 300
    zone = dns.zone.from_text(dns_servers.zone_file(SCENARIO), relativize=False)
    found = [(name.to_text(True), data.address) for name, ttl, data in zone.iterate_rdatas("A") if ttl == DNS_TTL]
    assert sorted(found) == sorted([*expected, (f"ns.{DNS_ZONE}", "127.0.0.1")])
    local = [line.split() for line in dns_servers.render_unbound(SETUP)["unbound.conf"].splitlines() if "IN A" in line]
    assert sorted((words[1][1:-1], words[-1][:-1]) for words in local) == expected
    hosts = [line.split() for line in dns_servers.render_dnsmasq(SETUP)["hosts"].splitlines()]
    assert sorted((name, address) for address, name in hosts) == expected
    loaded = load_text(json.dumps(hivemesh.render(SETUP)), "bench.yaml")
    assert loaded.config is not None, loaded.problems
    snapshot = loaded.config.snapshot
    assert snapshot.settings.dns.ttl == DNS_TTL
    ours = [
        (f"{each.name}.{DNS_ZONE}", end.address.rpartition(":")[0])
        for each in snapshot.services
        for end in each.endpoints
    ]
    assert sorted(ours) == expected


def test_every_name_is_asked_for_once() -> None:
    lines = query_file(SCENARIO).splitlines()
    assert sorted(lines) == sorted(f"{service.name}.{DNS_ZONE} A" for service in SCENARIO.services)
    assert lines != sorted(lines)


def test_an_answer_is_read_as_dnspython_writes_it() -> None:
    query = dns.message.from_wire(question("s1.service.hivemesh"))
    assert query.question[0].to_text() == "s1.service.hivemesh. IN A"
    answer = dns.message.make_response(query)
    assert addresses(answer.to_wire()) == []
    answer.answer.append(dns.rrset.from_text("s1.service.hivemesh.", 5, "IN", "A", "10.0.0.10", "10.0.0.2"))
    assert addresses(answer.to_wire()) == ["10.0.0.2", "10.0.0.10"]
    answer.set_rcode(3)
    assert addresses(answer.to_wire()) == []
    assert addresses(b"short") == []


def test_the_report_of_dnsperf_is_read() -> None:
    report = parse_dnsperf(REPORT)
    assert (report.completed, report.lost, report.per_s, report.latency) == (999, 1, 499.5, 0.000921)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "no sent"), (REPORT.replace("NOERROR 999", "NOERROR 900 (90%), SERVFAIL 99"), "900 of 999 answers")],
)
def test_anything_but_good_answers_is_no_result(text: str, problem: str) -> None:
    with pytest.raises(LoadFailed, match=problem):
        parse_dnsperf(text)
