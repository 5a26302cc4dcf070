"""The start of the program under the same faults: it comes into service, or says in one sentence why not and ends.

Each n is a start of its own, with a configuration that needs little. Once the program is in service the fault is off,
it has to answer, and it has to end at SIGTERM.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from benchmarks.faults.asking import RIGHT, Wrong
from benchmarks.faults.control import Call, Control, Fault, Role, Seen, Sort
from benchmarks.faults.loop import Result
from benchmarks.faults.origins import HOST
from benchmarks.faults.table import LAST
from benchmarks.proofs.hive import CHECKOUT, free_port

START_LIMIT: Final = 40.0  # seconds: a worker that hangs is replaced after `worker_hang`
STOP_LIMIT: Final = 15.0
ALL: Final = Role.SUPERVISOR | Role.AGENT | Role.WORKER | Role.CHILD
OURS: Final = Role.SUPERVISOR | Role.AGENT | Role.WORKER


def faults() -> Iterator[Fault]:
    for error in (errno.EMFILE, errno.ENOMEM):
        yield Fault(Call.SOCKET, error, ALL)
        yield Fault(Call.PIPE, error, ALL)
    yield Fault(Call.EPOLL, errno.ENOMEM, ALL)
    for error in (errno.EAGAIN, errno.ENOMEM):
        yield Fault(Call.SPAWN, error, ALL)
    for error in (0, errno.EINTR, errno.ENOMEM):
        yield Fault(Call.READ, error, OURS, Sort.UNIX)
        yield Fault(Call.WRITE, error, OURS, Sort.UNIX)
    for error in (errno.ENOSPC, errno.EIO):
        yield Fault(Call.WRITE, error, OURS, path="registry.db")
        yield Fault(Call.SYNC, error, OURS, path="registry.db")
    for path in ("registry.db", "hivemesh.yaml", "access.log"):
        yield Fault(Call.OPEN, errno.EMFILE, ALL, path=path)
        yield Fault(Call.OPEN, errno.EIO, ALL, path=path)


def carry_out(folder: Path, result: Result, wanted: Iterable[Fault] | None = None, last: int = LAST) -> None:
    control = Control(folder)
    try:
        for fault in faults() if wanted is None else wanted:
            met = 0
            for n in range(1, last + 1):
                seen, finding = _once(folder, control, fault, n, result)
                if finding:
                    result.findings.append(f"start: {fault}, n = {n}, {seen.call} of descriptor {seen.fd}: {finding}")
                    print(f"  WRONG  {result.findings[-1]}", flush=True)
                if not seen.failed:
                    break
                met += 1
            print(f"start: {fault}: {met} of its calls failed", flush=True)
            if not met:
                result.unmet.append(f"start: {fault}")
    finally:
        control.close()


def _once(folder: Path, control: Control, fault: Fault, n: int, result: Result) -> tuple[Seen, str]:
    """What happened, and what of it is wrong."""
    result.runs += 1
    began = time.monotonic()
    control.arm(fault, n)
    try:
        outcome, wrong = _start(folder, control), ""
    except Wrong as found:
        outcome, wrong = "wrong", str(found)
    finally:
        control.disarm()
    seen = control.seen()
    result.slowest = max(result.slowest, time.monotonic() - began)
    if seen.failed:
        result.met += 1
        result.count(fault.call, outcome)
    elif not wrong and outcome != RIGHT:
        wrong = f"without a fault: {outcome}"
    return seen, wrong


def _start(folder: Path, control: Control) -> str:
    admin, web = free_port(), free_port()
    file = folder / "hivemesh.yaml"
    for old in folder.glob("registry.db*"):
        old.unlink()
    file.write_text(json.dumps(_config(folder, admin, web)))
    output = folder / "start.output"
    with output.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "run", "-c", str(file)],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **control.environment()},
        )
    try:
        return _judged(process, output, control, admin, web)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _judged(process: subprocess.Popen[bytes], output: Path, control: Control, admin: int, web: int) -> str:
    deadline = time.monotonic() + START_LIMIT
    while process.poll() is None and not _answers(admin, "/readyz"):
        if time.monotonic() > deadline:
            raise Wrong(f"neither in service nor ended after {START_LIMIT:g} s:\n{_tail(output)}")
        time.sleep(0.05)
    control.disarm()
    if process.poll() is not None:
        text = output.read_text(errors="replace")
        if "Traceback" in text:
            raise Wrong(f"ends with a traceback:\n{_tail(output)}")
        if process.returncode <= 0 or not text.strip():
            raise Wrong(f"ends with {process.returncode} and without a word:\n{_tail(output)}")
        return f"exit {process.returncode}"
    if not _answers(web, "/"):
        raise Wrong(f"in service without answering:\n{_tail(output)}")
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        raise Wrong(f"does not end at SIGTERM:\n{_tail(output)}") from None
    if code != 0:
        raise Wrong(f"ends with {code} at SIGTERM:\n{_tail(output)}")
    if "Traceback" in output.read_text(errors="replace"):
        raise Wrong(f"works, with a traceback:\n{_tail(output)}")
    return RIGHT


def _answers(port: int, path: str) -> bool:
    connection = HTTPConnection(HOST, port, timeout=2.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _tail(output: Path) -> str:
    return "\n".join(output.read_text(errors="replace").splitlines()[-25:])


def _config(folder: Path, admin: int, web: int) -> dict[str, object]:
    answer = {"name": "all", "filters": [{"direct_response": {"status": 200, "body": "well"}}]}
    return {
        "workers": 1,
        "admin": {"address": f"{HOST}:{admin}"},
        "access_log": {"path": str(folder / "access.log"), "format": "json"},
        "registry": {"store": f"sqlite:{folder / 'registry.db'}"},
        "timeouts": {"drain": "1s", "drain_streams": "1s", "worker_hang": "3s"},
        "listeners": [{"name": "web", "address": f"{HOST}:{web}", "protocol": "http", "routes": [answer]}],
    }
