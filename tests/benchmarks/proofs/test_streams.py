"""The configurations of the streams proof are good ones, and differ in what the proof says."""

import itertools
import json

import pytest

from benchmarks.proofs.connections import complete, failures
from benchmarks.proofs.evidence import ProofError
from benchmarks.proofs.streams import File, Ports, try_extra
from proxy.config.load import load_text

PORTS = Ports(24001, 24002, 24003, (24004, 24005, 24006, 24007), (24008, 24009, 24010), (24011, 24012, 24013))


@pytest.mark.parametrize("number", range(0, 100, 7))
def test_every_file_is_a_good_configuration(number):
    loaded = load_text(json.dumps(File(number).config(PORTS)), "hivemesh.yaml", {})

    assert loaded.problems == ()


def snapshots():
    return [
        load_text(json.dumps(File(number).config(PORTS)), "hivemesh.yaml", {}).config.snapshot for number in range(100)
    ]


def test_listeners_and_endpoints_come_and_go_and_those_in_use_stay():
    kinds, counts = set(), set()
    for snapshot in snapshots():
        kinds.update((listener.address, listener.protocol) for listener in snapshot.listeners)
        counts.add(tuple(len(service.endpoints) for service in snapshot.services))
        assert {"web", "store"} <= {listener.name for listener in snapshot.listeners}
        firsts = {service.name: service.endpoints[0].address for service in snapshot.services}
        assert firsts == {"chat": "127.0.0.1:24003", "pages": "127.0.0.1:24008", "echo": "127.0.0.1:24011"}
    assert len(kinds) == 2 + 2 * len(PORTS.extra)  # each of the others is HTTP at one time and TCP at another
    assert len(counts) == 3


def test_two_files_in_a_row_are_never_the_same():
    found = snapshots()

    assert all(before != after for before, after in itertools.pairwise(found))


def test_an_address_that_should_answer_and_does_not_is_found():
    assert "refused" in try_extra(File(1), 0, 24999).lower()
    assert try_extra(File(2), 0, 24999) == ""


REPORT = """Concurrency Level:      64
Complete requests:      9998
Failed requests:        3
"""


def test_the_report_of_ab_is_read():
    assert (complete(REPORT), failures(REPORT)) == (9998, 3)
    assert failures(REPORT + "Non-2xx responses:      5\n") == 8


def test_a_report_of_ab_without_its_numbers_is_no_evidence():
    with pytest.raises(ProofError, match="Complete requests"):
        complete("apr_socket_recv: Connection reset by peer (104)\n")
