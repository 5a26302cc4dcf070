"""The plan as a whole: what is in force, what would be, and what becomes of what is open meanwhile.

`make` compares two snapshots, the one in force and the one that a reload would lead to (discovery/preview.py), so what
the API, directories and names say is in both and is no difference. What is not in snapshots is compared as the file
writes it. Settings that only a restart changes are told with that.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from discovery.config import Config
from discovery.model import Protocol, Snapshot
from proxy.config.effective import HIDDEN, effective, show_node
from proxy.config.problems import Problem
from proxy.config.scalars import format_duration
from proxy.plan.difference import differences
from proxy.plan.listeners import Listeners
from proxy.plan.services import Services
from proxy.plan.values import ADDED, CHANGED, REMOVED, Change, Flow, Json, Live, Plan, ValueChange, counted

SIGNED_ANEW = "cookies that were signed with the former one count no more: their clients are bound anew"


def make(
    running: Config,
    wanted: Config,
    was: Snapshot,
    then: Snapshot,
    *,
    live: Live | None = None,
    restarts: Sequence[Problem] = (),
) -> Plan:
    """`running` and `wanted` are what two files say, `was` and `then` what is in force by them. `restarts`: a problem
    for each key of `wanted` that takes effect after a restart only. `live`: None when nothing runs."""
    found = live or Live()
    listeners = Listeners(found)
    services = Services(found, listeners.ending)  # filled before services have their turn
    changes = [
        *_settings(running, wanted, found, {each.key for each in restarts}),
        *listeners.changes(was, then),
        *services.changes(was, then, running.followed, wanted.followed),
        *_nodes(was, then),
    ]
    loads = [
        (listener.protocol, found.listeners[listener.name])
        for listener in was.listeners
        if listener.name in found.listeners and not listener.protocol.is_dns
    ]
    is_udp = Protocol.UDP
    connections = sum(load.requests if protocol is is_udp else load.connections for protocol, load in loads)
    flow = Flow(
        connections=connections - listeners.cut,
        under_way=sum(load.requests for _, load in loads) - listeners.cut,
        cut=listeners.cut,
        draining=services.draining,
    )
    return Plan(
        changes=tuple(changes),
        notes=(*listeners.notes, *services.notes, *_tests(running, wanted)),
        flow=flow,
        is_live=live is not None,
        version=was.version,
    )


def _settings(running: Config, wanted: Config, live: Live, restarts: set[str]) -> Iterator[Change]:
    secret, token = wanted.snapshot.settings.secret, wanted.admin.token
    values = [value for value in differences(_fields(running), _fields(wanted)) if value.key != "secret"]
    if secret and secret != running.snapshot.settings.secret:  # without one the running one stays in use
        values.append(ValueChange(key="secret", was=HIDDEN, now=f"{HIDDEN} (another one)"))
    if token and running.admin.token and token != running.admin.token:
        values.append(ValueChange(key="admin.token", was=HIDDEN, now=f"{HIDDEN} (another one)"))
    for value in values:
        effects = []
        if any(key == value.key or key.startswith(f"{value.key}.") for key in restarts):
            effects.append("takes effect after a restart")
        elif value.key == "secret":
            effects.append(SIGNED_ANEW)
        elif value.key == "workers":
            effects += _fewer(wanted, live)
        yield Change(kind="setting", sign=CHANGED, name=value.key, values=(value,), effects=tuple(effects))


def _fewer(wanted: Config, live: Live) -> Iterator[str]:
    leaving = sum(live.workers[wanted.workers :])
    timeouts = wanted.snapshot.settings.timeouts
    if leaving:
        yield (
            f"{counted(leaving, 'connection')} of workers that end: requests have {format_duration(timeouts.drain)} "
            f"and streams {format_duration(timeouts.drain_streams)} to finish, then they are cut"
        )


def _fields(config: Config) -> Json:
    """What the file says besides listeners, services, nodes and tests."""
    bare = msgspec.structs.replace(config.snapshot, listeners=(), services=(), nodes=())
    shown = effective(msgspec.structs.replace(config, snapshot=bare, followed=(), tests=()))
    for key in ("listeners", "services", "tests"):
        del shown[key]
    return shown


def _nodes(was: Snapshot, then: Snapshot) -> Iterator[Change]:
    before = {node.name: node for node in was.nodes}
    after = {node.name: node for node in then.nodes}
    for name in (*after, *(name for name in before if name not in after)):
        former, node = before.get(name), after.get(name)
        if former is None:
            yield Change(kind="node", sign=ADDED, name=name)
        elif node is None:
            yield Change(kind="node", sign=REMOVED, name=name)
        elif former != node:
            values = differences(show_node(former), show_node(node))
            yield Change(kind="node", sign=CHANGED, name=name, values=values)


def _tests(running: Config, wanted: Config) -> Iterator[str]:
    def plain(config: Config) -> list[object]:
        return [msgspec.structs.replace(test, position=None) for test in config.tests]

    if plain(running) != plain(wanted):
        yield f"tests: {len(wanted.tests)} in place of {len(running.tests)} or changed; they decide about reloads only"
