"""A problem of a configuration: where it is, which key, what is wrong and what was expected."""

from __future__ import annotations

from discovery.model import Config, Position, Struct


class Problem(Struct):
    """Printed as `file:line:col: key: message`. `source` groups problems that replace each other (config, listener
    web, access log …): reporting a source again replaces what it said before."""

    message: str
    position: Position | None = None
    key: str = ""
    source: str = "config"

    def __str__(self) -> str:
        where = ""
        if self.position is not None:
            where = f"{self.position.file}:"
            if self.position.line:
                where += f"{self.position.line}:{self.position.column}:"
            where += " "
        return f"{where}{self.key}: {self.message}" if self.key else f"{where}{self.message}"


class Loaded(Struct):
    """What reading a file gave: a configuration and no problems, or problems and no configuration."""

    config: Config | None
    problems: tuple[Problem, ...] = ()
