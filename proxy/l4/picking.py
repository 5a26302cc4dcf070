"""Which endpoint a connection or a session of datagrams goes to.

Affinity by address holds for streams as it does for requests. What is kept in a cookie or a header they do not have, so
there the service's load balancing decides.
"""

from __future__ import annotations

from mesh.balance import Balancer, Candidate
from mesh.bonds import Bond
from proxy.stats.words import AFFINITY_BROKEN
from proxy.streamlog import StreamRecord
from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime, pick_admitted, pick_bound
from proxy.upstream.queue import is_free


def bond_of(service: ServiceRuntime, record: StreamRecord) -> Bond | None:
    return None if service.affinities is None else service.affinities.bond(record)


def pick_for(
    service: ServiceRuntime, balancer: Balancer, record: StreamRecord, tried: list[Candidate] | None, now_us: int
) -> EndpointRuntime | None:
    """The endpoint that the client belongs to, or else one that the balancer picks; None when there is none for it."""
    bond = bond_of(service, record)
    if bond is not None:
        endpoint = pick_bound(balancer, bond, record, tried, now_us, False)
        if bond.is_broken and record.attempts == 0:
            record.add_flag("ab")
            service.shared.add(AFFINITY_BROKEN, 1)
        return endpoint
    return pick_admitted(balancer, record, tried, now_us)


def may_go(
    service: ServiceRuntime,
    balancer: Balancer | None,
    record: StreamRecord,
    tried: list[Candidate] | None,
    now_ms: int,
) -> bool:
    """Whether a connection that waits has nothing to wait for any more."""
    bond = bond_of(service, record)
    if bond is not None and balancer is not None:
        target = bond.target(balancer, tried, now_ms)
        if target is not None:
            return not target.full and service.has_room()
        if bond.forbids(tried):
            return True
    return is_free(service, balancer, tried, now_ms)
