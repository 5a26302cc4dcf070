"""What is valid in a configuration, and probably not meant: warnings, each with its place in the file.

    findings(config)            what there is to say, by places of the effective configuration; pure
    warnings_of(written)        the same as problems, with the lines where it was written

Each file here has the warnings about one thing. A warning says what happens and what to do about it; there is none
where a sensible configuration would have to be written around it.
"""

from __future__ import annotations

from discovery.config import Config
from discovery.model import Position
from proxy.config.load import Written, uncollected
from proxy.config.nodes import Path, path_text
from proxy.config.places import Place, Steps
from proxy.config.problems import Problem, Severity
from proxy.config.warnings import access, dns, endpoints, hidden, limits, reach, retrying, shadows, times
from proxy.config.warnings.finding import Finding

SOURCE = "warnings"  # of these problems
KINDS = (
    shadows.findings,
    reach.findings,
    endpoints.findings,
    times.findings,
    retrying.findings,
    limits.findings,
    access.findings,
    dns.findings,
    hidden.findings,
)


def findings(config: Config) -> list[Finding]:
    return [finding for kind in KINDS for finding in kind(config)]


def warnings_of(written: Written) -> tuple[Problem, ...]:
    """In file order; of a configuration without problems."""
    config = written.loaded.config
    with uncollected():
        found = findings(config) if config is not None else []
        if not found:
            return ()
        top = written.places()
        warnings = [_problem(finding, top, written.file) for finding in found]
    return tuple(sorted(warnings, key=_place))


def _place(problem: Problem) -> tuple[int, int]:
    assert problem.position is not None
    return problem.position.line, problem.position.column


def _problem(finding: Finding, top: Place, file: str) -> Problem:
    steps = next((steps for steps in finding.at if top.find(steps) is not None), finding.at[-1])
    place, path = _written(top, steps)
    return Problem(
        message=finding.message,
        position=Position(file=file, line=place.line, column=place.column),
        key=path_text(path),
        source=SOURCE,
        severity=Severity.WARNING,
    )


def _written(top: Place, steps: Steps) -> tuple[Place, Path]:
    """The nearest place that was written, and the path in the words of the file."""
    place = top
    for index, step in enumerate(steps):
        below = place.parts.get(step)
        if below is None:
            path = place.written
            for missing in steps[index:]:
                path = (path, missing)
            return place, path
        place = below
    return place, place.written


__all__ = ["Finding", "findings", "warnings_of"]
