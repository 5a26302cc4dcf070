"""Checking a configuration in a process of its own.

`python -m proxy.config.validate FILE` reads the file, compiles its routes, runs its tests and writes the result to
standard output as msgpack; `load_in_child` starts that and waits. A large file takes a second of CPU, a hostile one
may take all its deadline, and neither delays whoever waits; what crashes there becomes a problem here. The process
that waits never loads the YAML parser or the tables of keys.
"""

from __future__ import annotations

import sys
import zlib
from typing import TYPE_CHECKING

import msgspec

from discovery.model import Position
from proxy.config.child import DEADLINE, ChildFailed, answer_of, begin
from proxy.config.problems import Loaded, Problem

if TYPE_CHECKING:
    from proxy.config.load import Written


def check(path: str) -> Loaded:
    """The configuration at `path`, refused when one of its own tests fails."""
    # Imported here: who only waits for a child never needs them.
    from proxy.config.load import load_written

    return checked(load_written(path))


def checked(written: Written) -> Loaded:
    """What was read, after its tests were run; with warnings, if it stands."""
    from proxy.config.route_tests import run
    from proxy.config.warnings import warnings_of

    config = written.loaded.config
    if config is None:
        return written.loaded
    problems = run(config)
    if problems:
        return Loaded(config=None, problems=problems)
    text = zlib.compress(written.text.encode(errors="replace"), 1)
    return Loaded(config=config, warnings=warnings_of(written), text=text)


async def load_in_child(path: str, deadline: float = DEADLINE) -> Loaded:
    """What `check` says, found out in another process. Never raises for what is in the file or for how the child
    ended; cancelling kills the child."""
    try:
        return await answer_of(__name__, (path,), b"", Loaded, deadline)
    except ChildFailed as error:
        return Loaded(config=None, problems=(Problem(message=str(error), position=Position(file=path)),))


def main() -> int:
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m proxy.config.validate FILE\n")
        return 2
    begin()
    sys.stdout.buffer.write(msgspec.msgpack.encode(check(sys.argv[1])))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
