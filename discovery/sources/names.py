"""Endpoints that are DNS names, followed: the driver of resolution.py.

Every name that a source has is looked at on its own, as often as its TTL says. What this machine says of it
(/etc/hosts, localhost) comes before what resolvers say. The catalog is told when the endpoints are others than before,
and what is wrong with each name; nothing is ever taken back because it could not be looked at.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path

from discovery.changes import NAMES, ChangeError, Resolved
from discovery.config import FollowedName, NameKind
from discovery.model import Endpoint
from discovery.sources import Reports
from discovery.sources.fingerprints import Fingerprint, fingerprint
from discovery.sources.hosts import MAX_BYTES, known_here, parse_hosts, parse_resolvers
from discovery.sources.messages import AAAA, SRV, A, Record, Target
from discovery.sources.resolution import (
    LONGEST_TTL,
    MAX_LINKS,
    Answer,
    Finding,
    Known,
    Outcome,
    canonical,
    endpoints_of,
    next_look,
    of_kind,
    together,
)
from discovery.sources.stub import NoAnswer, StubResolver

HOSTS = "/etc/hosts"
RESOLV_CONF = "/etc/resolv.conf"

HOSTS_TTL = 5.0  # seconds after which the file is looked at again
AT_A_TIME = 32  # names that are looked at; the others wait


class Machine:
    """What the files of this machine say, read again when they have changed."""

    def __init__(self, resolvers: Sequence[str] = (), hosts: str = HOSTS, resolv_conf: str = RESOLV_CONF) -> None:
        """`resolvers`: host:port, in place of those of resolv.conf."""
        self.resolvers = tuple(resolvers)
        self._hosts_path = hosts
        self._resolv_conf = resolv_conf
        self._seen: Fingerprint | None = None
        self._hosts: Mapping[str, tuple[str, ...]] = {}

    def servers(self) -> tuple[str, ...]:
        return self.resolvers or parse_resolvers(_text(self._resolv_conf))

    def addresses(self, name: str) -> tuple[str, ...]:
        now = fingerprint(self._hosts_path)
        if now != self._seen:
            self._seen, self._hosts = now, parse_hosts(_text(self._hosts_path))
        return known_here(name, self._hosts)


def _text(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_BYTES).decode(errors="replace")
    except OSError:
        return ""  # like an empty one, as for the system's resolver


_Key = tuple[str, str, str]  # source, service, id of the entry


class _Following:
    """One name of one source."""

    def __init__(self, source: str, name: FollowedName, known: Known, told: tuple[Endpoint, ...] = ()) -> None:
        self.key: _Key = (source, name.service, name.endpoint.id)
        self.name = name
        self.known = known
        self.told = told
        self.failures = 0
        self.was_looked_at = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    @property
    def problem_source(self) -> str:
        return f"{NAMES}:{self.name.service}/{self.name.endpoint.id}"


class NameSource:
    def __init__(
        self,
        catalog: Reports,
        machine: Machine,
        stub: StubResolver | None = None,
        draw: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.machine = machine
        self.looks = 0
        self._catalog = catalog
        self._stub = stub or StubResolver(machine.servers)
        self._draw = draw or random.Random()
        self._sleep = sleep
        self._slots = asyncio.Semaphore(AT_A_TIME)
        self._following: dict[_Key, _Following] = {}
        self._adopted: dict[_Key, tuple[Endpoint, ...]] = {}

    def adopt(self, changes: Iterable[Resolved]) -> None:
        """What a predecessor said, and the catalog still believes. Before `follow`."""
        for change in changes:
            self._adopted[change.source, change.service, change.id] = change.endpoints

    def sources(self) -> list[str]:
        """Under which names problems are told."""
        return [following.problem_source for following in self._following.values()]

    def follow(self, source: str, names: Sequence[FollowedName]) -> None:
        """These are all the names of `source` now. One that is asked for as before goes on with what is known."""
        wanted = {(source, each.service, each.endpoint.id): each for each in names}
        for key, following in list(self._following.items()):
            if key[0] == source and wanted.get(key) != following.name:
                self._stop(following)
                del self._following[key]
                new = wanted.get(key)
                if new is not None and _question(new) == _question(following.name):
                    self._start(key, _Following(source, new, following.known))
                else:
                    self._try_to_tell(key, ())
        for key in [key for key in self._adopted if key[0] == source]:
            adopted = self._adopted.pop(key)
            if key in wanted:
                self._start(key, _Following(source, wanted[key], Known(), adopted))
            else:
                self._try_to_tell(key, ())
        for key, name in wanted.items():
            if key not in self._following:
                self._start(key, _Following(source, name, Known()))

    async def settled(self) -> None:
        """Until every name was looked at once."""
        await asyncio.gather(*(following.was_looked_at.wait() for following in self._following.values()))

    async def close(self) -> None:
        """Look no more. What was said stays in force."""
        tasks = [each.task for each in self._following.values() if each.task is not None]
        for following in self._following.values():
            self._stop(following)
        self._following.clear()
        if tasks:
            await asyncio.wait(tasks)

    # --- one name -------------------------------------------------------------------------------------------------

    def _start(self, key: _Key, following: _Following) -> None:
        self._following[key] = following
        endpoints = endpoints_of(following.name, following.known)
        if endpoints and self._try_to_tell(key, endpoints):
            following.told = endpoints
        following.task = asyncio.get_running_loop().create_task(self._watch(following))

    def _stop(self, following: _Following) -> None:
        if following.task is not None:
            following.task.cancel()
        self._catalog.problem(following.problem_source, None)

    async def _watch(self, following: _Following) -> None:
        while True:
            try:
                async with self._slots:
                    outcome = await self._look(following)
            except Exception as error:  # ours; the next look may succeed
                traceback.print_exc()
                outcome = Outcome(None, f"{following.name.name} could not be looked at: {error!r}")
            following.failures = following.failures + 1 if outcome.problem is not None else 0
            self._report(following, outcome)
            await self._sleep(next_look(outcome, following.failures, self._draw.random()))

    def _report(self, following: _Following, outcome: Outcome) -> None:
        problem = outcome.problem
        endpoints = endpoints_of(following.name, following.known)
        if endpoints and endpoints != following.told:  # none: nothing was learned, and what was said before stays
            try:
                self._tell(following.key, endpoints)
                following.told = endpoints
            except ChangeError as error:
                problem = str(error)
        if problem is not None:
            stay = len(following.told)
            problem += f"; the {stay} known before stay" if stay else "; it has no endpoints"
        self._catalog.problem(following.problem_source, problem)
        following.was_looked_at.set()
        self.looks += 1

    def _tell(self, key: _Key, endpoints: tuple[Endpoint, ...]) -> None:
        source, service, id = key
        self._catalog.report(Resolved(service=service, id=id, endpoints=endpoints, source=source))

    def _try_to_tell(self, key: _Key, endpoints: tuple[Endpoint, ...]) -> bool:
        """What is refused is told again after the next look."""
        try:
            self._tell(key, endpoints)
        except ChangeError:
            return False
        return True

    async def _look(self, following: _Following) -> Outcome:
        name, known = following.name.name, following.known
        if following.name.kind is NameKind.ADDRESS:
            return known.learn_host(name, await self._addresses(name))
        targets, ttl, additional = await self._targets(name)
        outcome = known.learn_targets(name, targets, ttl)
        if outcome.problem is not None:
            return outcome
        hosts = sorted({target.host for target in known.targets})
        findings = await asyncio.gather(*(self._host(host, additional) for host in hosts))
        return together(
            [outcome, *(known.learn_host(host, found) for host, found in zip(hosts, findings, strict=True))]
        )

    # --- questions ------------------------------------------------------------------------------------------------

    async def _targets(self, name: str) -> tuple[Sequence[Target] | str, float, tuple[Record, ...]]:
        ttl = LONGEST_TTL
        try:
            for _ in range(MAX_LINKS):
                reply = await self._stub.ask(name, SRV)
                owner, least = canonical(reply.answers, name)
                values, own = of_kind(reply.answers, owner, SRV)
                ttl = min(ttl, least, own)
                if values or owner == name:
                    return [value for value in values if isinstance(value, Target)], ttl, reply.additional
                name = owner
        except NoAnswer as error:
            return str(error), ttl, ()
        return f"{name}: more than {MAX_LINKS} aliases in a row", ttl, ()

    async def _host(self, host: str, additional: Sequence[Record]) -> dict[int, Finding]:
        """Of the target of an SRV record: what came with it, or else what is answered."""
        if not self.machine.addresses(host):
            found: dict[int, Finding] = {}
            for kind in (A, AAAA):
                values, ttl = of_kind(additional, host, kind)
                found[kind] = Answer(tuple(value for value in values if isinstance(value, str)), ttl)
            if any(isinstance(finding, Answer) and finding.values for finding in found.values()):
                return found
        return await self._addresses(host)

    async def _addresses(self, host: str) -> dict[int, Finding]:
        here = self.machine.addresses(host)
        if here:
            v6 = tuple(address for address in here if ":" in address)
            v4 = tuple(address for address in here if ":" not in address)
            return {A: Answer(v4, HOSTS_TTL), AAAA: Answer(v6, HOSTS_TTL)}
        v4_found, v6_found = await asyncio.gather(self._of_kind(host, A), self._of_kind(host, AAAA))
        return {A: v4_found, AAAA: v6_found}

    async def _of_kind(self, name: str, kind: int) -> Finding:
        ttl = LONGEST_TTL
        try:
            for _ in range(MAX_LINKS):
                reply = await self._stub.ask(name, kind)
                owner, least = canonical(reply.answers, name)
                values, own = of_kind(reply.answers, owner, kind)
                ttl = min(ttl, least, own)
                if values or owner == name:
                    return Answer(tuple(value for value in values if isinstance(value, str)), ttl)
                name = owner
        except NoAnswer as error:
            return str(error)
        return f"{name}: more than {MAX_LINKS} aliases in a row"


def _question(name: FollowedName) -> tuple[NameKind, str]:
    return name.kind, name.name
