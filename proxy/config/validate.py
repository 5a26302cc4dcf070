"""Checking a configuration in a process of its own.

`python -m proxy.config.validate FILE` reads the file, compiles its routes, runs its tests and writes the result to
standard output as msgpack; `load_in_child` starts that and waits. A large file takes a second of CPU, a hostile one
may take all its deadline, and neither delays whoever waits; what crashes there becomes a problem here. The process
that waits never loads the YAML parser or the tables of keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

import msgspec

from discovery.model import Position
from proxy.config.problems import Loaded, Problem

# 10,000 routes with 10,000 endpoints take 2 seconds; a machine busy with other things may take ten times as long.
DEADLINE = 60.0

# Traffic goes first while a file is checked.
NICENESS = 10

MAX_STDERR = 4096


def check(path: str) -> Loaded:
    """The configuration at `path`, refused when one of its own tests fails."""
    # Imported here: who only waits for a child never needs them.
    from proxy.config.load import load
    from proxy.config.route_tests import run

    loaded = load(path)
    if loaded.config is None:
        return loaded
    problems = run(loaded.config)
    return Loaded(config=None, problems=problems) if problems else loaded


async def load_in_child(path: str, deadline: float = DEADLINE) -> Loaded:
    """What `check` says, found out in another process. Never raises for what is in the file or for how the child
    ended; cancelling kills the child."""
    from proxy.control.children import environment

    try:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", __name__, path),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(),
        )
    except (OSError, ValueError) as error:
        return _refused(path, f"the process that checks it cannot be started: {error}")
    try:
        output, errors = await asyncio.wait_for(child.communicate(), deadline)
    except TimeoutError:
        return _refused(path, f"checking it took longer than {deadline:g} s")
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    if child.returncode:
        return _refused(path, f"the process that checks it {_ending(child.returncode)}{_last_line(errors)}")
    try:
        return msgspec.msgpack.decode(output, type=Loaded)
    except msgspec.DecodeError as error:
        return _refused(path, f"the process that checks it answered something else: {error}{_last_line(errors)}")


def _refused(path: str, message: str) -> Loaded:
    return Loaded(config=None, problems=(Problem(message=message, position=Position(file=path)),))


def _ending(code: int) -> str:
    if code > 0:
        return f"ended with status {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def _last_line(errors: bytes) -> str:
    lines = errors[-MAX_STDERR:].decode(errors="replace").strip().splitlines()
    return f" ({lines[-1].strip()})" if lines else ""


def main() -> int:
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m proxy.config.validate FILE\n")
        return 2
    os.nice(NICENESS)
    sys.stdout.buffer.write(msgspec.msgpack.encode(check(sys.argv[1])))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
