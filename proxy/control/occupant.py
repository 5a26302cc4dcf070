"""Who listens on a TCP or UDP port of this machine, as far as /proc tells.

Used for one thing: an error message that names the process to look at. Never raises; what cannot be read (another
user's processes, no /proc) is just not known. Standard library only.
"""

from __future__ import annotations

import os
import socket
from typing import NamedTuple

# The tables of /proc/net and the state that a socket which takes what comes from anybody has there: TCP_LISTEN, and
# TCP_CLOSE for UDP, where a connected socket is TCP_ESTABLISHED.
_TABLES = {
    socket.SOCK_STREAM: (("tcp", "tcp6"), "0A"),
    socket.SOCK_DGRAM: (("udp", "udp6"), "07"),
}


class Occupant(NamedTuple):
    pid: int
    name: str


def occupant(port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> Occupant | None:
    inodes = {f"socket:[{inode}]" for inode in _listening(port, kind)}
    if not inodes:
        return None
    for pid in _numbers("/proc"):
        for descriptor in _numbers(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            except OSError:
                continue
            if target in inodes:
                return Occupant(pid, _read(f"/proc/{pid}/comm").strip())
    return None


def _listening(port: int, kind: socket.SocketKind) -> set[str]:
    suffix = f":{port:04X}"
    tables, state = _TABLES[kind]
    found = set()
    for table in tables:
        for line in _read(f"/proc/net/{table}").splitlines()[1:]:
            columns = line.split()
            if len(columns) > 9 and columns[1].endswith(suffix) and columns[3] == state:
                found.add(columns[9])
    return found


def _numbers(folder: str) -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir(folder) if name.isdigit())
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
