"""The access log of a worker: opened as the settings say, reopened, and told of connections that never got further.

A log that cannot be opened stops no traffic. AccessLog (proxy/accesslog.py) makes the lines and writes them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from discovery.model import AccessLog as LogSettings
from discovery.model import LogFormat
from proxy.accesslog import AccessLog
from proxy.http1.parties import ListenerRuntime
from proxy.kernel.cells import Slot
from proxy.kernel.netio import Reactor
from proxy.preface.driver import Found
from proxy.streamlog import TCP, UDP, StreamRecord


def why(error: OSError) -> str:
    """Why a file could not be opened. Who may not needs to know as whom it was tried."""
    reason = error.strerror or str(error)
    return f"{reason} for user {os.geteuid()}" if isinstance(error, PermissionError) else reason


class CurrentLog:
    """`file` is None while nothing is logged; `settings` are those of it."""

    def __init__(self, reactor: Reactor, worker_slot: Slot, emit: Callable[[str, Mapping[str, Any]], None]) -> None:
        self.reactor = reactor
        self.worker_slot = worker_slot
        self.emit = emit
        self.file: AccessLog | None = None
        self.settings = LogSettings()

    def apply(self, wanted: LogSettings) -> None:
        """Log as `wanted`. A file that cannot be opened stops no traffic: the log stays what it was, and the next
        change of configuration tries again."""
        if wanted == self.settings:
            return
        file = None
        if wanted.format is not LogFormat.OFF:
            try:
                file = AccessLog(wanted, self.worker_slot, self.report_loss)
            except OSError as error:
                self.report_closed(wanted.path, error)
                return
        self.close()
        self.file = file
        self.settings = wanted

    def reopen(self) -> None:
        """Go on in the files that have our names now; where that fails, in those that we have."""
        if self.file is not None:
            try:
                self.file.reopen()
            except OSError as error:
                self.report_closed(self.settings.path, error)

    def flush(self) -> None:
        if self.file is not None:
            self.file.flush()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()

    def report_closed(self, path: str, error: OSError) -> None:
        self.emit("access log not opened", {"path": path, "reason": why(error)})

    def report_loss(self, reason: str) -> None:
        self.emit("access log lines lost", {"reason": reason})

    # --- connections without a way --------------------------------------------------------------------------------

    def rejected(self, found: Found, reason: str) -> None:
        """A connection was closed because it did not begin as it has to; it has a line in the log all the same."""
        self.write(StreamRecord(TCP, found.listener.name, found.peer, found.port, found.started), "DPE", reason)

    def denied(self, listener: ListenerRuntime, client: bytes, port: int, why: str) -> None:
        """A client wants more connections or sessions than one may have; told of now and then."""
        protocol = UDP if listener.protocol.is_datagram else TCP
        self.write(StreamRecord(protocol, listener.name, client, port, self.reactor.micros()), "UO", why)

    def write(self, record: StreamRecord, flag: str, detail: str) -> None:
        if self.file is not None:
            record.add_flag(flag)
            record.detail = detail
            record.received = record.finished = self.reactor.micros()
            self.file.write_stream(record)
