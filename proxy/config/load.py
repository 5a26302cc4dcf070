"""A configuration file -> Config, or every problem in it at once, in file order.

Bytes -> tree with positions (tree.py) -> values, by the tables of keys (document.py and below) -> checks across the
file (references.py). Whatever the bytes are, the result is a Loaded and never an exception.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
from collections.abc import Iterator
from collections.abc import Mapping as Environment
from pathlib import Path
from typing import NamedTuple

import msgspec

from discovery.config import Config
from discovery.model import EscapePolicy
from proxy.config import references
from proxy.config.document import DOCUMENT, MERGE_SLASHES, PATH_ESCAPES
from proxy.config.nodes import Mapping, Node, Scalar, describe
from proxy.config.places import Place
from proxy.config.problems import Loaded
from proxy.config.reading import Reading
from proxy.config.tree import parse

__all__ = ["MAX_BYTES", "Loaded", "Written", "load", "load_text", "load_written", "text_written", "uncollected"]

# 10,000 routes with 10,000 endpoints are 3 MB.
MAX_BYTES = 32 * 1024 * 1024


class Written(NamedTuple):
    """A configuration together with what it was read from. `root` is None when it could not be read as YAML."""

    loaded: Loaded
    file: str
    text: str = ""
    root: Node | None = None

    def places(self) -> Place:
        """Where everything was written. Only for a configuration without problems."""
        assert self.root is not None
        return Place(self.root, None, DOCUMENT)


def load(path: str | os.PathLike[str], environment: Environment[str, str] = os.environ) -> Loaded:
    """Read the file at `path`. Relative paths stay relative in messages."""
    return load_written(path, environment).loaded


def load_written(path: str | os.PathLike[str], environment: Environment[str, str] = os.environ) -> Written:
    name = os.fspath(path)
    reading = Reading(name)
    content = read_bytes(name, MAX_BYTES, reading)
    text = decoded(content, reading) if content is not None else None
    if content is None or text is None:
        return Written(Loaded(config=None, problems=reading.problems()), name)
    return _loaded(text, content, name, environment)


def read_bytes(name: str, most: int, reading: Reading) -> bytes | None:
    """The content of a file of at most `most` bytes; None with a problem."""
    try:
        with Path(name).open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        reading.problem_at(0, 0, f"cannot be read: {(error.strerror or str(error)).lower()}, expected a YAML file")
        return None
    except ValueError as error:  # a path with a NUL
        reading.problem_at(0, 0, f"cannot be read: {error}, expected a YAML file")
        return None
    if len(content) > most:
        reading.problem_at(0, 0, f"larger than {most} bytes, expected a configuration")
        return None
    return content


def decoded(content: bytes, reading: Reading) -> str | None:
    """As text; None with a problem."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        column = error.start - (before.rfind(b"\n") + 1) + 1
        message = f"byte 0x{content[error.start]:02x} is not UTF-8, expected a YAML file in UTF-8"
        reading.problem_at(before.count(b"\n") + 1, column, message)
        return None


def load_text(text: str, filename: str, environment: Environment[str, str] = os.environ) -> Loaded:
    """The same for text that is here already; `filename` is what its problems and positions name."""
    return text_written(text, filename, environment).loaded


def text_written(text: str, filename: str, environment: Environment[str, str] = os.environ) -> Written:
    return _loaded(text, text.encode(errors="replace"), filename, environment)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Everything read stays reachable until the end, so the cyclic collector would only walk it again and again: half
    of the time of a large file."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _loaded(text: str, content: bytes, filename: str, environment: Environment[str, str]) -> Written:
    reading = Reading(filename)
    with uncollected():
        root = parse(text, reading, environment)
        config = _read(root, reading)
    problems = reading.problems()
    if problems or config is None:
        return Written(Loaded(config=None, problems=problems), filename, text, root)
    digest = hashlib.sha256(content).hexdigest()[:12]
    return Written(Loaded(config=msgspec.structs.replace(config, digest=digest)), filename, text, root)


def _read(root: Node | None, reading: Reading) -> Config | None:
    if root is None:
        if not reading.problems():
            reading.problem_at(0, 0, "the file is empty, expected a mapping with listeners and services")
        return None
    if not isinstance(root, Mapping):
        if not (isinstance(root, Scalar) and root.is_null):
            reading.problem(root, None, f"expected a mapping with listeners and services, got {describe(root)}")
        else:
            reading.problem_at(0, 0, "the file is empty, expected a mapping with listeners and services")
        return None
    fields = DOCUMENT.fields(root, None, reading)
    if fields is None:
        return None
    escapes, merge_slashes = fields.get(PATH_ESCAPES, EscapePolicy.REJECT), fields.get(MERGE_SLASHES, True)
    references.check(root, escapes, merge_slashes, reading)
    return DOCUMENT.finish(fields)
