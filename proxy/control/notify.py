"""Telling the service manager how far we are: sd_notify(3), which is a datagram to the socket in NOTIFY_SOCKET.

A service of `Type=notify-reload` waits for READY, and after each SIGHUP for RELOADING and READY again. Our process id
never changes, not by an upgrade either. Who starts us without such a socket hears nothing, and a manager that does not
listen keeps nobody waiting. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)

    def ready(self) -> None:
        self._send("READY=1", "STATUS=in service")

    def reloading(self) -> None:
        # The time lets the manager tell the READY of this reload from an earlier one.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=reloading")

    def stopping(self) -> None:
        self._send("STOPPING=1", "STATUS=draining")

    def upgrading(self) -> None:
        self._send("STATUS=in service, being upgraded")

    def _send(self, *lines: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto("\n".join(lines).encode(), self._address)
