"""structlog for the agent: the events of proxy/control/events.py on standard error, JSON or text."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO

import structlog

from proxy.control import events


def configure(stream: TextIO | None = None) -> None:
    out = stream if stream is not None else sys.stderr
    structlog.configure(
        processors=[structlog.processors.add_log_level, _renderer(out)],
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=True,
    )


def _renderer(out: TextIO) -> Callable[[Any, str, Any], str]:
    render = events.as_text if out.isatty() else events.as_json

    def renderer(_: Any, __: str, fields: Any) -> str:
        return render(fields.pop("event"), fields.pop("level"), fields)

    return renderer
