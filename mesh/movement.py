"""How many keys a change of the endpoints, or of the strategy, moves to another endpoint.

Only strategies that hash promise that a key stays where it is; for the others nothing moves, because nothing is kept.
The same balancers are asked before and after with the same made-up keys, so the answer is an estimate: of 2000 keys,
plus or minus two percent.
"""

from __future__ import annotations

from collections.abc import Callable

from discovery.model import EndpointState, Service
from discovery.policies import KeyKind, LoadBalancingStrategy, RequestKey
from mesh.balance import Candidate
from mesh.draws import Draws
from mesh.request import RequestView, SampleRequest
from mesh.strategies import make_balancer

HASHING = frozenset(
    (LoadBalancingStrategy.IP_HASH, LoadBalancingStrategy.RING_HASH, LoadBalancingStrategy.MAGLEV),
)
SAMPLES = 2000

Pick = Callable[[RequestView], str]


def moved_share(was: Service, now: Service) -> float | None:
    """The share of keys, from 0 to 1, whose endpoint is another one afterwards; None where it is no question: one of
    them does not hash, hashes something else, or has nobody."""
    if was.load_balancing not in HASHING or now.load_balancing not in HASHING:
        return None
    key = _key_of(was)
    if key != _key_of(now):
        return None
    before, after = _picks(was), _picks(now)
    if before is None or after is None:
        return None
    requests = [_request(number, key) for number in range(SAMPLES)]
    return sum(before(request) != after(request) for request in requests) / SAMPLES


def _key_of(service: Service) -> RequestKey:
    return RequestKey() if service.load_balancing is LoadBalancingStrategy.IP_HASH else service.balancing.hash_on


def _picks(service: Service) -> Pick | None:
    candidates = [Candidate(endpoint) for endpoint in service.endpoints]
    for candidate in candidates:
        candidate.usable = candidate.endpoint.state in (EndpointState.HEALTHY, EndpointState.CHECKING)
    if not any(candidate.usable and candidate.weight for candidate in candidates):
        return None
    balancer = make_balancer(service.load_balancing, candidates, 0, service.balancing, "", Draws(1))

    def pick(request: RequestView) -> str:
        found = balancer.pick(request, None, 0)
        return "" if found is None else f"{found.endpoint.id} {found.endpoint.address}"

    return pick


def _request(number: int, key: RequestKey) -> RequestView:
    value = b"key-%d" % number
    name = key.name.encode()
    match key.kind:
        case KeyKind.HEADER:
            return SampleRequest(headers=[(name, value)])
        case KeyKind.COOKIE:
            return SampleRequest(headers=[(b"cookie", name + b"=" + value)])
        case KeyKind.QUERY:
            return SampleRequest(query=name + b"=" + value)
    return SampleRequest(client=b"10.%d.%d.%d" % (number % 251, number // 251 % 251, number % 241))
