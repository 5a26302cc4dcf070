"""A capture decided again, request by request, in the order in which requests came.

Each record is asked about with its own id (proxy/offline.py), so splits, faults and mirrors draw as a hivemesh would.
What a rehearsal does not do, because it leaves everything as it was, is done here with the times of the records: limits
are taken from (limits.py), endpoints are picked (picks.py). Deterministic: the same capture, file and seed give the
same report.
Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from discovery.model import Protocol, Snapshot
from mesh.capture import Capture, looked_at
from mesh.decision import Decision, Question
from mesh.record import Record
from proxy.simulation.limits import Limits, view_of
from proxy.simulation.outcomes import (
    ANSWER,
    FORWARD,
    NANOS,
    REFUSED,
    UNDECIDED,
    Outcome,
    arrived,
    ended,
    outcome_of,
    outcome_of_decision,
    question_of,
)
from proxy.simulation.picks import Picks
from proxy.simulation.report import Changed, Group, Refused, Report, Retried, Share

Decide = Callable[[Question], Decision]
Place = tuple[str, str, str]  # service, version, endpoint

ALL = "*"


class Simulation:
    def __init__(self, snapshot: Snapshot, decide: Decide, seed: int = 0) -> None:
        self._snapshot = snapshot
        self._decide = decide
        self._seed = seed
        takers = (Protocol.HTTP, Protocol.AUTO)
        self._listeners = {listener.name for listener in snapshot.listeners if listener.protocol in takers}
        self._limits = Limits(snapshot)
        self._picks = Picks(snapshot, seed)
        self._changed: list[Changed] = []
        self._shares: dict[Place, list[int]] = {}
        self._retried = 0
        self._denied: dict[str, int] = {}
        self._undecided = 0

    def run(self, capture: Capture) -> Report:
        """Raises CaptureError."""
        records = sorted(capture, key=arrived)  # they are written when they end
        for record in records:
            self._one(record)
        spans = [arrived(record) for record in records if record.ts]
        return Report(
            requests=len(records),
            compared=len(records) - self._undecided,
            undecided=self._undecided,
            lost=capture.lost,
            seconds=(max(spans) - min(spans)) / NANOS if spans else 0.0,
            seed=self._seed,
            changed=tuple(self._changed),
            groups=_grouped(self._changed),
            shares=tuple(
                Share(service=place[0], version=place[1], endpoint=place[2], was=was, now=now)
                for place, (was, now) in sorted(self._shares.items())
            ),
            refused=tuple(
                Refused(owner=owner, limit=limit, requests=count)
                for (owner, limit), count in sorted(self._limits.refused.items())
            ),
            retried=Retried(requests=self._retried, denied=tuple(sorted(self._denied.items()))),
            missing=_missing(self._snapshot, capture),
            assumptions=tuple(self._assumptions(records, capture)),
        )

    def _one(self, record: Record) -> None:
        was = outcome_of(record)
        if was.kind == FORWARD:
            self._count((record.service, record.version, record.endpoint), 0)
        if was.kind == UNDECIDED:
            self._undecided += 1
            return
        now = self._again(record, was)
        if now != was:
            self._changed.append(
                Changed(
                    request_id=record.request_id,
                    ts=record.ts,
                    method=record.method,
                    host=record.host,
                    path=record.path,
                    was=was,
                    now=now,
                )
            )

    def _again(self, record: Record, was: Outcome) -> Outcome:
        if record.listener not in self._listeners:
            return Outcome(kind=REFUSED)
        decision = self._decide(question_of(record))
        now, end = arrived(record), ended(record)
        turned = self._limits.refusal(decision, now, end)
        if turned is not None:
            service = decision.service if turned.is_by_service else ""
            return Outcome(kind=ANSWER, route=decision.route, service=service, status=turned.status, flag=turned.flag)
        found = outcome_of_decision(decision)
        if found.kind != FORWARD:
            return found
        endpoint = self._picks.pick(decision, view_of(decision), now, end)
        version = self._version(found, was)
        self._count((found.service, version, endpoint), 1)
        if record.retries:
            self._retry(decision)
        return Outcome(kind=FORWARD, route=found.route, service=found.service, version=version)

    def _version(self, found: Outcome, was: Outcome) -> str:
        """A version that nothing decides is no change while the service has it: it is whose endpoint is picked."""
        if found.version:
            return found.version
        versions = self._picks.versions(found.service)
        if len(versions) == 1:
            return next(iter(versions))
        return was.version if was.service == found.service and was.version in versions else ""

    def _count(self, place: Place, which: int) -> None:
        self._shares.setdefault(place, [0, 0])[which] += 1

    def _retry(self, decision: Decision) -> None:
        self._retried += 1
        retry = decision.retry
        if retry is None or not retry.policy:
            self._denied["no retry policy"] = self._denied.get("no retry policy", 0) + 1
        elif not retry.repeatable:
            self._denied[retry.why] = self._denied.get(retry.why, 0) + 1

    def _assumptions(self, records: Sequence[Record], capture: Capture) -> Iterable[str]:
        yield "endpoints answer what they answered, and take as long as they took"
        yield "all endpoints of the file are healthy"
        name = self._snapshot.settings.instance
        yield f"what is drawn for a request follows from its id and from the instance's name, {name}, as in traffic"
        yield "limits of connections and queues are not reached, and no circuit breaker opens"
        yield f"endpoints are picked with seed {self._seed}; rates and requests at the same time go by recorded times"
        missing = _missing(self._snapshot, capture)
        if missing:
            yield f"absent, because the capture has not kept them: {', '.join(missing)}"
        if capture.start.filter:
            yield f"only requests that passed the filter {capture.start.filter!r} are known"
        versions = {record.config_version for record in records} - {0}
        if len(versions) > 1:
            yield f"the capture saw {len(versions)} configurations; each request is compared with the one it met"
        if not capture.is_whole:
            yield "the capture has no end: requests behind its last line are not known"


def _missing(snapshot: Snapshot, capture: Capture) -> tuple[str, ...]:
    """What rules of the configuration look at and records do not have."""
    wanted = looked_at(snapshot)
    known, cookies = set(capture.start.headers), set(capture.start.cookies)
    if ALL in known or "cookie" in known:
        cookies.update(wanted.cookies)
    headers = () if ALL in known else tuple(f"header {name}" for name in wanted.headers if name not in known)
    return headers + tuple(f"cookie {name}" for name in wanted.cookies if name not in cookies)


def _grouped(changed: Sequence[Changed]) -> tuple[Group, ...]:
    """Most frequent first."""
    groups: dict[tuple[Outcome, Outcome], list[Changed]] = {}
    for each in changed:
        groups.setdefault((each.was, each.now), []).append(each)
    found = [Group(count=len(members), was=was, now=now, example=members[0]) for (was, now), members in groups.items()]
    return tuple(sorted(found, key=lambda group: (-group.count, group.was, group.now)))
