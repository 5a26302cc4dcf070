"""The cases, a file for each idea. `CASES` is the whole table, in the order of the page."""

from __future__ import annotations

from typing import Final

from benchmarks.attacks.case import Case
from benchmarks.attacks.cases import (
    answers,
    bodies,
    chunks,
    codings,
    fields,
    hops,
    hosts,
    lengths,
    lines,
    order,
    paths,
    pipelines,
    proxy_header,
    response_bodies,
    response_heads,
    sizes,
    splitting,
    start_lines,
    targets,
    trailers,
    upgrades,
)

CASES: Final[tuple[Case, ...]] = tuple(
    case
    for module in (
        lengths,
        codings,
        chunks,
        trailers,
        lines,
        fields,
        start_lines,
        targets,
        hosts,
        paths,
        bodies,
        pipelines,
        hops,
        upgrades,
        sizes,
        splitting,
        proxy_header,
        response_heads,
        response_bodies,
        order,
        answers,
    )
    for case in module.TABLE.cases
)
