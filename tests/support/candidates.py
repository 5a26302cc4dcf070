"""Candidates for balancers, and draws that are known beforehand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from discovery.model import Endpoint
from discovery.policies import LoadBalancingStrategy
from mesh.balance import Balancer, Candidate, Changes
from mesh.draws import Draws
from mesh.request import RequestView, SampleRequest
from mesh.strategies import make_balancer

REQUEST = SampleRequest()


class Place(Candidate):
    """A candidate whose load, breaker and state a test says."""

    loaded = 0
    ejected_until_ms = 0
    draining = False

    def load(self) -> int:
        return self.loaded

    def is_ejected(self, now_ms: int) -> bool:
        return now_ms < self.ejected_until_ms

    def is_draining(self) -> bool:
        return self.draining

    def become(self, weight: int | None = None, backup: bool | None = None) -> None:
        """Change, and note it."""
        if weight is not None:
            self.weight = weight
        if backup is not None:
            self.backup = backup
        self.changes.note(self)


class Scripted(Draws):
    """Gives these numbers from [0, 1) one after the other, and then begins again."""

    def __init__(self, numbers: Iterable[float]) -> None:
        super().__init__(0)
        self.numbers = list(numbers)
        self.place = 0

    def unit(self) -> float:
        number = self.numbers[self.place % len(self.numbers)]
        self.place += 1
        return number

    def below(self, count: int) -> int:
        return int(self.unit() * count)


def place(
    name: str,
    weight: int = 1,
    *,
    usable: bool = True,
    backup: bool = False,
    priority: int = 0,
    zone: str = "",
    changes: Changes | None = None,
) -> Place:
    endpoint = Endpoint(
        id=name, address="127.0.0.1:1", weight=weight, backup=backup, priority=priority, metadata={"zone": zone}
    )
    made = Place(endpoint) if changes is None else Place(endpoint, changes)
    made.usable = usable
    return made


def places(count: int, weight: int = 1) -> list[Place]:
    return [place(f"e{number}", weight) for number in range(count)]


def round_robin(candidates: Sequence[Candidate], start: int = 0) -> Balancer:
    return make_balancer(LoadBalancingStrategy.ROUND_ROBIN, candidates, start)


def picked(
    balancer: Balancer,
    tried: list[Candidate] | None = None,
    now: int = 0,
    request: RequestView = REQUEST,
) -> str:
    """The id of what a pick gives, "-" for nothing."""
    found = balancer.pick(request, tried, now)
    return found.endpoint.id if found is not None else "-"


def picks(balancer: Balancer, count: int, tried: list[Candidate] | None = None, now: int = 0) -> str:
    return "".join(picked(balancer, tried, now) for _ in range(count))


def keyed(number: int) -> SampleRequest:
    """A client of its own."""
    return SampleRequest(client=b"10.%d.%d.%d" % (number >> 16 & 255, number >> 8 & 255, number & 255))
