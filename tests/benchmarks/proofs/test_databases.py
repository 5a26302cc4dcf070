"""What the load generators of PostgreSQL and Redis print is read exactly, and their failures are not overlooked."""

import sys

import pytest

from benchmarks.proofs.databases import Load, RedisLoad, parse_pgbench, parse_redis
from benchmarks.proofs.evidence import ProofError

PGBENCH = """pgbench (15.18 (Debian 15.18-0+deb12u1))
transaction type: <builtin: TPC-B (sort of)>
scaling factor: 1
number of clients: 8
number of threads: 1
duration: 1 s
number of transactions actually processed: 3579
number of failed transactions: 2 (0.056%)
latency average = 2.226 ms
initial connection time = 13.487 ms
tps = 3593.431220 (without initial connection time)
"""

REDIS = """"test","rps","avg_latency_ms","min_latency_ms"
"SET","73529.41","0.2","0.1"
"GET","54054.05","0.3","0.1"
"""


def test_pgbench_tells_its_transactions_and_those_that_failed():
    report = parse_pgbench(PGBENCH, ["a complaint"])

    assert (report.transactions, report.failed, report.latency) == (3579, 2, 0.002226)
    assert report.complaints == ("a complaint",)


def test_pgbench_without_a_report_is_no_evidence():
    with pytest.raises(ProofError, match="connection to server failed"):
        parse_pgbench("", ["connection to server failed"])


def test_redis_benchmark_tells_a_rate_for_each_command():
    assert parse_redis(REDIS) == {"SET": 73529.41, "GET": 54054.05}


def test_redis_benchmark_without_a_report_is_no_evidence():
    with pytest.raises(ProofError, match="Could not connect"):
        parse_redis("Could not connect to Redis\n")


def test_the_number_of_requests_fits_whole_pipelines():
    from benchmarks.proofs.redis import KINDS, SHORT

    for load in KINDS.values():
        assert load.requests % load.pipeline == 0
        assert round(load.requests * SHORT) % load.pipeline == 0


def test_a_load_generator_that_fails_complains():
    with Load([sys.executable, "-c", "import sys; print('out'); sys.exit('refused')"], 5.0) as load:
        output, complaints = load.finish()

    assert output == "out\n"
    assert complaints[0] == "refused"
    assert complaints[1].endswith("ended with 1")


def test_a_command_of_redis_benchmark_says_all_that_the_load_is():
    argv = RedisLoad(("set", "get"), 100, clients=7, size=9, pipeline=2, keep=False).argv(20000)

    text = " ".join(argv)
    for words in ("-p 20000", "-n 100", "-c 7", "-d 9", "-P 2", "-k 0", "-t set,get"):
        assert words in text
