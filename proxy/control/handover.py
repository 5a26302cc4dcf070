"""What a supervisor hands to the program that it becomes (SIGUSR2): a document, and the descriptors that it names.

The document is JSON in a memfd, because a pipe may be too short and a file may be left behind. It and every descriptor
that it names are made inheritable at the last moment and close-on-exec again at the first, so that no child gets them.
`FORMAT` is raised when a reader of the former format would misunderstand; `--probe FORMAT FILE` asks the new program
whether it knows this one. What is said to the children of the former program (`retire`, `resume`, `reopen_logs`,
`drain`, `gone`) belongs to the format.

Standard library only, like its only user. Errors: HandoverError, one sentence.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.control.lines import Lines
from proxy.control.sockets import Bound

FORMAT = 1

# What an agent and a worker must have in common to work together: the messages between them and the table they share.
_CONTRACT = (
    "discovery/model.py",
    "discovery/policies.py",
    "discovery/checks.py",
    "discovery/delta.py",
    "proxy/control/messages.py",
    "proxy/stats/slots.py",
    "proxy/stats/words.py",
)
_ROOT = Path(__file__).resolve().parents[2]

Json = dict[str, Any]


class HandoverError(Exception):
    """Message: what is wrong with a hand-over."""


@dataclass
class Child:
    """A process of ours: the agent (worker is None) or a worker. `epoch` counts the programs that we have been: only
    children of the current one are replaced when they end."""

    pid: int
    lines: Lines
    started: float  # monotonic clock, which goes on over an exec
    worker: int | None
    epoch: int = 0
    is_killed: bool = False  # because it hung; it will have ended soon


@dataclass
class Handover:
    epoch: int  # of the children that are in service
    contract: str
    count: int  # workers that are to run
    table: int
    state: int | None
    drain: float
    bound: dict[str, Bound]
    bound_alone: dict[str, Bound]
    children: list[Child]  # of earlier epochs too
    deadlines: dict[int, float]  # epoch -> when its children are to have ended, monotonic clock


def contract() -> str:
    """The same for two programs exactly when an agent of one may lead workers of the other."""
    digest = hashlib.sha256()
    for name in _CONTRACT:
        try:
            digest.update((_ROOT / name).read_bytes())
        except OSError:
            return f"unknown, {os.getpid()} at {time.monotonic()}"  # it agrees with nothing but itself
    return digest.hexdigest()


def write(handover: Handover) -> int:
    """The descriptor of the document. Nothing is inheritable yet. Raises OSError."""
    document = {
        "format": FORMAT,
        "epoch": handover.epoch,
        "contract": handover.contract,
        "count": handover.count,
        "table": handover.table,
        "state": handover.state,
        "drain": handover.drain,
        "bound": _sockets_as_json(handover.bound),
        "bound_alone": _sockets_as_json(handover.bound_alone),
        "children": [_child_as_json(child) for child in handover.children],
        "deadlines": [[epoch, when] for epoch, when in handover.deadlines.items()],
    }
    descriptor = os.memfd_create("hivemesh-handover", os.MFD_CLOEXEC)
    try:
        _write_all(descriptor, json.dumps(document).encode())
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def descriptors(handover: Handover) -> list[int]:
    """All that must live through the exec, the document apart."""
    numbers = [handover.table]
    if handover.state is not None:
        numbers.append(handover.state)
    for bound in (*handover.bound.values(), *handover.bound_alone.values()):
        numbers += [sock.fileno() for sock in bound.sockets]
    for child in handover.children:
        numbers += [child.lines.fileno(), *child.lines.unread()[1]]
    return numbers


def set_inheritable(numbers: Iterable[int], inheritable: bool) -> None:
    for number in numbers:
        os.set_inheritable(number, inheritable)


def read(descriptor: int) -> Handover:
    """What `write` wrote; the document is closed, and nothing is inheritable any more. Raises HandoverError."""
    try:
        with os.fdopen(descriptor, "rb") as file:
            file.seek(0)
            document = json.load(file)
    except (OSError, ValueError) as error:
        raise HandoverError(f"descriptor {descriptor} is no hand-over: {error}") from None
    if document.get("format") != FORMAT:
        raise HandoverError(f"a hand-over of format {document.get('format')!r}, expected {FORMAT}")
    handover = Handover(
        epoch=document["epoch"],
        contract=document["contract"],
        count=document["count"],
        table=document["table"],
        state=document["state"],
        drain=document["drain"],
        bound=_sockets_from_json(document["bound"]),
        bound_alone=_sockets_from_json(document["bound_alone"]),
        children=[_child_from_json(child) for child in document["children"]],
        deadlines={epoch: when for epoch, when in document["deadlines"]},
    )
    set_inheritable(descriptors(handover), False)
    return handover


def _sockets_as_json(held: Mapping[str, Bound]) -> Json:
    return {
        key: {"address": bound.address, "path": bound.path, "sockets": [sock.fileno() for sock in bound.sockets]}
        for key, bound in held.items()
    }


def _sockets_from_json(held: Json) -> dict[str, Bound]:
    return {
        key: Bound(bound["address"], [socket.socket(fileno=number) for number in bound["sockets"]], bound["path"])
        for key, bound in held.items()
    }


def _child_as_json(child: Child) -> Json:
    data, waiting = child.lines.unread()
    return {
        "pid": child.pid,
        "channel": child.lines.fileno(),
        "unread": base64.b64encode(data).decode(),
        "descriptors": waiting,
        "started": child.started,
        "worker": child.worker,
        "epoch": child.epoch,
    }


def _child_from_json(child: Json) -> Child:
    lines = Lines(socket.socket(fileno=child["channel"]), base64.b64decode(child["unread"]), child["descriptors"])
    return Child(child["pid"], lines, child["started"], child["worker"], child["epoch"])


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
