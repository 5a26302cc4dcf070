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
    options = run_options(arguments)
    if options is None:
        print(f"usage: hivemesh run [-c FILE] [--user NAME[:GROUP]]   (without -c: {DEFAULT_CONFIG})", file=sys.stderr)
        return EXIT_USAGE
    from proxy.control import program

    return program.run(*options)


def run_options(arguments: list[str]) -> tuple[str, str | None] | None:
    """FILE of `-c FILE`, `-cFILE`, `--config FILE` or `--config=FILE`, and NAME of `--user NAME` or `--user=NAME`, each
    at most once; None when it is anything else."""
    path = user = None
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word in ("-c", "--config", "--user"):
            if not rest:
                return None
            name, value = word, rest.pop(0)
        elif word.startswith("-c"):
            name, value = "-c", word[2:]
        else:
            name, _, value = word.partition("=")
        if not value:
            return None
        if name in ("-c", "--config") and path is None:
            path = value
        elif name == "--user" and user is None:
            user = value
        else:
            return None
    return path or DEFAULT_CONFIG, user


if __name__ == "__main__":
    sys.exit(main())
