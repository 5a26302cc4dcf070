"""A problem of a configuration: where it is, which key, what is wrong and what was expected."""

from __future__ import annotations

from enum import StrEnum

from discovery.config import Config
from discovery.model import Position, Struct


class Severity(StrEnum):
    ERROR = "error"  # something is not in force, or does not work
    WARNING = "warning"  # everything is in force; somebody should know what that means


class Problem(Struct):
    """Printed as `file:line:col: key: message`, a warning with `warning: ` before it. `source` groups problems that
    replace each other (config, listener web, access log …): reporting a source again replaces what it said before."""

    message: str
    position: Position | None = None
    key: str = ""
    source: str = "config"
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        where = "" if self.severity is Severity.ERROR else f"{self.severity}: "
        if self.position is not None:
            where += f"{self.position.file}:"
            if self.position.line:
                where += f"{self.position.line}:{self.position.column}:"
            where += " "
        return f"{where}{self.key}: {self.message}" if self.key else f"{where}{self.message}"


class Loaded(Struct):
    """What reading a file gave: a configuration and no problems, or problems and no configuration. A configuration
    that was checked may come with warnings, and with the text that it was read from (UTF-8, compressed by zlib)."""

    config: Config | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    text: bytes = b""
