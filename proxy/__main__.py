"""`hivemesh` and `python -m proxy`: decides between running the program and commanding it.

`run` becomes the supervisor, which lives as long as the program and must stay small, so nothing of the commands
(click, rich, the configuration reader) is imported on that way. Everything else is proxy/cli/.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

DEFAULT_CONFIG = "hivemesh.yaml"
EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    from proxy.cli.ownership import conflict

    other = conflict()
    if other:
        print(f"hivemesh: {other}", file=sys.stderr)
        return 1
    if arguments[:1] == ["run"] and not {"-h", "--help"} & set(arguments):
        return run(arguments[1:])
    from proxy.cli.main import cli

    return cli(arguments)


def run(arguments: list[str]) -> int:
    path = config_path(arguments)
    if path is None:
        print(f"usage: hivemesh run [-c FILE]   (without -c: {DEFAULT_CONFIG})", file=sys.stderr)
        return EXIT_USAGE
    from proxy.control import supervisor

    return supervisor.main([path])


def config_path(arguments: list[str]) -> str | None:
    """FILE of `-c FILE`, `-cFILE`, `--config FILE` or `--config=FILE`; None when it is anything else."""
    match arguments:
        case []:
            return DEFAULT_CONFIG
        case ["-c" | "--config", path]:
            return path
        case [joined] if joined.startswith("--config="):
            return joined.removeprefix("--config=") or None
        case [joined] if joined.startswith("-c") and len(joined) > 2:
            return joined[2:]
    return None


if __name__ == "__main__":
    sys.exit(main())
