"""Endpoints that are names, as rules: which endpoints a name stands for, and when it is looked at again.

What is known only grows worse with reason: an answer with addresses replaces what was known of that kind, an answer
without any does so while the name has addresses of the other kind, and a failure never does. So a resolver that fails,
a zone that is broken for a minute and a name that is gone all leave the endpoints that there were, and are a problem.
Looks follow the TTL of what was answered, between a second and an hour, a little later than the moment at which
everybody else asks; failures are repeated after a second, then two, up to a minute.
Pure: the driver (names.py) asks, and tells what it was told.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from discovery.config import FollowedName, NameKind
from discovery.model import Endpoint
from discovery.sources.messages import AAAA, CNAME, NOERROR, NXDOMAIN, A, Record, Reply, Target

SHORTEST_TTL: Final = 1.0
LONGEST_TTL: Final = 3600.0
JITTER: Final = 0.1  # of the time until the next look
FIRST_RETRY: Final = 1.0
LONGEST_RETRY: Final = 60.0

MAX_LINKS: Final = 8  # of a chain of CNAMEs; BIND stops at 16, and nobody has more than three
MAX_TARGETS: Final = 256
MAX_ADDRESSES: Final = 256  # of one name


class Answer(NamedTuple):
    """What a resolver, or this machine, says. No values: there is no such name, or nothing of that kind."""

    values: tuple[str, ...]
    ttl: float


Finding = Answer | str  # a text: why nothing is known


# --- what one reply says ------------------------------------------------------------------------------------------


def canonical(records: Sequence[Record], name: str) -> tuple[str, float]:
    """The end of the chain of CNAMEs that begins at `name`, and the least TTL on the way."""
    ttl = LONGEST_TTL
    aliases = {record.owner: record for record in records if record.kind == CNAME}
    for _ in range(MAX_LINKS):
        link = aliases.get(name)
        if link is None or not isinstance(link.value, str):
            break
        name, ttl = link.value, min(ttl, float(link.ttl))
    return name, ttl


def of_kind(records: Sequence[Record], owner: str, kind: int) -> tuple[tuple[str | Target, ...], float]:
    """Values of that owner and kind, each once, and their least TTL."""
    found = [record for record in records if record.owner == owner and record.kind == kind]
    values = dict.fromkeys(record.value for record in found)
    return tuple(values), min((float(record.ttl) for record in found), default=LONGEST_TTL)


def is_final(reply: Reply) -> bool:
    """Is it about the name? Otherwise it is about the resolver, and another one may know more."""
    return reply.rcode in (NOERROR, NXDOMAIN)


def is_usable(address: str) -> bool:
    """Blocklists answer 0.0.0.0, which would be this machine; nobody serves at a group's address."""
    parsed = ipaddress.ip_address(address)
    return not (parsed.is_unspecified or parsed.is_multicast)


# --- what is known ------------------------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What a look came to. `ttl` None: nothing was answered that has one."""

    ttl: float | None
    problem: str | None


class Known:
    """Of one name that is followed. Every other look goes through `learn_targets` (SRV only) and `learn_host`."""

    def __init__(self) -> None:
        self.targets: tuple[Target, ...] = ()
        self._addresses: dict[tuple[str, int], tuple[str, ...]] = {}

    def learn_targets(self, name: str, finding: Sequence[Target] | str, ttl: float) -> Outcome:
        if isinstance(finding, str):
            return Outcome(None, finding)
        usable = tuple(sorted(target for target in finding if target.host and target.port))[:MAX_TARGETS]
        if not usable:
            return Outcome(None, f"{name} has no SRV records")
        self.targets = usable
        hosts = {target.host for target in usable}
        for key in [key for key in self._addresses if key[0] not in hosts]:
            del self._addresses[key]
        return Outcome(ttl, None)

    def learn_host(self, host: str, findings: Mapping[int, Finding]) -> Outcome:
        """`findings`: by kind, A and AAAA."""
        answers = {kind: found for kind, found in findings.items() if isinstance(found, Answer)}
        usable = {kind: tuple(sorted(filter(is_usable, answer.values))) for kind, answer in answers.items()}
        has_addresses = any(usable.values())
        reasons = list(dict.fromkeys(found for found in findings.values() if isinstance(found, str)))
        if not has_addresses:
            return Outcome(None, reasons[0] if reasons else f"{host} has no addresses")
        problem = None
        for kind in (A, AAAA):
            if kind in usable:
                self._addresses[host, kind] = usable[kind][:MAX_ADDRESSES]
            elif self._addresses.get((host, kind)):
                problem = reasons[0]  # there were some of this kind, and there may still be
        return Outcome(min(answers[kind].ttl for kind in usable if usable[kind]), problem)

    def of_host(self, host: str) -> tuple[str, ...]:
        return self._addresses.get((host, A), ()) + self._addresses.get((host, AAAA), ())


def endpoints_of(followed: FollowedName, known: Known) -> tuple[Endpoint, ...]:
    """One for each address (and port) that the name stands for."""
    template = followed.endpoint
    if followed.kind is NameKind.ADDRESS:
        addresses = [_place(address, followed.port) for address in known.of_host(followed.name)]
        return tuple(msgspec.structs.replace(template, address=address) for address in addresses)
    found: dict[str, Endpoint] = {}
    first = min((target.priority for target in known.targets), default=0)
    weights = _weights(known.targets)
    for target in known.targets:  # by priority, so that a place that is named twice has the better one
        for address in known.of_host(target.host):
            place = _place(address, target.port)
            endpoint = msgspec.structs.replace(
                template,
                address=place,
                weight=weights[target] if template.weight else 0,
                priority=target.priority,
                backup=template.backup or target.priority > first,
            )
            found.setdefault(place, endpoint)
    return tuple(found.values())


def _weights(targets: Sequence[Target]) -> dict[Target, int]:
    """As the model has them, where 0 takes nothing. RFC 2782: of all zeros everyone takes the same, and beside others
    0 takes a very small share."""
    given = {target: target.weight for target in targets}
    if not any(given.values()):
        return dict.fromkeys(given, 1)
    if all(given.values()):
        return given
    return {target: weight * 10 or 1 for target, weight in given.items()}


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


# --- when to look again -------------------------------------------------------------------------------------------


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """Of all parts of a look: the least TTL, the first problem."""
    ttls = [outcome.ttl for outcome in outcomes if outcome.ttl is not None]
    problems = [outcome.problem for outcome in outcomes if outcome.problem is not None]
    return Outcome(min(ttls, default=None), problems[0] if problems else None)


def next_look(outcome: Outcome, failures: int, random: float) -> float:
    """Seconds until then. `failures`: looks in a row with a problem, this one included; `random`: 0 to 1."""
    delay = LONGEST_TTL if outcome.ttl is None else min(max(outcome.ttl, SHORTEST_TTL), LONGEST_TTL)
    if outcome.problem is not None:
        delay = min(delay, FIRST_RETRY * 2 ** min(failures - 1, 10), LONGEST_RETRY)
    return delay * (1 + JITTER * random)
