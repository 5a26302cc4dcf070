"""The effective configuration with the origin of each value, found out in a process of its own.

`python -m proxy.config.attributed` reads an Asked from standard input and writes the answer as msgpack; `in_child`
starts that and waits. The file is read again from its text at the time it came into force, whatever it says now.
"""

from __future__ import annotations

import sys
import zlib

import msgspec

from discovery.config import Config
from discovery.model import Struct
from proxy.config.child import DEADLINE, answer_of, begin


class Asked(Struct):
    """`config` is in force, and `text` (see Loaded) is what it was read from."""

    file: str
    text: bytes
    config: Config


def attributed(asked: Asked) -> bytes:
    """JSON: {"config": the effective configuration, "origins": an Origin by the path of each of its values}."""
    from proxy.config.effective import effective
    from proxy.config.load import text_written
    from proxy.config.origins import origins

    written = text_written(zlib.decompress(asked.text).decode(), asked.file)
    if written.loaded.config is None:  # a variable of the environment would have to be another one now
        raise ValueError(f"it cannot be read again: {written.loaded.problems[0]}")
    document = effective(asked.config)
    found = origins(document, written.places(), asked.file, effective(written.loaded.config))
    return msgspec.json.encode({"config": document, "origins": found})


async def in_child(file: str, text: bytes, config: Config) -> bytes:
    """What `attributed` says. Raises ChildFailed."""
    given = msgspec.msgpack.encode(Asked(file=file, text=text, config=config))
    return await answer_of(__name__, (), given, bytes, DEADLINE)


def main() -> int:
    begin()
    asked = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Asked)
    sys.stdout.buffer.write(msgspec.msgpack.encode(attributed(asked)))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
