"""Who listens on a TCP port of this machine, as far as /proc tells.

Used for one thing: an error message that names the process to look at. Never raises; what cannot be read (another
user's processes, no /proc) is just not known. Standard library only.
"""

from __future__ import annotations

import os
from typing import NamedTuple

_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp


class Occupant(NamedTuple):
    pid: int
    name: str


def occupant(port: int) -> Occupant | None:
    inodes = {f"socket:[{inode}]" for inode in _listening(port)}
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


def _listening(port: int) -> set[str]:
    suffix = f":{port:04X}"
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in _read(table).splitlines()[1:]:
            columns = line.split()
            if len(columns) > 9 and columns[1].endswith(suffix) and columns[3] == _LISTEN:
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
