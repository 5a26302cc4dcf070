"""What it costs to remember a request that is over, and to show it to whoever looks on.

    pytest benchmarks/micro/test_records.py --benchmark-columns=min,median --benchmark-sort=name

Each round ends 64 requests, so divide by 64: all of `finish`, which counts the request and lets go of it, without
records, with all of them kept, and with one in ten. The rings have come round before. The goal is at most 0.3
microseconds between the first and the second; on two cores of an AMD EPYC that had other work it was 0.24. With a tap,
a record is made of every request before its filter is asked; without one, `finish` asks whether there is one:
the goal for that is 0.05 microseconds, and asked from Python as here it costs more than there.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from typing import cast

import pytest

from discovery.model import Endpoint, PoolPolicy, Position, Protocol, RecordSettings, Route, Service, Settings
from proxy.control.messages import Seen, Tap
from proxy.http1.ending import Ending
from proxy.http1.intake import read_request
from proxy.http1.parties import ClientSide, Exchange, ListenerRuntime, RouteRuntime
from proxy.http1.records import Records
from proxy.http1.settings import HttpSettings
from proxy.kernel.buffer import Buffer
from proxy.kernel.cells import Shared, Table
from proxy.kernel.netio import Reactor
from proxy.kernel.scan import scan_request
from proxy.stats import slots
from proxy.taps import Taps
from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime

TIMES = 64
ROWS = 16

REQUEST = (
    b"GET /api/v2/items/%d?page=3&sort=name HTTP/1.1\r\n"
    b"Host: shop.example.org\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: application/json\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Cookie: session=8f1c3ad2b4e5467f9a0b1c2d3e4f5a6b\r\n\r\n"
)

SETTINGS = {
    "without": None,
    "all": RecordSettings(),
    "a tenth": RecordSettings(sample=0.1),
}


class Bench:
    """Requests that an endpoint has answered, and what ends them."""

    def __init__(self) -> None:
        descriptor = os.memfd_create("statistics")
        os.ftruncate(descriptor, slots.table_size(1, ROWS))
        self.table = table = Table(descriptor, 1, ROWS)
        os.close(descriptor)
        self.reactor = Reactor()
        self.settings = HttpSettings(Settings())
        self.ending = Ending(self.reactor, self.settings, lambda *_: None, table.slot(0, slots.WORKER_SLOT))
        self.listener = ListenerRuntime("web", Protocol.HTTP, table.slot(0, 1))
        service = Service(name="shop")
        self.service = ServiceRuntime(service, table.slot(0, 2), cast(Shared, table.shared(2)))
        endpoint = Endpoint(id="a", address="10.0.0.1:8080", version="v2")
        self.endpoint = EndpointRuntime(self.service, endpoint, PoolPolicy(), table.slot(0, 3), table.shared(3))
        self.route = RouteRuntime()
        self.route.route = Route(name="items", position=Position(file="hive.yaml", line=12))
        self.route.slot = table.slot(0, 4)
        self.client = ClientSide()
        self.client.peer = b"192.0.2.77"
        self.numbers = itertools.count()

    def requests(self) -> list[Exchange]:
        """As many as a round ends, each with a head and an id of its own."""
        self.reactor.poll()  # lets go of those of the last round
        made = []
        for _ in range(TIMES):
            source = Buffer(2048)
            source.append(REQUEST % next(self.numbers))
            head = self.ending.take_head()
            assert scan_request(source, head, self.settings.request_limits) > 0
            now = self.reactor.micros()
            exchange = Exchange.__new__(Exchange)
            exchange.start(self.client, self.listener, head, now, now + 20)
            read_request(exchange, self.settings)
            exchange.route, exchange.service, exchange.endpoint = self.route, self.service, self.endpoint
            exchange.entered = exchange.answered = exchange.request_done = True
            exchange.attempts = 1
            exchange.status = exchange.upstream_status = 200
            exchange.assigned, exchange.connected, exchange.first_byte = now + 21, now + 22, now + 900
            exchange.bytes_in, exchange.bytes_out = 300, 1200
            made.append(exchange)
        return made

    def end(self, exchanges: list[Exchange]) -> None:
        finish = self.ending.finish
        for exchange in exchanges:
            finish(exchange)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_finish(benchmark, settings: RecordSettings | None) -> None:
    bench = Bench()
    records = bench.ending.records = Records(settings) if settings is not None else None
    for _ in range(2 * RecordSettings().size // TIMES):
        bench.end(bench.requests())
    benchmark.pedantic(bench.end, setup=lambda: ((bench.requests(),), {}), rounds=500)
    if records is not None:
        assert records.sampled.used


TAPS = {"fails": "status == 404", "holds": 'status == 200 && t_upstream < 1s && path =~ "/api/.*"', "all": ""}


@pytest.mark.parametrize("text", TAPS.values(), ids=TAPS.keys())
def test_tapped_finish(benchmark, text: str) -> None:
    bench = Bench()
    loop = asyncio.new_event_loop()
    seen: list[Seen] = []

    def send(batch: Seen) -> bool:
        seen[:] = [batch]
        return True

    taps = Taps(loop, worker=0, wall_offset=0, version_at=lambda moment: 1, secret="s", send=send)
    taps.put(Tap(number=1, filter=text, most=10**9))
    bench.ending.taps = taps
    benchmark.pedantic(bench.end, setup=lambda: ((bench.requests(),), {}), rounds=200)
    assert bool(seen[0].records) is (text != TAPS["fails"])
    taps.close()
    loop.close()


def test_whether_there_is_a_tap(benchmark) -> None:
    """The same question asked from Python, which costs more than what `finish` does."""
    ending = Bench().ending

    def ask() -> None:
        for _ in range(TIMES):
            if ending.taps is not None:
                raise AssertionError

    benchmark(ask)
