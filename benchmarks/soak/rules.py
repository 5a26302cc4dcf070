"""Which failure is explained by which event: the promises of docs/reliability.md as a table. Pure.

Everything that is not in the table has no excuse: wrong content, an answer that never came, a failure while nothing
happened. What is in it is counted by class and bounded by how many exchanges can be under way at the same time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.soak.tally import Failure, Seen, Sighting
from discovery.dns.cache import FAILURE_TTL

# A failure is noticed, and an event is noted, by processes that may wait for the processor.
SLACK: Final = 2.0

# A client that fails rests for a moment, and asks less often than this.
MOST_PER_SECOND: Final = 8.0

# Every failure is one of these.
KINDS: Final = {
    "broken": "the connection ended or was reset before there was an answer",
    "cut": "the answer or the echo began and did not come to its end",
    "ended": "a stream ended that nobody had ended",
    "lost": "a datagram has no answer",
    "late": "nothing within a limit that is longer than anything that hangs on purpose",
    "servfail": "DNS says that it cannot tell",
    "dead": "DNS names an endpoint that it has been told is dead",
    "unknown": "DNS does not name an endpoint that it has been told of",
    "wrong": "content, framing, generation or addresses are not what they must be",
}

HTTP: Final = ("get", "churn", "upload", "download", "slow", "flaky", "dyn")
ADMIN: Final = ("api", "scrape", "explain", "tap")

Excuse = Mapping[str, frozenset[str]]  # traffic -> kinds of failure, or "5xx" statuses


def _each(traffic: Iterable[str], *kinds: str) -> dict[str, frozenset[str]]:
    return {name: frozenset(kinds) for name in traffic}


@dataclass(frozen=True, slots=True)
class Rule:
    """in_flight: of what was under way when the event began. during: of what began or went on until it was over. kept:
    for how long after that (seconds) hivemesh goes by what it heard meanwhile."""

    in_flight: Excuse = field(default_factory=dict)
    during: Excuse = field(default_factory=dict)
    kept: float = 0.0

    def lasts(self, event: Event) -> float:
        return event.ended - event.began + self.kept


_STREAMS_END: Final = _each(("ws", "tcp_long"), "ended")

# Event -> what it explains. An event without anything explains nothing, and that is its promise.
RULES: Final[dict[str, Rule]] = {
    "reload": Rule(),
    "broken_file": Rule(),
    # Retries cover what has no answer yet; an answer that has begun is cut short, and a POST is not sent again.
    "endpoint_kill": Rule(
        in_flight={
            **_each(HTTP, "cut"),
            "upload": frozenset({"cut", "502"}),
            **_STREAMS_END,
            "tcp_short": frozenset({"broken", "cut"}),
        },
        # A session stays at its endpoint.
        during={"udp": frozenset({"lost"})},
    ),
    "endpoint_hang": Rule(),
    # What it was serving, and nothing else.
    "worker_kill": Rule(
        in_flight={
            **_each(HTTP, "broken", "cut"),
            **_STREAMS_END,
            "tcp_short": frozenset({"broken", "cut"}),
            **_each(("udp", "dns_udp", "known"), "lost"),
            "dns_tcp": frozenset({"broken"}),
            "dns_forward": frozenset({"lost", "broken"}),
        }
    ),
    # It goes on with the questions that waited, and hears then what has changed.
    "worker_pause": Rule(during={"known": frozenset({"dead", "unknown"})}),
    # Connections to the admin address break; what was acknowledged is told to the workers by its successor.
    "agent_kill": Rule(in_flight=_each(ADMIN, "broken", "cut"), during={"known": frozenset({"dead", "unknown"})}),
    "store_restart": Rule(in_flight=_each(ADMIN, "broken", "cut"), during={"known": frozenset({"dead", "unknown"})}),
    "health_flap": Rule(),
    # Streams get timeouts.drain_streams; sessions of UDP begin anew; the former agent lets go of its connections.
    "upgrade": Rule(during={**_each(ADMIN, "broken", "cut", "503"), **_STREAMS_END, "udp": frozenset({"lost"})}),
    "worker_count": Rule(during={**_STREAMS_END, "udp": frozenset({"lost"})}),
    "log_reopen": Rule(),
    "resolver_down": Rule(during={"dns_forward": frozenset({"servfail"})}, kept=FAILURE_TTL),
}

# Events that leave workers behind which finish what they have, by the configuration that they know.
LEAVING: Final = ("upgrade", "worker_count")


@dataclass(frozen=True, slots=True)
class Event:
    """ended: when everything was as before, as far as could be seen."""

    kind: str
    began: float
    ended: float
    target: str = ""

    def told(self, start: float) -> str:
        return f"{self.began - start:.1f}..{self.ended - start:.1f} s {self.kind} {self.target}".rstrip()


@dataclass(slots=True)
class Verdict:
    """unexplained: with the events before each. explained: how many, by (event, traffic, kind). excess: in words."""

    unexplained: list[Failure] = field(default_factory=list)
    explained: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    excess: list[str] = field(default_factory=list)


def explains(event: Event, failure: Failure) -> bool:
    rule = RULES[event.kind]
    if failure.ended < event.began:
        return False
    if failure.kind in rule.in_flight.get(failure.traffic, ()) and failure.began <= event.began + SLACK:
        return True
    return failure.kind in rule.during.get(failure.traffic, ()) and failure.began <= event.ended + rule.kept + SLACK


def judge_failures(failures: Sequence[Failure], events: Sequence[Event], at_once: Mapping[str, int]) -> Verdict:
    """`at_once`: how many exchanges of a traffic are under way at most. What was under way may fail once by an event,
    and once more: the client that tries again may meet it again. What an event explains for as long as it goes on is
    bounded by how often clients ask."""
    verdict = Verdict()
    by_event: Counter[tuple[int, str]] = Counter()
    for failure in failures:
        number = next((at for at in range(len(events) - 1, -1, -1) if explains(events[at], failure)), None)
        if number is None:
            verdict.unexplained.append(failure)
            continue
        verdict.explained[(events[number].kind, failure.traffic, failure.kind)] += 1
        by_event[(number, failure.traffic)] += 1
    for (number, traffic), count in by_event.items():
        event = events[number]
        rule = RULES[event.kind]
        lasts = rule.lasts(event) if traffic in rule.during else 0.0
        most = at_once[traffic] * (2 + int(MOST_PER_SECOND * lasts))
        if count > most:
            verdict.excess.append(f"{count} failures of {traffic} by one {event.kind} {event.target}, at most {most}")
    return verdict


@dataclass(frozen=True, slots=True)
class InForce:
    """A generation: its file is written, and seen to decide in every worker."""

    number: int
    written: float
    confirmed: float


def judge_generations(seen: Mapping[int, Seen], history: Sequence[InForce], events: Sequence[Event]) -> list[str]:
    """Answers of a configuration that was not in force at any moment between question and answer."""
    wrong = []
    known = {entry.number: at for at, entry in enumerate(history)}
    for number, answers in sorted(seen.items()):
        if number not in known:
            wrong.append(f"{answers.count} answers of generation {number}, which was never in force")
            continue
        at = known[number]
        if answers.first_answered < history[at].written:
            wrong.append(f"an answer of generation {number} came before its file was written")
        if at + 1 == len(history):
            continue
        followed = history[at + 1].confirmed
        if answers.last_asked > followed and not _is_leaving(answers.last_asked, events):
            late = answers.last_asked - followed
            wrong.append(f"generation {number} decided a request made {late:.3f} s after all workers had the next one")
    return wrong


def _is_leaving(at: float, events: Sequence[Event]) -> bool:
    return any(event.kind in LEAVING and event.began <= at <= event.ended + SLACK for event in events)


# Lines of level error in the log, and the events that leave them: one for each, but for the problems of a file.
ERRORS: Final[dict[str, tuple[str, ...]]] = {
    "worker exited": ("worker_kill",),
    "agent exited": ("agent_kill", "store_restart"),
    "reload failed": ("broken_file",),
}
LISTED: Final = frozenset({"reload failed"})


def judge_errors(errors: Sequence[tuple[str, float]], events: Sequence[Event]) -> list[str]:
    """`errors`: the name of each and when it was written. Those without a cause, and causes with too many or none."""
    wrong = []
    found: Counter[int] = Counter()
    for name, at in errors:
        # Of two that follow close upon each other it is the one during which it was written.
        near = [
            (max(event.began - at, at - event.ended, 0.0), number)
            for number, event in enumerate(events)
            if event.kind in ERRORS.get(name, ())
        ]
        distance, number = min(near, default=(SLACK + 1.0, -1))
        if distance > SLACK:
            wrong.append(f"{name!r} without an event that leaves it")
        else:
            found[number] += 1
    for name, causes in ERRORS.items():
        for number, event in enumerate(events):
            if event.kind in causes and (not found[number] or (found[number] > 1 and name not in LISTED)):
                wrong.append(f"{found[number]} times {name!r} by one {event.kind} {event.target}".rstrip())
    return wrong


@dataclass(frozen=True, slots=True)
class Dead:
    """An endpoint of a service that the API has called unhealthy at `known`, until it was let live again."""

    service: str
    endpoint: str
    known: float
    until: float


def judge_sightings(sightings: Sequence[Sighting], dead: Sequence[Dead], within: float) -> list[str]:
    """Answers of DNS that name an endpoint which has been known to be dead for longer than `within`."""
    wrong = []
    for each in dead:
        for sighting in sightings:
            if (
                sighting.service == each.service
                and each.endpoint in sighting.endpoints
                and each.known + within < sighting.asked < each.until
            ):
                wrong.append(
                    f"{each.service} named {each.endpoint}, which had been known to be dead for "
                    f"{sighting.asked - each.known:.2f} s"
                )
    return wrong


def judge_posts(books: Mapping[str, Sequence[str]], answered: Sequence[str]) -> list[str]:
    """`books`: what each endpoint wrote down. Uploads that were read twice, and answered ones that nobody has read."""
    read = Counter(name for book in books.values() for name in book)
    wrong = [f"{name} was read {count} times" for name, count in read.items() if count > 1]
    wrong += [f"{name} was answered and never read" for name in answered if name not in read]
    return wrong
