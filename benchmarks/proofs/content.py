"""Bytes of any length that are known by their position, so that ten gigabytes need no file of ten gigabytes.

The content repeats a random block whose length is no multiple of any buffer size: bytes that are lost, doubled or
swapped anywhere are noticed, which a repetition of 64 KiB would hide. Each receiver also hashes what it got; the hash
of what was meant is computed apart from it.
"""

from __future__ import annotations

import hashlib
import os
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PERIOD: Final = 8 * 1024 * 1024 + 13
SEED: Final = 20_061
MOST: Final = 256 * 1024  # one read, write or comparison

_BLOCK: Final = random.Random(SEED).randbytes(PERIOD)
_TWICE: Final = memoryview(_BLOCK + _BLOCK[:MOST])


def piece(position: int, count: int) -> memoryview:
    """`count` bytes of the content from `position` on; at most MOST."""
    start = position % PERIOD
    return _TWICE[start : start + count]


def pieces(length: int, sizes: Iterator[int]) -> Iterator[memoryview]:
    """The first `length` bytes, cut as `sizes` says."""
    position = 0
    while position < length:
        count = min(next(sizes), MOST, length - position)
        yield piece(position, count)
        position += count


def digest(length: int) -> str:
    """SHA-256 of the first `length` bytes."""
    found = hashlib.sha256()
    whole, rest = divmod(length, PERIOD)
    for _ in range(whole):
        found.update(_BLOCK)
    found.update(_BLOCK[:rest])
    return found.hexdigest()


class Check:
    """Takes a received body piece by piece; `wrong_at` is the position of the first piece that is not the content."""

    def __init__(self) -> None:
        self.length = 0
        self.wrong_at: int | None = None
        self._hash = hashlib.sha256()

    def take(self, data: bytes | memoryview) -> None:
        """At most MOST bytes."""
        self._hash.update(data)
        if self.wrong_at is None and bytes(data) != bytes(piece(self.length, len(data))):
            self.wrong_at = self.length
        self.length += len(data)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


class Pace:
    """Holds a loop to a rate: `after(count)` sleeps until `count` more bytes are due. Rate 0 is as fast as it goes."""

    def __init__(self, bytes_per_s: float) -> None:
        self._rate = bytes_per_s
        self._began = time.monotonic()
        self._count = 0

    def after(self, count: int) -> None:
        self._count += count
        if self._rate:
            ahead = self._began + self._count / self._rate - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)


class ContentFile:
    """The block as a file, for sendfile: an origin that costs next to nothing."""

    def __init__(self, folder: Path) -> None:
        path = folder / "content"
        path.write_bytes(_BLOCK)
        self._descriptor = os.open(path, os.O_RDONLY)

    def send(self, sock: socket.socket, length: int) -> None:
        """The first `length` bytes, as fast as the receiver takes them. `sock` is blocking, without a timeout."""
        position = 0
        while position < length:
            offset = position % PERIOD
            position += os.sendfile(sock.fileno(), self._descriptor, offset, min(PERIOD - offset, length - position))
