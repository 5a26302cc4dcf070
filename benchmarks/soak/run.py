"""A soak from its start to its verdict: phases of traffic and chaos, each followed by a rest; then all is judged.

In every second phase no process is replaced, so that some live for long enough to see whether they grow.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.proofs.evidence import Evidence, ProofError, Say
from benchmarks.proofs.hive import Hive, eventually
from benchmarks.proofs.part import Part
from benchmarks.soak import names, operators, streams, web
from benchmarks.soak.chaos import WORKERS, Chaos
from benchmarks.soak.origin import origin
from benchmarks.soak.processes import Sampler, of_session
from benchmarks.soak.resolver import resolver
from benchmarks.soak.rules import (
    RULES,
    Verdict,
    judge_errors,
    judge_failures,
    judge_generations,
    judge_posts,
    judge_sightings,
)
from benchmarks.soak.scene import ADDRESSES, Scene, draw_ports
from benchmarks.soak.slope import DESCRIPTOR_BOUND, MEMORY_BOUND, MIB, Sample, lines
from benchmarks.soak.tally import Failure, Tally

PROMISE: Final = "mixed traffic while everything fails in turn: every answer is right, or its failure is explained"

# Events that replace processes, or stop them for so long that they are replaced.
REPLACING: Final = frozenset({"worker_kill", "agent_kill", "store_restart", "upgrade", "worker_count"})

# Exchanges of each kind that are under way at most. Whoever registers also asks DNS what it knows.
AT_ONCE: Final[dict[str, int]] = {
    **{kind: count for kind, (count, _) in {**web.KINDS, **streams.KINDS, **names.KINDS, **operators.KINDS}.items()},
    "known": 1,
}

# What must be zero when nobody asks and nothing idles any more.
GAUGES: Final = (
    "hivemesh_downstream_requests_active",
    "hivemesh_downstream_connections_active",
    "hivemesh_service_requests_active",
    "hivemesh_pending_requests",
    "hivemesh_retries_active",
    "hivemesh_upstream_requests_active",
    "hivemesh_pool_connections",
    "hivemesh_upstream_probes_active",
    "hivemesh_dns_requests_active",
    "hivemesh_dns_forward_active",
    "hivemesh_health_checks_waiting",
)
REST_LIMIT: Final = 120.0

# A process at rest has as many descriptors as any other of its kind, but for checks that are under way and the extra
# listener of every second generation. Pipes for splicing are kept, at most so many (proxy/kernel/splice).
REST_SPREAD: Final = 8
REST_PIPES: Final = 2 * 32 + 8

# Whoever ends is a zombie until the supervisor has looked.
REAP_LIMIT: Final = 10.0

FINISH_LIMIT: Final = 150.0
SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """seconds: of a phase. calm: seconds between events, at most."""

    seed: int
    phases: int
    seconds: float
    calm: float
    drain_streams: float
    udp_idle: float
    every: float  # between samples
    kinds: frozenset[str] = frozenset(RULES)  # of events


def plan_for(minutes: float, seed: int) -> Plan:
    """Phases of at most ten minutes, as many of them as it takes."""
    phases = max(1, round(minutes / 10))
    return Plan(seed, phases, 60 * minutes / phases, calm=6.0, drain_streams=6.0, udp_idle=10.0, every=2.0)


def short_plan(seed: int) -> Plan:
    # The agent dies among registrations as well.
    kinds = frozenset(RULES) - {"agent_kill"}
    return Plan(seed, 1, 0.0, calm=0.3, drain_streams=1.0, udp_idle=4.0, every=0.5, kinds=kinds)


@dataclass(slots=True)
class Found:
    """Everything that is judged."""

    plan: Plan
    chaos: Chaos
    sampler: Sampler
    tally: Tally = field(default_factory=Tally)
    rests: list[str] = field(default_factory=list)  # in words, of each phase
    uneasy: list[str] = field(default_factory=list)  # gauges that are not zero
    resting: list[Sample] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    traffic_seconds: float = 0.0


def soak(evidence: Evidence, folder: Path, plan: Plan, say: Say) -> None:
    scene = Scene(draw_ports(), folder, plan.drain_streams, plan.udp_idle)
    say(f"seed {plan.seed}, {plan.phases} phases of {plan.seconds:.0f} s, in {folder}")
    origins: dict[str, Part] = {}
    try:
        for name in ADDRESSES:
            origins[name] = Part(origin, name, scene.ports, str(folder)).__enter__()
        answering = Part(resolver, scene.ports.resolver).__enter__()
        with Hive(scene.config(0, WORKERS), folder) as hive:
            chaos = Chaos(scene, hive, plan.seed, plan.calm, say)
            chaos.adopt(origins, answering)
            try:
                with Sampler(hive.pid, plan.every) as sampler:
                    found = Found(plan, chaos, sampler)
                    try:
                        for phase in range(plan.phases):
                            carry_out(found, hive, scene, phase, say)
                    except ProofError as problem:
                        chaos.wrong.append(f"it could not go on: {problem}")
                end(found, hive, scene)
            finally:
                chaos.end()
    finally:
        for part in origins.values():
            part.kill()
    judge(evidence, found, folder)


def carry_out(found: Found, hive: Hive, scene: Scene, phase: int, say: Say) -> None:
    plan, chaos = found.plan, found.chaos
    kinds = [kind for kind in chaos.kinds() if kind in plan.kinds and (phase % 2 == 0 or kind not in REPLACING)]
    began = time.monotonic()
    seed = f"{plan.seed}.{phase}"
    with (
        Part(web.web_crowd, scene, f"{seed}.w") as asking,
        Part(streams.stream_crowd, scene, f"{seed}.s", hive.admin) as streaming,
    ):
        chaos.run(kinds, began + plan.seconds)
        stopping = time.monotonic()
        for part in (asking, streaming):
            part.tell_to_stop()
        tallies = [part.result(FINISH_LIMIT) for part in (asking, streaming)]
    found.traffic_seconds += stopping - began
    fresh = Tally()
    for tally in tallies:
        fresh.add(tally)
        found.tally.add(tally)
    rest(found, hive, phase, say)
    verdict = judge_failures(fresh.failures, chaos.events, AT_ONCE)
    say(
        f"phase {phase + 1}: {sum(fresh.done.values()):,} exchanges, {len(fresh.failures)} failures, "
        f"{len(verdict.unexplained)} of them unexplained; {found.rests[-1]}"
    )
    for line in (*told(verdict, found), *chaos.wrong, *chaos.journal.bugs):
        say(f"  ! {line}")


def rest(found: Found, hive: Hive, phase: int, say: Say) -> None:
    """Nobody asks any more: gauges go to zero, and descriptors to what a process has for itself."""
    began = time.monotonic()
    busy: list[str] = []

    def is_quiet() -> bool:
        busy[:] = [f"{name} {labels} {value:g}" for name, labels, value in hive.metrics() if name in GAUGES and value]
        return not busy

    try:
        eventually(is_quiet, "all gauges are zero", REST_LIMIT)
        found.rests.append(f"all gauges zero after {time.monotonic() - began:.1f} s")
    except ProofError:
        found.uneasy += [f"after phase {phase + 1}: {gauge}" for gauge in busy]
        found.rests.append(f"{len(busy)} gauges not zero after {REST_LIMIT:g} s")
    now = time.monotonic()
    found.resting += [sample for sample in found.sampler.look(now) if sample.role != "other"]
    zombies: list[str] = []

    def is_reaped() -> bool:
        zombies[:] = [f"{process.role} {process.pid}" for process in of_session(hive.pid) if process.state == "Z"]
        return not zombies

    try:
        eventually(is_reaped, "no zombie is left", REAP_LIMIT)
    except ProofError:
        found.strays += [f"after phase {phase + 1}: {zombie} is a zombie" for zombie in zombies]


def end(found: Found, hive: Hive, scene: Scene) -> None:
    """SIGTERM; nobody may be left."""
    former = {process.pid: process for process in of_session(hive.pid)}
    os.kill(hive.pid, signal.SIGTERM)
    try:
        eventually(lambda: hive.has_ended(), "hivemesh has ended", REST_LIMIT)
    except ProofError as problem:
        found.strays.append(str(problem))
    found.strays += [
        f"{process.role} {process.pid} ({process.state}) is left at the end, of {len(former)}"
        for process in of_session(hive.pid)
    ]
    code = hive.stop()
    if code:
        found.strays.append(f"hivemesh ended with {code}")
    if scene.access_log.exists():
        found.chaos.read_log(scene.access_log)
    found.chaos.journal.read()


# --- the verdict --------------------------------------------------------------------------------------------------


def judge(evidence: Evidence, found: Found, folder: Path) -> None:
    tally, chaos = found.tally, found.chaos
    verdict = judge_failures(tally.failures, chaos.events, AT_ONCE)
    done = sum(tally.done.values())
    kinds = Counter(event.kind for event in chaos.events)
    missing = [traffic for traffic in AT_ONCE if not tally.done[traffic]]
    evidence.claim(
        "all kinds of traffic flowed, and all kinds of chaos happened",
        not missing and set(kinds) == found.plan.kinds,
        f"{done:,} exchanges in {found.traffic_seconds:.0f} s, {tally.body_bytes / 1e6:,.0f} MB of HTTP bodies; "
        f"{len(chaos.events)} events; missing: {missing + sorted(found.plan.kinds - set(kinds)) or 'none'}",
    )
    wrong = [failure for failure in tally.failures if failure.kind == "wrong"]
    evidence.claim(
        "every answer and every echo is right, byte by byte",
        not wrong,
        f"{done:,} right, {len(wrong)} wrong{_listed([told_of(failure, found) for failure in wrong])}",
    )
    evidence.claim(
        "every failure is explained by an event",
        not verdict.unexplained and not tally.dropped,
        f"{len(tally.failures)} failures, {len(verdict.unexplained)} unexplained"
        f"{_listed([told_of(failure, found) for failure in verdict.unexplained])}; explained: {_counted(verdict)}",
    )
    evidence.claim(
        "no event costs more than what was under way", not verdict.excess, verdict.excess[:SHOWN] or "none does"
    )
    late = judge_generations(tally.generations, chaos.history, chaos.events)
    stamped = sum(seen.count for seen in tally.generations.values())
    evidence.claim(
        "each answer is of one configuration, which was in force while it was asked for",
        not late and stamped > 0,
        f"{stamped:,} answers of {len(tally.generations)} generations; wrong: {late[:SHOWN] or 'none'}",
    )
    books = {name: _lines(folder / f"posts-{name}") for name in ADDRESSES}
    twice = judge_posts(books, tally.uploads)
    evidence.claim(
        "no endpoint reads a POST that was read before",
        not twice and bool(tally.uploads),
        f"{sum(map(len, books.values())):,} read, {len(tally.uploads):,} answered; wrong: {twice[:SHOWN] or 'none'}",
    )
    strange = [line for name in ADDRESSES for line in _lines(folder / f"wrong-{name}")]
    evidence.claim("endpoints see only requests that clients sent", not strange, strange[:SHOWN] or "none else")
    outdated = judge_sightings(tally.sightings, chaos.dead, operators.KNOWN_WITHIN)
    evidence.claim(
        f"DNS names no endpoint that has been known to be dead for {operators.KNOWN_WITHIN:g} s",
        not outdated and bool(tally.sightings),
        f"{len(tally.sightings):,} answers, {len(chaos.dead)} deaths; wrong: {outdated[:SHOWN] or 'none'}",
    )
    evidence.claim(
        "events lead to what they have to", not chaos.wrong, chaos.wrong[:SHOWN] or f"{len(chaos.events)} did"
    )
    judge_rest(evidence, found)
    judge_log(evidence, found)
    note(evidence, found, verdict, kinds)


def judge_rest(evidence: Evidence, found: Found) -> None:
    flat = lines(found.sampler.samples)
    steep = [str(line) for line in flat if not line.is_flat]
    evidence.claim(
        f"no process grows: by the fitted line at most {MEMORY_BOUND / MIB:g} MiB and {DESCRIPTOR_BOUND:g} descriptors",
        not steep,
        f"{len(flat)} processes lived for long enough of {len({(s.pid, s.born) for s in found.sampler.samples})}; "
        + "; ".join(steep or [str(line) for line in flat]),
    )
    spread = {}
    for sample in found.resting:
        role = sample.role.split()[0]
        least, most = spread.get(role, (sample.descriptors, sample.descriptors))
        spread[role] = min(least, sample.descriptors), max(most, sample.descriptors)
    pipes = max((sample.pipes for sample in found.resting), default=0)
    uneven = any(most - least > REST_SPREAD for least, most in spread.values())
    evidence.claim(
        f"at rest a process has as many descriptors as any of its kind, give or take {REST_SPREAD}, and few pipes",
        bool(spread) and not uneven and pipes <= REST_PIPES,
        f"{', '.join(f'{role} {least} to {most}' for role, (least, most) in spread.items())}; of pipes at most {pipes}",
    )
    evidence.claim("at rest all gauges are zero", not found.uneasy, found.uneasy[:SHOWN] or found.rests)
    evidence.claim("no process is left, none is a zombie", not found.strays, found.strays[:SHOWN] or "none")


def judge_log(evidence: Evidence, found: Found) -> None:
    journal = found.chaos.journal
    evidence.claim("the log has no bug", not journal.bugs, journal.bugs[:SHOWN] or "none")
    errors = [(event["event"], event["at"]) for event in journal.errors]
    odd = judge_errors(errors, found.chaos.events)
    told = dict(Counter(name for name, _ in errors))
    evidence.claim("each error in the log has its event, and each such event its error", not odd, odd[:SHOWN] or told)


def note(evidence: Evidence, found: Found, verdict: Verdict, kinds: Counter[str]) -> None:
    evidence.note("seed", found.plan.seed)
    evidence.note("minutes of traffic", round(found.traffic_seconds / 60, 1))
    evidence.note("events", dict(sorted(kinds.items())))
    evidence.note("exchanges", dict(sorted(found.tally.done.items())))
    evidence.note("explained failures", {" / ".join(key): count for key, count in sorted(verdict.explained.items())})
    evidence.note("access log lines", found.chaos.log_lines)
    evidence.note("cpu seconds of hivemesh", round(sum(found.sampler.cpu.values()), 1))
    evidence.note("load average", [round(value, 2) for value in os.getloadavg()])
    evidence.note("processes", [str(line) for line in lines(found.sampler.samples)])
    evidence.versions.update(hivemesh=machine_version())


def machine_version() -> str:
    from importlib.metadata import version

    return version("hivemesh")


def told(verdict: Verdict, found: Found) -> list[str]:
    more = len(verdict.unexplained) - SHOWN
    lines = [told_of(failure, found) for failure in verdict.unexplained[:SHOWN]]
    return lines + ([f"and {more} more"] if more > 0 else []) + verdict.excess


def told_of(failure: Failure, found: Found) -> str:
    """With what a reader needs to find it again: seed, time, and what happened before."""
    before, start = found.chaos.last_events(failure.ended), found.chaos.start
    return (
        f"seed {found.plan.seed}, {failure.began - start:.2f}..{failure.ended - start:.2f} s: "
        f"{failure.traffic} {failure.kind}: {failure.detail} (events before: {'; '.join(before) or 'none'})"
    )


def _listed(lines: Sequence[str]) -> str:
    return "".join(f"; {line}" for line in lines[:SHOWN])


def _counted(verdict: Verdict) -> str:
    return ", ".join(f"{' / '.join(key)} {count}" for key, count in sorted(verdict.explained.items())) or "none"


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
