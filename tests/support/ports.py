"""Ports for servers that tests start."""

from __future__ import annotations

import itertools
import os
import socket

# Below the range that the kernel takes for outgoing connections, so that no client takes a port between the moment
# it is found free here and the moment its server binds it.
FIRST, LAST = 18_000, 31_000

_sequence = itertools.count(os.getpid() * 37)


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP and UDP port that nobody listens on. Each call gives another one."""
    for _ in range(LAST - FIRST):
        port = FIRST + next(_sequence) % (LAST - FIRST)
        if _is_free(host, port, socket.SOCK_STREAM) and _is_free(host, port, socket.SOCK_DGRAM):
            return port
    raise AssertionError(f"no free port between {FIRST} and {LAST}")


def free_address(host: str = "127.0.0.1") -> str:
    return f"{host}:{free_port(host)}"


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port"."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _is_free(host: str, port: int, kind: socket.SocketKind) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind is socket.SOCK_STREAM:
            # Connections of an earlier server that are still in TIME_WAIT are no obstacle to a real one either.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
