"""More clients and datagrams than there may be: limits hold, everything is counted, and nothing breaks."""

from __future__ import annotations

import os
import random
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from datagrams import udp_socket
from udp_playbook import UdpBook, service

from discovery.model import Limits, Settings, Timeouts
from proxy.stats import slots

SOURCES = 10_000
LARGEST = 65_507


class ManyClients:
    """One socket that sends from any address of 127.0.0.0/8."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("0.0.0.0", 0))
        self.to = ("127.0.0.1", port)

    def send(self, source: int, data: bytes) -> None:
        address = struct.pack("!I", (127 << 24) + 256 + source)
        # struct in_pktinfo: interface, address to send from, destination (ignored)
        info = struct.pack("@i4s4s", 0, address, bytes(4))
        self.socket.sendmsg([data], [(socket.IPPROTO_IP, 8, info)], 0, self.to)  # IP_PKTINFO


def test_ten_thousand_sources_get_as_many_sessions_as_there_may_be() -> None:
    chance = random.Random(7)
    with udp_socket() as origin:
        settings = Settings(limits=Limits(udp_sessions=500))
        with UdpBook(service("dns", origin), settings=settings) as book:
            clients = ManyClients(book.port)
            with clients.socket:
                for source in range(SOURCES):
                    size = chance.choice((0, 1, 512, 1472, 9000, LARGEST, chance.randrange(LARGEST)))
                    clients.send(source, chance.randbytes(min(size, 64)) + bytes(max(size - 64, 0)))
                    if source % 2 == 1:
                        book.settle()
            assert book.listener_cell(slots.DATAGRAMS_IN) == SOURCES
            assert book.listener_cell(slots.CONNECTIONS_TOTAL) == len(book.sessions()) == 500
            assert book.listener_cell(slots.OVERFLOWS) == SOURCES - 500
            assert book.listener_cell(slots.DATAGRAMS_OVERSIZE) == 0


def test_sessions_that_come_and_go_leave_nothing_behind() -> None:
    with udp_socket() as origin:
        settings = Settings(limits=Limits(udp_sessions=300), timeouts=Timeouts(udp_idle=0.1))
        with UdpBook(service("dns", origin), settings=settings) as book:
            clients = ManyClients(book.port)
            with clients.socket:
                for source in range(1000):
                    clients.send(source % 400, b"x")
                    book.settle()
                book.until(lambda: not book.sessions(), "all sessions have ended")
            assert book.gauges() == {}
            begun = book.listener_cell(slots.CONNECTIONS_TOTAL)
            # A datagram of a client that has a session is neither.
            assert begun + book.listener_cell(slots.OVERFLOWS) <= 1000
            assert len(book.plane.udp.servers[0].sessions) == 0


WITHOUT_PORTS = """
import sys
sys.path.insert(0, {support!r})
import socket
from udp_playbook import UdpBook, service
from datagrams import udp_socket
from proxy.stats import slots

with udp_socket(port=30000) as origin, UdpBook(service("dns", origin), bound=30001) as book:
    clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(40)]
    for number, client in enumerate(clients):
        client.bind(("127.0.0.1", 31000 + number))
        client.connect(("127.0.0.1", book.port))
        client.send(b"x")
        book.settle()
        client.close()
    print(len(book.sessions()), book.listener_cell(slots.OVERFLOWS), book.listener_cell(slots.DATAGRAMS_UNROUTED))
"""


def can_make_networks() -> bool:
    return subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_make_networks(), reason="needs a network namespace of its own, so root")
def test_running_out_of_ports_is_a_limit_like_others() -> None:
    support = Path(__file__).parents[2] / "support"
    script = WITHOUT_PORTS.format(support=str(support))
    setup = "ip link set lo up && echo 40000 40015 > /proc/sys/net/ipv4/ip_local_port_range && exec "
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", f'{setup} "$0" -c "$1"', sys.executable, script],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    sessions, overflows, unrouted = map(int, done.stdout.split())
    assert sessions == 16
    assert (overflows, unrouted) == (24, 0)
