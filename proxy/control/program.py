"""The program behind `hivemesh run`: the supervisor, with what it needs to know from its command line.

`python -m proxy.control.program` is how it starts itself again for an upgrade:

    --resume NUMBER FILE [USER]   go on with the hand-over in descriptor NUMBER
    --probe FORMAT FILE           say whether this program could (proxy/control/probe.py)

Standard library only, the probe apart.
"""

from __future__ import annotations

import functools
import os
import sys

from proxy.control import children, handover, privileges, startup
from proxy.control.upgrade import UpgradingSupervisor

EXIT_FAILED = 1
EXIT_USAGE = 2


def run(config: str, user: str | None = None, resume: int | None = None) -> int:
    """Until everything has ended. The exit code of the program."""
    lacks = startup.missing()
    if lacks:
        print(*(f"hivemesh: {sentence}" for sentence in lacks), sep="\n", file=sys.stderr)
        return EXIT_FAILED
    spawner: children.Spawner = children.spawn
    found = None
    try:
        if user is not None:
            found = privileges.find(user)
            spawner = functools.partial(children.spawn, user=found)
    except privileges.PrivilegeError as error:
        print(f"hivemesh: {error}", file=sys.stderr)
        if resume is None:
            return EXIT_FAILED
        raise  # the probe has found the user a moment ago
    arguments = [config] if user is None else [config, user]
    try:
        supervisor = UpgradingSupervisor(config, spawner, arguments, found)
    except OSError as error:
        print(f"hivemesh: cannot start: {error}", file=sys.stderr)
        return EXIT_FAILED
    if resume is not None:
        supervisor.take_over(handover.read(resume))
    elif user is None and os.geteuid() == 0:
        supervisor.log.write("running as root", "warning", reason=startup.ROOT)
    return supervisor.run()


def main(arguments: list[str]) -> int:
    match arguments:
        case ["--probe", number, path]:
            from proxy.control.probe import examine

            return examine([number, path])
        case ["--resume", number, path]:
            return run(path, None, int(number))
        case ["--resume", number, path, user]:
            return run(path, user, int(number))
    print("usage: python -m proxy.control.program --probe FORMAT FILE | --resume NUMBER FILE [USER]", file=sys.stderr)
    return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
