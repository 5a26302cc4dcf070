"""Reading files in a process of its own.

A large file takes a second of CPU, a hostile one may take all of its deadline, and neither delays whoever waits; what
crashes there is an error here. The process that waits never loads the YAML parser.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import TypeVar

import msgspec

T = TypeVar("T")

# 10,000 routes with 10,000 endpoints take 2 seconds; a machine busy with other things may take ten times as long.
DEADLINE = 60.0

# Traffic goes first while a file is checked.
NICENESS = 10

MAX_STDERR = 4096


class ChildFailed(Exception):
    """Message: how the process ended, as a sentence about what it was to check."""


async def answer_of(module: str, arguments: tuple[str, ...], given: bytes, kind: type[T], deadline: float) -> T:
    """What `python -m module` writes as msgpack when it is given `given`. Cancelling kills the child. Raises
    ChildFailed."""
    from proxy.control.children import environment

    try:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", module, *arguments),
            stdin=asyncio.subprocess.PIPE if given else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(),
        )
    except (OSError, ValueError) as error:
        raise ChildFailed(f"the process that checks it cannot be started: {error}") from None
    try:
        output, errors = await asyncio.wait_for(child.communicate(given or None), deadline)
    except TimeoutError:
        raise ChildFailed(f"checking it took longer than {deadline:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    if child.returncode:
        raise ChildFailed(f"the process that checks it {_ending(child.returncode)}{_last_line(errors)}")
    try:
        return msgspec.msgpack.decode(output, type=kind)
    except msgspec.DecodeError as error:
        raise ChildFailed(f"the process that checks it answered something else: {error}{_last_line(errors)}") from None


def _ending(code: int) -> str:
    if code > 0:
        return f"ended with status {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def _last_line(errors: bytes) -> str:
    lines = errors[-MAX_STDERR:].decode(errors="replace").strip().splitlines()
    return f" ({lines[-1].strip()})" if lines else ""
