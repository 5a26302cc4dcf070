"""Traffic splits at run time: a draw among services and versions that have an endpoint to offer.

a client that is bound to an endpoint (affinity) goes where that is, whatever the weights say
otherwise one number decides: the client's own (a sticky split), or the request's (`number_of`)
    -> a share -> if it has no usable endpoint, another one (failover)
    -> a share of a route that names no version: the split of that service, by what is left of the number

Drawing counts nothing and moves nothing on: whoever sends a request there says so to `count_failovers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from discovery.model import TrafficSplit
from mesh.bonds import Bond, is_able, mix, unit_of
from mesh.draws import draws_of, salt_of
from mesh.request import RequestView
from mesh.split import Split, name_of
from proxy.stats.words import FAILOVERS
from proxy.upstream.endpoint import ServiceRuntime

if TYPE_CHECKING:  # imported where a split is sticky
    from mesh.affinity import Stickiness


class Drawn(NamedTuple):
    """What a split gave. `failed_over` when the share that was drawn, `wanted` in words, has no usable endpoint; the
    services that such shares lead to are `missed`. `bond` is what the request says of the endpoint that it belongs to,
    as far as `service` has an affinity, and `line` the Set-Cookie line of a sticky split, if the client needs one."""

    service: ServiceRuntime | None
    version: str
    failed_over: bool = False
    wanted: str = ""
    bond: Bond | None = None
    line: bytes | None = None
    missed: tuple[ServiceRuntime, ...] = ()


class Step(NamedTuple):
    """One draw on the way of a request, told to whoever asks. number: what counted, -1 where the client is bound.
    by: what the number comes from, "" for what the caller gave. wanted: the share that was drawn and is not usable."""

    split: ServiceSplit
    number: float
    by: str
    kept: str
    share: TrafficSplit | None
    wanted: TrafficSplit | None = None


class ServiceSplit:
    """The split of a route, or of the service `own`."""

    def __init__(
        self,
        shares: Sequence[TrafficSplit],
        own: str,
        services: Mapping[str, ServiceRuntime],
        sticky: Stickiness | None = None,
        *,
        owner: str = "",
        instance: str = "",
        is_nested: bool = False,
    ) -> None:
        """`owner`: whose it is ("route api", "service web"), in which instance. `is_nested`: it is a service's, and a
        share without a version is all of that service's endpoints."""
        self.split = Split(shares)
        self.shares = tuple(shares)
        self.own = own
        self.services = services
        self.sticky = sticky
        self.owner = owner
        self.salt = salt_of("split", owner, instance)
        self.is_nested = is_nested
        self.names = tuple(dict.fromkeys(share.service or own for share in shares))
        # Also those of weight 0: who is bound to an endpoint of theirs stays there (GEP-1619, Traffic Splitting).
        self.reach = frozenset((share.service or own, share.version) for share in shares)

    # --- what there is --------------------------------------------------------------------------------------------

    def service_of(self, share: TrafficSplit) -> ServiceRuntime | None:
        return self.services.get(share.service or self.own)

    def inner(self, service: ServiceRuntime | None, version: str) -> ServiceSplit | None:
        """The split that decides further, for a share of this one."""
        return service.split if service is not None and not version and not self.is_nested else None

    def is_usable(self, share: TrafficSplit, now_ms: int) -> bool:
        service = self.service_of(share)
        if service is None:
            return False
        inner = self.inner(service, share.version)
        if inner is not None:
            return inner.has_usable(now_ms)
        return has_usable(service, share.version, now_ms)

    def has_usable(self, now_ms: int) -> bool:
        return any(self.is_usable(share, now_ms) for share in self.split.shares)

    def reaches(self, service: ServiceRuntime, version: str) -> bool:
        """Whether some share leads to endpoints of this version."""
        if (service.name, version) in self.reach:
            return True
        if (service.name, "") not in self.reach:
            return False
        inner = self.inner(service, "")
        return inner is None or inner.reaches(service, version)

    def is_bonding(self) -> bool:
        """Whether requests of a service that this leads to may belong to endpoints."""
        services = self.services
        for name in self.names:
            service = services.get(name)
            if service is not None and service.affinities is not None:
                return True
        return False

    def share_to(self, service: ServiceRuntime, version: str) -> TrafficSplit | None:
        """The share that leads to endpoints of this version: one that names it before one that names none."""
        named = [each for each in self.shares if (each.service or self.own) == service.name]
        exact = [each for each in named if each.version == version]
        return next(iter(exact or [each for each in named if not each.version]), None)

    # --- drawing --------------------------------------------------------------------------------------------------

    def number_of(self, request_id: bytes) -> float:
        """What a request draws here, from [0, 1)."""
        return draws_of(request_id, self.salt).unit()

    def draw_for(self, request: RequestView, random: float, now_ms: int, told: list[Step] | None = None) -> Drawn:
        """Where `request` goes: to the endpoint that it belongs to, or else where a number falls, which is `random`
        unless it is the client's own. Each step is `told`."""
        if not self.is_bonding():
            return self.draw(request, random, now_ms, told)
        by = ""
        bonds: dict[str, Bond] = {}
        for name in self.names:
            service = self.services.get(name)
            if service is None or service.affinities is None:
                continue
            bond = service.affinities.bond(request)
            if bond is None:
                continue
            candidate = bond.candidate
            if candidate is not None and not self.reaches(service, candidate.endpoint.version):
                bond.exclude()
            elif candidate is not None and (bond.is_strict or is_able(candidate, now_ms)):
                if told is not None:
                    share = self.share_to(service, candidate.endpoint.version)
                    told.append(Step(self, -1.0, "", service.affinities.said_by, share))
                return Drawn(service, candidate.endpoint.version, bond=bond)
            elif bond.is_lost and bond.is_strict:
                if told is not None:
                    told.append(Step(self, -1.0, "", service.affinities.said_by, None))
                return Drawn(service, "", bond=bond)
            if bond.is_keyed and len(self.names) == 1:
                # Whoever belongs to an endpoint belongs to its version as well.
                random = unit_of(mix(bond.key))
                by = service.affinities.said_by
            bonds[name] = bond
        drawn = self.draw(request, random, now_ms, told, by)
        return drawn if drawn.service is None else drawn._replace(bond=bonds.get(drawn.service.name))

    def draw(
        self, request: RequestView, random: float, now_ms: int, told: list[Step] | None = None, by: str = ""
    ) -> Drawn:
        """What `random`, from [0, 1), falls on; or the number that is the client's own, if the split is sticky. `by`:
        what `random` comes from, if anybody is to be told."""
        split = self.split
        sticky = self.sticky
        had: TrafficSplit | None = None
        if sticky is not None:
            own = sticky.draw(request)
            if own is not None:
                random = own
                by = sticky.said_by
            had = sticky.share(request)
        share = split.draw(random) if had is None else had
        wanted: TrafficSplit | None = None
        missed: tuple[ServiceRuntime, ...] = ()
        service = self.service_of(share)
        rest = -1.0  # what is left of the number, once somebody needs it
        if not self.is_usable(share, now_ms):
            rest = split.within(random) if had is None else random
            choice = split.instead_of(share, rest, lambda each: self.is_usable(each, now_ms))
            if choice is not None:
                missed = () if service is None else (service,)
                wanted, share, rest = share, choice.share, choice.rest
                service = self.service_of(share)
        line = sticky.line(share, request) if sticky is not None and share is not had else None
        if told is not None:
            if sticky is not None and share is had:
                told.append(Step(self, -1.0, "", sticky.said_by, share))
            else:
                told.append(Step(self, random, by, "", share, wanted))
        inner = self.inner(service, share.version)
        if inner is not None:
            drawn = inner.draw(request, rest if rest >= 0.0 else split.within(random), now_ms, told, by)
            if line is None and wanted is None:
                return drawn
            line = both(line, drawn.line)
            if wanted is None:
                return drawn._replace(line=line)
            return drawn._replace(failed_over=True, wanted=name_of(wanted), line=line, missed=missed + drawn.missed)
        words = "" if wanted is None else name_of(wanted)
        return Drawn(service, share.version, wanted is not None, words, None, line, missed)


def both(lines: bytes | None, line: bytes | None) -> bytes | None:
    """Set-Cookie lines of two who do not know of each other."""
    if lines is None or line is None:
        return line if lines is None else lines
    from mesh.affinity import joined

    return joined(lines, line)


def has_usable(service: ServiceRuntime, version: str, now_ms: int) -> bool:
    balancer = service.versions.get(version) if version else service.balancer
    return balancer is not None and balancer.has_usable(None, now_ms)


def count_failovers(drawn: Drawn) -> None:
    """Somebody goes where `drawn` says, because shares that lead elsewhere have no usable endpoint."""
    for service in drawn.missed:
        service.shared.add(FAILOVERS, 1)
