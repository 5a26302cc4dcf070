"""A stream route as the data plane uses it."""

from __future__ import annotations

from discovery.model import StreamRoute
from mesh.draws import Draws
from mesh.request import RequestView
from proxy.kernel.cells import Slot
from proxy.upstream.endpoint import ServiceRuntime
from proxy.upstream.split import Drawn, ServiceSplit, count_failovers


class StreamRouteRuntime:
    """What proxy/listeners.py made of a StreamRoute once, when it was configured. `service` is None when the route
    names none that exists. A connection has no id that its draws could come from: they are the worker's."""

    def __init__(
        self,
        route: StreamRoute,
        slot: Slot,
        service: ServiceRuntime | None,
        split: ServiceSplit | None,
        draws: Draws,
    ) -> None:
        self.route = route
        self.version = route.version
        self.slot = slot
        self.service = service
        self.split = split
        self.draws = draws

    def choose(self, stream: RequestView, now_ms: int) -> Drawn:
        """Service and version: the route's, or drawn."""
        service = self.service
        version = self.version
        split = self.split
        if split is None and service is not None and not version:
            split = service.split
        if split is None:
            return Drawn(service, version)
        drawn = split.draw_for(stream, self.draws.unit(), now_ms)
        if drawn.failed_over:
            count_failovers(drawn)
        return drawn
