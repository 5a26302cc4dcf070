"""A stream route as the data plane uses it."""

from __future__ import annotations

from discovery.model import StreamRoute
from proxy.kernel.cells import Slot
from proxy.upstream.endpoint import ServiceRuntime
from proxy.upstream.split import ServiceSplit


class StreamRouteRuntime:
    """What proxy/table.py made of a StreamRoute once, when it was configured. `service` is None when the route names
    none that exists."""

    def __init__(
        self, route: StreamRoute, slot: Slot, service: ServiceRuntime | None, split: ServiceSplit | None
    ) -> None:
        self.route = route
        self.version = route.version
        self.slot = slot
        self.service = service
        self.split = split
