"""A large snapshot in messages of a size that a worker reads between two requests.

One message with ten thousand endpoints takes a worker 20 milliseconds to decode, and its traffic waits for that. So
what is large travels as `Part`s, each of some hundred services and endpoints, and an `Apply` that ends them. A service
with more endpoints than fit goes on in the next part, under the same name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import msgspec

from discovery.delta import SnapshotDelta
from discovery.model import Service, Snapshot
from proxy.control.messages import Apply, Part

# Services and endpoints of a part; with their rows some 30 kB, decoded in 0.3 ms.
PART_SIZE = 200
# Of these in one message of a difference: beyond it the whole snapshot in parts disturbs traffic less.
MOST_IN_DELTA = 1000


def in_parts(snapshot: Snapshot, slots: Mapping[str, int]) -> Iterator[Part | Apply]:
    """What tells a worker of `snapshot`; the last of it is an Apply."""
    pieces: list[Service] = []
    size = 0
    rows = iter(slots.items())
    for service in snapshot.services:
        for piece in _pieces(service):
            if size and size + _size(piece) > PART_SIZE:
                yield Part(services=tuple(pieces), slots=dict(islice(rows, 2 * PART_SIZE)))
                pieces, size = [], 0
            pieces.append(piece)
            size += _size(piece)
    yield Apply(snapshot=msgspec.structs.replace(snapshot, services=tuple(pieces)), slots=dict(rows))


def joined(services: Iterable[Service]) -> tuple[Service, ...]:
    """The services of parts and their Apply, one after the other."""
    whole: list[list[Service]] = []
    for piece in services:
        if whole and whole[-1][0].name == piece.name:
            whole[-1].append(piece)
        else:
            whole.append([piece])
    return tuple(
        pieces[0]
        if len(pieces) == 1
        else msgspec.structs.replace(
            pieces[0], endpoints=tuple(endpoint for piece in pieces for endpoint in piece.endpoints)
        )
        for pieces in whole
    )


def is_large(change: SnapshotDelta) -> bool:
    """Whether a difference is better told as a whole snapshot."""
    size = sum(_size(service) for each in change.spliced for service in each.inserted)
    size += sum(len(each.inserted) for service in change.services for each in service.endpoints)
    return size > MOST_IN_DELTA


def _pieces(service: Service) -> Iterator[Service]:
    if len(service.endpoints) < PART_SIZE:
        yield service
        return
    for start in range(0, len(service.endpoints), PART_SIZE - 1):
        yield msgspec.structs.replace(service, endpoints=service.endpoints[start : start + PART_SIZE - 1])


def _size(service: Service) -> int:
    return 1 + len(service.endpoints)
