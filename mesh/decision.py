"""What `explain` is asked and what it answers: values only, the same live, offline and over the HTTP API.

A `Question` is a request that somebody might send. A `Decision` is what one worker would do with it at this moment,
and why; nothing is counted, taken or moved on by asking. Names are those of the access log where both have one.
Durations are seconds, sizes bytes. Of an answer nothing is left out, so that a program finds every name.
"""

from __future__ import annotations

from discovery.model import Position, Struct
from mesh.verdict import Verdict

# Routes and endpoints that an answer lists when the question does not say otherwise. The rest is counted.
MOST_ROUTES = 20
MOST_ENDPOINTS = 50


class Question(Struct):
    """A request as it would come.

    host: as in the Host field. target: path and query as sent. headers: in order, without Host. client: address of the
    peer that connects, which is also the client unless it is a trusted proxy. body_size: what Content-Length says; -1
    for a body of unknown length. listener: "" for the only one that takes requests. request_id: what decides the
    request's own draws; "" for a new one, which the decision tells. A trusted peer's X-Request-Id counts as well.
    most_routes, most_endpoints: what is listed at most, 0 for all.
    """

    method: str = "GET"
    host: str = ""
    target: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    client: str = "127.0.0.1"
    body_size: int = 0
    listener: str = ""
    request_id: str = ""
    most_routes: int = MOST_ROUTES
    most_endpoints: int = MOST_ENDPOINTS


class PhaseVerdict(Struct, omit_defaults=False):
    """What one phase would say. name: the key of the configuration (access, max_body, rate_limit, max_concurrent,
    fault, mirror, redirect, direct_response, max_requests). owner: "route api" or "service web". result: pass, delay,
    answer, copy. detail: in words, with numbers. limit and used: of something that is counted, as of now; -1 where
    nothing is."""

    name: str
    owner: str = ""
    result: str = "pass"
    detail: str = ""
    limit: float = -1.0
    used: float = -1.0


class ShareView(Struct, omit_defaults=False):
    """A share of a split: where it leads, how much of the traffic it gets, whether it has a usable endpoint."""

    service: str
    version: str = ""
    weight: int = 0
    percent: float = 0.0
    usable: bool = True
    drawn: bool = False


class SplitView(Struct, omit_defaults=False):
    """A draw among shares. owner: whose split it is, "route api" or "service web". number: what was drawn, from [0, 1);
    -1 when nothing had to be. by: what the number comes from: request id, cookie, header x-user, client address.
    kept: the client was bound, so no number counted. failed_over: the drawn share (`wanted`) has no usable endpoint."""

    owner: str
    shares: tuple[ShareView, ...]
    number: float = -1.0
    by: str = ""
    kept: str = ""
    failed_over: bool = False
    wanted: str = ""


class AffinityView(Struct, omit_defaults=False):
    """Which endpoint the client belongs to. by: cookie NAME, header NAME, client address. state: kept, new (it gets a
    cookie with the answer), broken, none (the request lacks what it would follow from), refused (strict, and its
    endpoint takes no requests). endpoint: address, "" when there is none. detail: in words."""

    by: str
    state: str
    endpoint: str = ""
    detail: str = ""


class EndpointReport(Struct, omit_defaults=False):
    """An endpoint of the service as the balancer sees it.

    state: healthy, checking, unhealthy, ejected, half-open, draining, or why it is none of those that are asked:
    "wrong version", "not in subset". detail: ejected for another 12.0 s; what the last check said. score: what the
    strategy compares, in its own unit (`Balance.score_of`); None where it does not compare. load: requests under way,
    of all workers.
    """

    id: str
    address: str
    version: str = ""
    zone: str = ""
    weight: int = 1
    level: int = 0
    state: str = "healthy"
    detail: str = ""
    usable: bool = True
    full: bool = False
    load: int = 0
    score: float | None = None
    picked: bool = False


class Balance(Struct, omit_defaults=False):
    """How the endpoint is chosen. strategy: its name in the configuration. score_of: what `score` is, with its unit.
    key: what is hashed, "" for strategies without one. note: panic, zone, slow start, in words. certain: whether every
    worker, whatever came before, picks the same."""

    strategy: str
    score_of: str = ""
    key: str = ""
    note: str = ""
    certain: bool = False


class Setting(Struct, omit_defaults=False):
    """A value in force for this request, and where it comes from: "route api", "service web", "timeouts", "default"."""

    name: str
    value: str
    origin: str = ""
    position: Position | None = None


class RetryView(Struct, omit_defaults=False):
    """Whether this request could be sent again. policy: in words, "" without one. owner: whose it is. repeatable: after
    a failure in which the endpoint may have got it. why: the rule, in words."""

    policy: str = ""
    owner: str = ""
    most: int = 0
    repeatable: bool = False
    why: str = ""
    budget: str = ""


class Decision(Struct, omit_defaults=False):
    """What one worker would do with the question.

    outcome: forward (to `endpoint`), wait (for a connection), or answer (with `status`, by `flag` and `detail`).
    hidden: how many routes are not listed, by the word that their reason begins with. head: the request head that the
    endpoint would get, as text lines. cookies: Set-Cookie lines of the answer.
    """

    worker: int = 0
    config_version: int = 0
    listener: str = ""
    question: Question = Question()
    request_id: str = ""
    method: str = "GET"
    host: str = ""
    path: str = "/"
    query: str = ""
    client: str = ""
    outcome: str = "answer"
    status: int = 0
    flag: str = ""
    detail: str = ""
    routes: tuple[Verdict, ...] = ()
    hidden: tuple[tuple[str, int], ...] = ()
    route: str = ""
    rule_source: str = ""
    phases: tuple[PhaseVerdict, ...] = ()
    splits: tuple[SplitView, ...] = ()
    service: str = ""
    version: str = ""
    affinity: AffinityView | None = None
    balance: Balance | None = None
    endpoints: tuple[EndpointReport, ...] = ()
    more_endpoints: int = 0
    endpoint: str = ""
    why: str = ""
    settings: tuple[Setting, ...] = ()
    retry: RetryView | None = None
    head: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
