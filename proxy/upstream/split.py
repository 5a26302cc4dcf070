"""Traffic splits at run time: a draw among services and versions that have an endpoint to offer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from discovery.model import TrafficSplit
from mesh.split import Split
from proxy.upstream.endpoint import ServiceRuntime


class Drawn(NamedTuple):
    """What a split gave: `failed_over` when the share that was drawn has no usable endpoint."""

    service: ServiceRuntime | None
    version: str
    failed_over: bool


class ServiceSplit:
    """A traffic split over services at run time."""

    def __init__(self, shares: tuple[TrafficSplit, ...], own: str, services: Mapping[str, ServiceRuntime]) -> None:
        self.split = Split(shares)
        self.own = own
        self.services = services

    def service_of(self, share: TrafficSplit) -> ServiceRuntime | None:
        return self.services.get(share.service or self.own)

    def is_usable(self, share: TrafficSplit, now_ms: int) -> bool:
        service = self.service_of(share)
        return service is not None and has_usable(service, share.version, now_ms)

    def draw_usable(self, random: float, now_ms: int) -> Drawn:
        choice = self.split.draw_usable(random, lambda share: self.is_usable(share, now_ms))
        share = self.split.draw(random) if choice is None else choice.share
        return Drawn(self.service_of(share), share.version, choice is not None and choice.failed_over)


def has_usable(service: ServiceRuntime, version: str, now_ms: int) -> bool:
    balancer = service.versions.get(version) if version else service.balancer
    return balancer is not None and any(
        candidate.usable and candidate.weight > 0 and not candidate.is_ejected(now_ms)
        for candidate in balancer.candidates
    )
