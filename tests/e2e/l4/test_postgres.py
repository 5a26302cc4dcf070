"""PostgreSQL's own client and load generator through a TCP listener with two endpoints."""

from __future__ import annotations

import pytest
from ports import free_port

from benchmarks.proofs.databases import Load, Postgres, parse_pgbench, pgbench_command
from benchmarks.proofs.evidence import MissingTool

CLIENTS = 6
SECONDS = 1

# Of a large answer; a few megabytes.
ROWS = 300_000


@pytest.fixture(scope="module")
def servers():
    try:
        with Postgres() as first, Postgres() as second:
            yield first, second
    except MissingTool as problem:
        pytest.skip(str(problem))


@pytest.fixture
def port(hive, servers):
    """Of a TCP listener in front of both."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    hive(
        *(server.address for server in servers),
        listeners=[{"name": "store", "address": address, "protocol": "tcp", "service": "app"}],
    )
    return port


def run_pgbench(port, reconnect):
    with Load(pgbench_command(port, SECONDS, CLIENTS, reconnect), SECONDS) as load:
        return parse_pgbench(*load.finish())


def test_transactions_are_committed_once_each_on_either_server(servers, port):
    before = [server.history() for server in servers]

    report = run_pgbench(port, reconnect=False)

    assert report.transactions > 0
    assert (report.failed, report.complaints) == (0, ())
    committed = [server.history() - count for server, count in zip(servers, before, strict=True)]
    assert sum(committed) == report.transactions
    assert all(committed)


def test_a_connection_for_each_query_works(port):
    report = run_pgbench(port, reconnect=True)

    assert report.transactions > CLIENTS
    assert (report.failed, report.complaints) == (0, ())


def test_a_large_answer_arrives_whole(servers, port):
    got = servers[0].ask(f"copy (select generate_series(1, {ROWS})) to stdout", port)

    assert got == "\n".join(map(str, range(1, ROWS + 1)))


def test_an_error_of_the_server_is_the_client_s_and_ends_nothing(servers, port):
    with pytest.raises(Exception, match="division by zero"):
        servers[0].ask("select 1/0", port)

    assert servers[0].ask("select 2", port) == "2"
