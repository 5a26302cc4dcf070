"""Redis's load generator through a TCP listener with two endpoints; the servers count what reached them."""

from __future__ import annotations

from collections import Counter

import pytest
from ports import free_port

from benchmarks.proofs.databases import Redis, RedisLoad
from benchmarks.proofs.evidence import MissingTool
from benchmarks.proofs.redis import run


@pytest.fixture(scope="module")
def servers():
    try:
        with Redis() as first, Redis() as second:
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


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(RedisLoad(("set", "get", "incr"), 2000), id="one by one"),
        pytest.param(RedisLoad(("set", "get"), 8000, pipeline=16), id="pipelined"),
        pytest.param(RedisLoad(("set", "get"), 400, clients=10, size=100_000), id="large values"),
        pytest.param(RedisLoad(("set", "get"), 1000, clients=20, keep=False), id="a connection for each"),
    ],
)
def test_every_command_is_carried_out_once_on_either_server(load, servers, port):
    before = [Counter(server.calls()) for server in servers]

    complaints = run(load, port)

    assert complaints == []
    assert [server.errors() for server in servers] == [0, 0]
    calls = [Counter(server.calls()) - count for server, count in zip(servers, before, strict=True)]
    assert {command: sum(each[command] for each in calls) for command in load.commands} == dict.fromkeys(
        load.commands, load.requests
    )
    assert all(each[load.commands[0]] for each in calls)
