"""What a plan says: values only, the same from a running hivemesh and between two files."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from discovery.delta import Identity
from discovery.model import Position, Struct
from proxy.config.problems import Problem

# A value as the file would write it; None where there is none.
Json: TypeAlias = Any

ADDED, REMOVED, CHANGED = "+", "-", "~"

# What a change can be about, in the order in which a plan tells it.
KINDS = ("setting", "listener", "route", "service", "endpoint", "name", "node")


class ValueChange(Struct, omit_defaults=False):
    """`key` as the file spells it, with dots: mesh.retry.max_retries. None: it is not there."""

    key: str
    was: Json = None
    now: Json = None


class Change(Struct, omit_defaults=False):
    """Something that comes, goes or is other than it was.

    kind: one of KINDS. inside: the listener of a route, the service of an endpoint or of a name. about: what it is, in
    a line. effects: what follows from it, a sentence each. was_at, now_at: where it is written.
    """

    kind: str
    sign: str
    name: str
    inside: str = ""
    about: str = ""
    values: tuple[ValueChange, ...] = ()
    effects: tuple[str, ...] = ()
    was_at: Position | None = None
    now_at: Position | None = None


class Flow(Struct, omit_defaults=False):
    """What becomes of what is open. connections: of clients, they stay open (sessions of datagrams among them).
    under_way: requests and streams among them that finish as they began, by the old configuration. cut: what is ended
    before its time. draining: endpoints that take nothing new and finish what they have."""

    connections: int = 0
    under_way: int = 0
    cut: int = 0
    draining: int = 0


class Plan(Struct, omit_defaults=False):
    """changes: in the order of KINDS, routes behind their listener, endpoints behind their service. notes: what is
    written otherwise and changes nothing. problems: what a reload would report, `is_refused`: and refuse. is_live:
    `flow` has numbers of a running hivemesh."""

    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    flow: Flow = Flow()
    is_live: bool = False
    is_refused: bool = False
    version: int = 0


class Load(Struct):
    """What is under way somewhere. idle: connections to an endpoint without a request, among `connections`."""

    requests: int = 0
    connections: int = 0
    idle: int = 0


NO_LOAD = Load()


class Live(Struct):
    """What is under way: at listeners and services by name, at routes by listener and name, at endpoints by service
    and identity. `workers`: open connections of clients by the number of the worker."""

    listeners: dict[str, Load] = msgspec.field(default_factory=dict)
    routes: dict[tuple[str, str], Load] = msgspec.field(default_factory=dict)
    services: dict[str, Load] = msgspec.field(default_factory=dict)
    endpoints: dict[tuple[str, Identity], Load] = msgspec.field(default_factory=dict)
    workers: tuple[int, ...] = ()


def counted(count: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def summary(plan: Plan) -> str:
    """The plan in one line: "+1 route, ~2 services, 3 endpoints drain, 143 live connections stay open, ..., 0 cut"."""
    parts = []
    for kind in KINDS:
        for sign in (ADDED, REMOVED, CHANGED):
            count = sum(change.kind == kind and change.sign == sign for change in plan.changes)
            if count:
                parts.append(sign + counted(count, kind))
    if not parts:
        return "no change"
    flow = plan.flow
    if flow.draining:
        parts.append(f"{counted(flow.draining, 'endpoint')} drain{'s' if flow.draining == 1 else ''}")
    if plan.is_live:
        parts.append(f"{counted(flow.connections, 'live connection')} stay{'s' if flow.connections == 1 else ''} open")
        if flow.under_way:
            what = counted(flow.under_way, "request")
            parts.append(f"{what} or stream{'' if flow.under_way == 1 else 's'} under way on the old policy")
        parts.append(f"{flow.cut:,} cut")
    return ", ".join(parts)


def as_json(plan: Plan) -> dict[str, Json]:
    found: dict[str, Json] = msgspec.to_builtins(plan)
    return {**found, "summary": summary(plan)}
