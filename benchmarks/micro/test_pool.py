"""What it costs to take an idle connection and to give it back.

    pytest benchmarks/micro/test_pool.py --benchmark-columns=min,median --benchmark-sort=name

Each round takes and gives back 64 times. Both must not depend on how many connections wait.
"""

from __future__ import annotations

import os
import socket

import pytest

from discovery.model import Endpoint, PoolPolicy, Service
from proxy.kernel.cells import Table
from proxy.kernel.netio import Reactor
from proxy.stats import slots
from proxy.upstream.endpoint import EndpointRuntime, PooledStream, ServiceRuntime

TIMES = 64


@pytest.mark.parametrize("idle", [1, 200])
@pytest.mark.parametrize("replayable", [True, False], ids=["GET", "POST"])
def test_take_and_give(benchmark, idle: int, replayable: bool) -> None:
    """A request that cannot be repeated asks the kernel whether the connection is quiet: one system call."""
    descriptor = os.memfd_create("statistics")
    os.ftruncate(descriptor, slots.table_size(1, 4))
    table = Table(descriptor, 1, 4)
    os.close(descriptor)
    reactor = Reactor()
    service = ServiceRuntime(Service(name="app"), table.slot(0, 1), table.shared(1))
    endpoint = EndpointRuntime(
        service,
        Endpoint(id="a", address="127.0.0.1:9"),
        PoolPolicy(max_idle=idle),
        table.slot(0, 2),
        table.shared(2),
    )
    peers = []
    for _ in range(idle):
        ours, theirs = socket.socketpair()
        peers.append(theirs)
        stream = PooledStream()
        stream.attach(reactor, ours.detach())
        assert endpoint.give(stream, 0)

    def round_of_requests() -> None:
        for now in range(TIMES):
            stream = endpoint.take(replayable, now)
            assert stream is not None
            endpoint.give(stream, now)

    benchmark(round_of_requests)
    reactor.close()
    for peer in peers:
        peer.close()
