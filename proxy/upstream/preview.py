"""What a request would draw, and which endpoint it would get: asked of the same objects, with nothing moved on.

A pick is made and put back (`Balancer.remember`), probes of a breaker are not claimed (`would_admit`), a subset that
nobody has used yet is not kept. So the answer is what the next request of this worker would get, as long as nothing
happens in between.
"""

from __future__ import annotations

from heapq import nsmallest
from math import inf
from typing import NamedTuple

from discovery.model import EndpointState
from discovery.policies import LoadBalancingStrategy, RequestKey
from mesh.balance import Balancer, Candidate, Group, Scores
from mesh.bonds import Bond
from mesh.breaker import CLOSED, OPEN, PROBE, describe, state_of
from mesh.decision import AffinityView, Balance, EndpointReport, ShareView, SplitView
from mesh.keys import key_of, words_for
from mesh.request import RequestView
from mesh.split import name_of
from mesh.subsets import SubsetRule
from proxy.stats.words import BREAKER_WORD
from proxy.upstream.endpoint import EndpointRuntime, ServiceRuntime, is_breaker_open, pick_admitted, pick_bound
from proxy.upstream.split import Drawn, ServiceSplit, Step

# Characters of a key that are shown.
MOST_KEY = 200

# What is compared, by the kind of its scores.
SCORE_OF = {
    "turns": "turns until its turn, 0 is next",
    "credit": "credit of smooth weighted round robin, the highest is next",
    "deadline": "distance of its deadline, in parts of 1 / weight, the nearest is next",
    "share": "share of the draws in percent",
    "load": "requests under way / weight, the lowest wins",
    "time": "expected time to wait in milliseconds, the lowest wins",
    "score": "logarithm of a hash of key and endpoint / weight, the highest wins",
    "steps": "steps on the walk of the key until it is met, 0 is its own",
}

# What the key of a request comes from, for strategies that hash.
BY_CLIENT = (LoadBalancingStrategy.IP_HASH,)
BY_KEY = (LoadBalancingStrategy.RING_HASH, LoadBalancingStrategy.MAGLEV)


class Preview(NamedTuple):
    """How the endpoint is chosen. endpoints: of the whole service, the picked one first; `more` are left out. picked:
    None when there is none, and `why` says why. probing: it would be a probe of a half-open breaker. balancer: of the
    endpoints that the request may go to. panicked: too few of them are usable, so breakers were not asked."""

    balance: Balance
    endpoints: tuple[EndpointReport, ...]
    more: int
    picked: EndpointRuntime | None
    why: str
    affinity: AffinityView | None
    probing: bool = False
    balancer: Balancer | None = None
    panicked: bool = False


class Pick(NamedTuple):
    """A pick that was put back. bound: the client belongs there. group: that it was picked from. scores: of it."""

    endpoint: EndpointRuntime | None
    bound: bool = False
    panicked: bool = False
    certain: bool = False
    only: bool = False
    group: Group | None = None
    scores: Scores | None = None


NO_PICK = Pick(None)


def preview(
    service: ServiceRuntime,
    version: str,
    subset: SubsetRule | None,
    request: RequestView,
    bond: Bond | None,
    now_us: int,
    most: int,
    tried: list[Candidate] | None = None,
) -> Preview:
    """What `Attempts.assign` would pick for `request`. `bond`: as the split or the service made it for this question
    alone. now_us: microseconds of the monotonic clock. most: endpoints that are listed, 0 for all."""
    whole = service.balancer
    draws = whole.terms.draws if whole is not None else None
    state = draws.state if draws is not None else 0
    pick = NO_PICK
    try:
        balancer = service.balancer_of(version, subset, request, True)
        if balancer is not None:
            pick = ask(balancer, bond, request, tried, now_us, subset is not None)
    finally:
        if draws is not None:
            draws.state = state  # also what making the balancer of a subset has drawn
    now_ms = now_us // 1000
    picked = pick.endpoint
    reports, more = _reports(service, version, balancer, pick, now_ms, most)
    key = _key(service, request)
    balance = Balance(
        strategy=service.service.load_balancing.value,
        score_of="" if pick.scores is None else SCORE_OF[pick.scores.kind],
        key=key,
        note=_note(service, balancer, pick, now_ms),
        certain=pick.certain,
    )
    probing = picked is not None and not pick.panicked and picked.would_admit(now_ms) == PROBE
    why = _why(service, version, subset, balancer, bond, pick, key, tried)
    if probing:
        why += ", as a probe of its half-open breaker"
    affinity = _affinity(service, bond, picked, tried)
    return Preview(balance, reports, more, picked, why, affinity, probing, balancer, pick.panicked)


def ask(
    balancer: Balancer,
    bond: Bond | None,
    request: RequestView,
    tried: list[Candidate] | None,
    now_us: int,
    in_subset: bool,
) -> Pick:
    """Pick, and put everything back."""
    now_ms = now_us // 1000
    memory = balancer.remember()
    try:
        balancer.panicked = False
        if bond is None:
            endpoint = pick_admitted(balancer, request, tried, now_us, True)
        else:
            endpoint = pick_bound(balancer, bond, request, tried, now_us, in_subset, True)
        panicked = balancer.panicked
        bound = bond is not None and endpoint is not None and bond.target(balancer, tried, now_ms) is endpoint
        group = None
        certain = bound
        only = False
        if endpoint is not None and not bound:
            group = balancer.plain if balancer.plain is not None else balancer.used
            certain = balancer.is_certain(request, tried, now_ms)
            only = balancer.awaited(tried, now_ms) == [endpoint]
    finally:
        balancer.put_back(memory)
    scores = None if group is None else balancer.scores(group, panicked, request, tried, now_us)
    return Pick(endpoint, bound, panicked, certain, only, group, scores)


# --- endpoints ----------------------------------------------------------------------------------------------------


def _reports(
    service: ServiceRuntime, version: str, balancer: Balancer | None, pick: Pick, now_ms: int, most: int
) -> tuple[tuple[EndpointReport, ...], int]:
    """All endpoints, or `most` of them, beginning with those that are of most use; and how many are left out."""
    places = balancer.places if balancer is not None else {}
    scores = pick.scores
    found = scores.of if scores is not None else {}
    sign = -1.0 if scores is not None and scores.highest else 1.0
    # By rank: the picked one, free, full, of no use now, not in the subset, of another version.
    ranks: list[list[EndpointRuntime]] = [[], [], [], [], [], []]
    for endpoint in service.endpoints.values():
        if endpoint is pick.endpoint:
            rank = 0
        elif endpoint in places:
            rank = 3
            if endpoint.usable and endpoint.weight > 0 and not endpoint.is_ejected(now_ms):
                rank = 2 if endpoint.full else 1
        else:
            rank = 5 if version and endpoint.endpoint.version != version else 4
        ranks[rank].append(endpoint)

    def order(endpoint: EndpointRuntime) -> tuple[int, float]:
        score = found.get(endpoint)
        return endpoint.level(), inf if score is None else sign * score

    total = len(service.endpoints)
    left = most or total
    reports: list[EndpointReport] = []
    for rank, some in enumerate(ranks):
        if left > 0 and some:
            listed = sorted(some, key=order) if len(some) <= left else nsmallest(left, some, key=order)
            left -= len(listed)
            reports += [_report(service, each, rank, version, balancer, found.get(each), now_ms) for each in listed]
    return tuple(reports), total - len(reports)


def _report(
    service: ServiceRuntime,
    endpoint: EndpointRuntime,
    rank: int,
    version: str,
    balancer: Balancer | None,
    score: float | None,
    now_ms: int,
) -> EndpointReport:
    state, detail = state_in_words(endpoint, now_ms)
    details = [detail] if detail else []
    if rank > 3:
        details = [state, *details] if state != EndpointState.HEALTHY else details
        state = "not in subset"
        if rank == 5:
            state = "wrong version"
            details = [f"{version} is wanted", *details]
    elif balancer is not None and balancer.terms.slow_start_ms > 0:
        warmth = balancer.terms.warmth(endpoint, now_ms)
        if warmth < 1.0:
            details.append(f"slow start: {100.0 * warmth:.0f} % of its share")
    if endpoint.full:
        details.append(f"all {endpoint.limit} connections are in use")
    known = endpoint.endpoint
    return EndpointReport(
        id=known.id,
        address=known.address,
        version=known.version,
        zone=known.metadata.get(service.service.balancing.zone_key, ""),
        weight=endpoint.weight,
        level=endpoint.level(),
        state=state,
        detail=", ".join(details),
        usable=endpoint.usable and endpoint.weight > 0 and not endpoint.is_ejected(now_ms),
        full=endpoint.full,
        load=endpoint.load(),
        score=score,
        picked=rank == 0,
    )


def state_in_words(endpoint: EndpointRuntime, now_ms: int) -> tuple[str, str]:
    """How an endpoint is: what health says, or else its breaker, or its weight; and details."""
    if endpoint.is_draining():
        return "draining", ""
    state = endpoint.endpoint.state
    if state is not EndpointState.HEALTHY:
        return state.value, ""
    word = endpoint.shared.load(BREAKER_WORD)
    breaker = state_of(word, now_ms)
    if breaker != CLOSED:
        name = "ejected" if breaker == OPEN else "half-open"
        said = describe(word, now_ms).removeprefix("half-open").removeprefix("open").lstrip(" ,")
        return name, said
    if endpoint.weight <= 0:
        return "weight 0", ""
    return state.value, describe(word, now_ms).removeprefix("closed").lstrip(" ,")


# --- in words -----------------------------------------------------------------------------------------------------


def _key(service: ServiceRuntime, request: RequestView) -> str:
    strategy = service.service.load_balancing
    if strategy in BY_CLIENT:
        return request.client.decode("latin-1")
    if strategy in BY_KEY:
        return key_of(request, service.service.balancing.hash_on).decode("latin-1")[:MOST_KEY]
    return ""


def _note(service: ServiceRuntime, balancer: Balancer | None, pick: Pick, now_ms: int) -> str:
    """What decided besides the strategy."""
    if balancer is None:
        return ""
    notes: list[str] = []
    picked = pick.endpoint
    balancing = balancer.balancing
    if pick.panicked:
        notes.append(
            f"panic: less than {balancing.panic_threshold_pct:g} % of the endpoints are usable, so all that do not "
            "drain are used"
        )
    level = next((each for each in balancer.levels if pick.group in (each.all, each.near)), None)
    if level is not None and level is not balancer.levels[0]:
        notes.append(f"level {level.number}: no endpoint of a lower one takes requests")
    if balancer.zone and level is not None:
        near = pick.group is level.near
        notes.append(f"zone {balancer.zone} first" if near else f"spread over all zones, not only {balancer.zone}")
    strategy = service.service.load_balancing
    if strategy in (*BY_CLIENT, *BY_KEY) and not pick.bound:
        key = RequestKey() if strategy in BY_CLIENT else balancing.hash_on
        if pick.scores is not None and pick.scores.kind == "share":
            notes.append(f"the request has no {words_for(key)}, so any will do")
        elif balancing.bounded_load > 0.0:
            notes.append(f"nobody gets more than {balancing.bounded_load:g} times its part of the load")
    if balancer.terms.slow_start_ms > 0 and picked is not None and balancer.terms.warmth(picked, now_ms) < 1.0:
        notes.append("slow start: the picked endpoint has less than its share")
    return "; ".join(notes)


def _why(
    service: ServiceRuntime,
    version: str,
    subset: SubsetRule | None,
    balancer: Balancer | None,
    bond: Bond | None,
    pick: Pick,
    key: str,
    tried: list[Candidate] | None,
) -> str:
    """Why this one, or why none."""
    if pick.endpoint is None:
        return _why_none(service, version, subset, balancer, bond, tried)
    if pick.bound and bond is not None:
        said_by = bond.affinities.said_by
        if bond.candidate is not None:
            return f"the {said_by} names it"
        if bond.is_broken:
            return f"the client belongs to another one by its {said_by}, which takes no requests; this is the next"
        return f"the client belongs to it by its {said_by}"
    scores = pick.scores
    if pick.only or scores is None:
        return "the only endpoint that takes requests"
    score = scores.of.get(pick.endpoint, 0.0)
    count = len(scores.of)
    among = f"of {scores.drawn} drawn from {count} endpoints" if 0 < scores.drawn < count else f"of {count} endpoints"
    match scores.kind:
        case "turns":
            return "next in turn" if score == 0.0 else "next in turn, after some that let theirs pass"
        case "credit":
            return f"it has most credit: {score:.3g} ({among})"
        case "deadline":
            return f"its deadline is next ({among})"
        case "share":
            return f"drawn at random by weight: {score:.3g} % of the draws fall on it"
        case "load":
            return f"fewest requests under way for its weight: {score:.3g} ({among})"
        case "time":
            return f"least time to wait: {score:.3g} ms ({among})"
        case "steps":
            return f"the key {key} belongs to it" if score == 0.0 else f"the first that it may be, for the key {key}"
    is_own = pick.group is not None and count == len(pick.group.members) and score == max(scores.of.values())
    return f"the key {key} belongs to it" if is_own else f"the best that it may be, for the key {key}"


def _why_none(
    service: ServiceRuntime,
    version: str,
    subset: SubsetRule | None,
    balancer: Balancer | None,
    bond: Bond | None,
    tried: list[Candidate] | None,
) -> str:
    if not service.endpoints:
        return "the service has no endpoints"
    if balancer is None:
        if subset is not None:
            return "no endpoint has what the route's subset asks for"
        return f"no endpoint has the version {version}"
    if bond is not None and bond.forbids(tried):
        return "the endpoint that the client belongs to takes no requests"
    if is_breaker_open(balancer):
        return "no endpoint takes requests: breakers are open"
    return "no endpoint takes requests"


def _affinity(
    service: ServiceRuntime, bond: Bond | None, picked: EndpointRuntime | None, tried: list[Candidate] | None
) -> AffinityView | None:
    """How the bond of the client stands, once a pick has asked for its target."""
    affinities = service.affinities
    if affinities is None:
        return None
    by = affinities.said_by
    if bond is None:
        return AffinityView(by=by, state="none", detail=f"the request has no {by}")
    address = picked.endpoint.address if picked is not None else ""
    if picked is None and bond.is_strict and not bond.is_new:
        return AffinityView(by=by, state="refused", detail="its endpoint takes no requests, and no other will do")
    if bond.is_new:
        return AffinityView(by=by, state="new", endpoint=address, detail="the answer sets the cookie")
    if bond.is_broken:
        lost = "its endpoint is gone" if bond.is_lost else "its endpoint takes no requests"
        return AffinityView(by=by, state="broken", endpoint=address, detail=lost)
    if bond.is_guest:
        detail = "its endpoint is none of the route's; by its cookie it has one here too"
        return AffinityView(by=by, state="kept", endpoint=address, detail=detail)
    return AffinityView(by=by, state="kept", endpoint=address)


# --- splits -------------------------------------------------------------------------------------------------------


def split_views(
    split: ServiceSplit, request: RequestView, request_id: bytes, now_ms: int
) -> tuple[Drawn, tuple[SplitView, ...]]:
    """What a split gives for this request, and each draw on the way there."""
    told: list[Step] = []
    drawn = split.draw_for(request, split.number_of(request_id), now_ms, told)
    return drawn, tuple(_view(step, now_ms) for step in told)


def _view(step: Step, now_ms: int) -> SplitView:
    split = step.split
    shares = tuple(
        ShareView(
            service=share.service or split.own,
            version=share.version,
            weight=share.weight,
            percent=round(100.0 * share.weight / split.split.total, 3),
            usable=split.is_usable(share, now_ms),
            drawn=share is step.share,
        )
        for share in split.shares
    )
    return SplitView(
        owner=split.owner,
        shares=shares,
        number=step.number,
        by="" if step.kept else step.by or "request id",
        kept=step.kept,
        failed_over=step.wanted is not None,
        wanted="" if step.wanted is None else name_of(step.wanted),
    )
