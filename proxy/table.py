"""What a snapshot becomes inside a worker: services with their endpoints, and routes compiled per listener.

`Tables.steps` carries out a change: only services that it names are touched, and within them only endpoints that are
other than they were. What has the same identity is the same object afterwards: an endpoint keeps its connections and
statistics, a service its queue, a listener its connections.

A large change takes many steps, and traffic goes on between them, so their order matters: new services with their
endpoints, then the routes that lead to them; services that changed, new endpoints before old ones leave; listeners;
and last the services that are gone. Whatever a request meets on its way is there. But a route that is still in force
may then lead to endpoints that are already those of the new snapshot, so whoever carries out a change that is not large
(`Tables.size`) lets no traffic in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from discovery.delta import SnapshotChange, change_between
from discovery.model import Listener, Service, Snapshot
from mesh.draws import Draws
from proxy.kernel.entropy import random_unit
from proxy.listeners import ListenerTable
from proxy.policies import PolicyTools
from proxy.stats.rows import Rows
from proxy.upstream.endpoint import EndpointRuntime, nobody
from proxy.upstream.services import ServiceTable

# In force before the first one.
NOTHING = Snapshot()


class Follower(Protocol):
    """Who else goes by the services, DNS above all: it is told in the same step in which the proxy begins to decide by
    them, so the two never disagree."""

    def put(self, service: Service) -> None:
        """The service is new or other than it was."""

    def remove(self, name: str) -> None: ...


class Tables:
    """The state in force: services (proxy/upstream/services.py), and listeners with their routes (proxy/listeners.py).
    `services` and `listeners` are those of the two, by name."""

    def __init__(
        self,
        rows: Rows,
        review: Callable[[EndpointRuntime], None] = lambda _: None,
        ring: Callable[[], None] = nobody,
    ) -> None:
        """`review` is called with an endpoint that may be used for more, or for less, than before; `ring` wakes the
        other workers."""
        self.rows = rows
        self.draws = Draws(int(random_unit() * 2**53))
        self.policies = PolicyTools(rows, self.draws)
        self.service_table = ServiceTable(rows, self.policies, review, ring)
        self.services = self.service_table.services
        self.listener_table = ListenerTable(rows, self.policies, self.services)
        self.listeners = self.listener_table.listeners
        self.snapshot = NOTHING
        self.applied: dict[str, Listener] = {}
        self.followers: list[Follower] = []

    def apply(self, snapshot: Snapshot, slots: Mapping[str, int]) -> None:
        """Decide by `snapshot` at once. What is other than it was is found out here."""
        before, self.rows.numbers = self.rows.numbers, slots
        self.rows.forget([(key, number) for key, number in before.items() if slots.get(key, number) != number])
        for _ in self.steps(change_between(self.snapshot, snapshot)):
            pass
        self.rows.forget([(key, number) for key, number in before.items() if key not in slots])

    def steps(self, change: SnapshotChange) -> Iterator[None]:
        """Carry `change` out; it is in force when the iterator has ended. Traffic may go on between two steps."""
        snapshot = change.snapshot
        new = [each.now for each in change.services if each.was is None and each.now is not None]
        changed = [(each, each.now) for each in change.services if each.was is not None and each.now is not None]
        gone = [each.name for each in change.services if each.now is None]
        lasting = [listener for listener in snapshot.listeners if self.is_lasting(listener, snapshot)]
        if not self.policies.is_for(snapshot.settings):
            self.policies.apply(snapshot.settings)
            for runtime in self.services.values():
                self.service_table.take_fields(runtime, runtime.service)
                yield
        order = _Order(snapshot)
        if snapshot.settings.zone != self.service_table.zone:
            self.service_table.zone = snapshot.settings.zone
            for runtime in self.services.values():
                self.service_table.balance(runtime, runtime.service)
                yield
        for service in new:
            yield from self.service_table.add(service)
        for service in new:
            self.listener_table.link(self.services[service.name])
            self.follow(service, lasting, order)
            yield
        for each, service in changed:
            yield from self.service_table.change(each, service)
            self.follow(service, lasting, order)
            yield
        lasting_names = {listener.name for listener in lasting}
        for listener in snapshot.listeners:
            if listener.name not in lasting_names:
                yield from self.listener_table.put(listener, snapshot.services, order)
        for name in self.listeners.keys() - {listener.name for listener in snapshot.listeners}:
            self.listener_table.remove(name)
        self.applied = {listener.name: listener for listener in snapshot.listeners}
        for name in gone:
            yield from self.remove(name)
        self.snapshot = snapshot
        self.service_table.is_starting = False

    def is_lasting(self, listener: Listener, snapshot: Snapshot) -> bool:
        """Whether the listener stays as it is with `snapshot`; one that does not is made anew, and needs no care until
        then."""
        return self.applied.get(listener.name) is listener and self.policies.is_for(snapshot.settings)

    def size(self, change: SnapshotChange) -> int:
        """How many endpoints, routes and services `steps` has to look at; each costs some tens of microseconds at
        most."""
        snapshot = change.snapshot
        count = sum(1 + len(each.put()) + len(each.taken()) for each in change.services)
        if self.service_table.zone != snapshot.settings.zone or not self.policies.is_for(snapshot.settings):
            count += sum(1 + len(runtime.endpoints) for runtime in self.services.values())
        for listener in snapshot.listeners:
            if not self.is_lasting(listener, snapshot):
                count += 1 + len(listener.routes) + len(listener.streams)
                count += len(snapshot.services) if listener.by_domain else 0
        return count

    def follow(self, service: Service, listeners: Iterable[Listener], order: Callable[[str], int]) -> None:
        """The service is as it should be: its domain leads to it, and whoever else goes by it may know."""
        self.listener_table.follow(service, listeners, order)
        for follower in self.followers:
            follower.put(service)

    def remove(self, name: str) -> Iterator[None]:
        """No route leads to the service any more, and nobody goes by it, in the step in which it begins to go."""
        self.listener_table.unlink(name)
        for follower in self.followers:
            follower.remove(name)
        yield from self.service_table.remove(name)


class _Order:
    """Where the services of a snapshot stand; looked up only where two of them claim the same."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.positions: dict[str, int] | None = None

    def __call__(self, name: str) -> int:
        if self.positions is None:
            self.positions = {service.name: index for index, service in enumerate(self.snapshot.services)}
        return self.positions.get(name, len(self.positions))  # one that is gone is about to let go
