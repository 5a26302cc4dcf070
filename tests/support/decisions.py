"""Decisions and records as workers would give them, for tests of what is shown of them."""

from __future__ import annotations

from msgspec.structs import replace

from discovery.model import Position
from mesh.decision import (
    AffinityView,
    Balance,
    Decision,
    EndpointReport,
    PhaseVerdict,
    Question,
    RetryView,
    Setting,
    ShareView,
    SplitView,
)
from mesh.record import Record
from mesh.verdict import Verdict

FILE = "/etc/hivemesh/shop.yaml"
ID = "6f1c2b9e-58d4-4c3a-9f07-0d9a3e1b7c55"


def at(line: int, file: str = FILE) -> Position:
    return Position(file=file, line=line, column=9)


def forwarded() -> Decision:
    """A request that meets everything there is on the way to an endpoint."""
    return Decision(
        worker=0,
        config_version=7,
        listener="web",
        question=Question(
            method="POST",
            host="shop.local",
            target="/api/./v2//items?q=1",
            headers=(("User-Agent", "curl/8.5"), ("X-Debug", "1"), ("X-Forwarded-For", "203.0.113.9")),
            client="10.0.0.7",
            body_size=2048,
            request_id=ID,
        ),
        request_id=ID,
        method="POST",
        host="shop.local",
        path="/api/v2/items",
        query="q=1",
        client="203.0.113.9",
        outcome="forward",
        routes=(
            Verdict(route="health", order=0, reason="path: /api/v2/items is not exact /health", position=at(12)),
            Verdict(route="beta", order=1, reason="header x-beta: absent", position=at(15)),
            Verdict(route="api", order=2, wins=True, position=at(21)),
            Verdict(route="default", order=3, reason="outranked: api comes first", position=at(30)),
        ),
        hidden=(("host", 9_950), ("path", 31)),
        route="api",
        rule_source=f"{FILE}:21",
        phases=(
            PhaseVerdict(name="access", owner="route api", detail="203.0.113.9 is in allow 203.0.113.0/24"),
            PhaseVerdict(
                name="max_body", owner="route api", detail="2048 bytes of 1048576", limit=1_048_576, used=2048
            ),
            PhaseVerdict(
                name="rate_limit",
                owner="service web",
                detail="100 requests per 1 s: 17 of 20 at once left for client_ip 203.0.113.9",
                limit=20,
                used=3,
            ),
            PhaseVerdict(
                name="fault", owner="service web", result="delay", detail="drew 0.31 of 100, 1 % are hit: 0.2 s"
            ),
            PhaseVerdict(
                name="mirror", owner="service web", result="copy", detail="drew 2.00 of 100, 5 % are copied to shadow"
            ),
        ),
        splits=(
            SplitView(
                owner="service web",
                shares=(
                    ShareView(service="web", version="v1", weight=80, percent=80.0),
                    ShareView(service="web", version="v2", weight=20, percent=20.0, drawn=True),
                ),
                number=0.8312,
                by="request id",
            ),
        ),
        service="web",
        version="v2",
        affinity=AffinityView(by="cookie hm", state="new", endpoint="10.0.0.3:80", detail="the answer sets the cookie"),
        balance=Balance(strategy="least_connections", score_of="requests under way / weight, the lowest wins"),
        endpoints=(
            EndpointReport(id="web-1", address="10.0.0.1:80", version="v1", state="wrong version", usable=False),
            EndpointReport(id="web-3", address="10.0.0.3:80", version="v2", load=2, score=3.0, picked=True),
            EndpointReport(id="web-4", address="10.0.0.4:80", version="v2", load=7, score=8.0),
            EndpointReport(
                id="web-5",
                address="10.0.0.5:80",
                version="v2",
                state="ejected",
                detail="for another 12.0 s",
                usable=False,
            ),
            EndpointReport(id="web-6", address="10.0.0.6:80", version="v2", state="draining", usable=False, load=1),
        ),
        endpoint="10.0.0.3:80",
        why="fewest requests under way for its weight: 3 (of 2 endpoints)",
        settings=(
            Setting(name="timeout", value="5s", origin="route api", position=at(24)),
            Setting(name="retry.per_try_timeout", value="1s", origin="service web", position=at(52)),
            Setting(name="timeouts.connect", value="5s", origin="default"),
            Setting(name="timeouts.response_header", value="off", origin="default"),
        ),
        retry=RetryView(
            policy="up to 3 on 5xx, connect-failure, 1s each, after 25ms to 250ms",
            owner="service web",
            most=3,
            repeatable=False,
            why="POST is not idempotent, and the endpoint may have acted on it (post_bytes_sent)",
            budget="21 left of 20 % of the requests of 10s, and 10 of the floor of 10 a second",
        ),
        head=(
            "POST /app/v2/items?q=1 HTTP/1.1",
            "Host: shop.local",
            "User-Agent: curl/8.5",
            "X-Forwarded-For: 203.0.113.9, 10.0.0.7",
            "X-Forwarded-Proto: http",
            f"X-Request-Id: {ID}",
            "Content-Length: 2048",
            "Via: 1.1 hivemesh",
        ),
        cookies=("Set-Cookie: hm=q83vEjRWeJCrze8SNFZ4kKvN; Path=/; HttpOnly; SameSite=Lax",),
    )


def unrouted() -> Decision:
    """Nothing takes it."""
    return Decision(
        config_version=7,
        listener="web",
        question=Question(host="other.local", target="/x"),
        request_id=ID,
        host="other.local",
        path="/x",
        client="127.0.0.1",
        outcome="answer",
        status=404,
        flag="NR",
        detail="no route matches this request",
        routes=(Verdict(route="api", order=0, reason="host: other.local is not shop.local", position=at(21)),),
        hidden=(("host", 2),),
    )


def failed() -> Record:
    """A request that met two endpoints."""
    return Record(
        ts="2026-11-30T17:01:02.123Z",
        duration_ms=1204.3,
        request_id=ID,
        method="POST",
        host="shop.local",
        path="/api/v2/items?q=1",
        status=504,
        flags="UT,rd",
        flag_details="the endpoint did not answer in time",
        route="api",
        rule_source=f"{FILE}:21",
        service="web",
        version="v2",
        endpoint="10.0.0.3:80",
        attempts=2,
        retries=1,
        retry_denied="post_bytes_sent",
        bytes_in=2301,
        bytes_out=312,
        body_bytes=2048,
        client="203.0.113.9",
        t_recv=0.2,
        t_queue=101.1,
        t_connect=0.4,
        t_first_byte=1100.0,
        t_total=1204.3,
        listener="web",
        peer="10.0.0.7",
        worker=1,
        config_version=7,
        tried=("10.0.0.4:80",),
        kept="error",
    )


def limited() -> Decision:
    """A rate limit refuses it."""
    return replace(
        forwarded(),
        outcome="answer",
        status=429,
        flag="RL",
        detail="too many requests",
        phases=(
            PhaseVerdict(name="access", owner="route api", detail="203.0.113.9 is in allow 203.0.113.0/24"),
            PhaseVerdict(
                name="rate_limit",
                owner="route api",
                result="answer",
                detail="100 requests per 1 s: 0 of 100 at once left, the next in 0.400 s",
                limit=100,
                used=100,
            ),
        ),
        hidden=(),
        splits=(),
        service="",
        version="",
        affinity=None,
        balance=None,
        endpoints=(),
        endpoint="",
        why="",
        retry=None,
        head=(),
        cookies=(),
        settings=(),
    )


def redirected() -> Decision:
    return replace(
        limited(),
        status=301,
        flag="",
        detail="",
        phases=(
            PhaseVerdict(
                name="redirect", owner="route api", result="answer", detail="301 to https://shop.local/api/v2/items"
            ),
        ),
    )


def stranded() -> Decision:
    """The drawn share has no usable endpoint, and neither has the other one."""
    reports = (
        EndpointReport(id="a", address="10.0.0.1:80", state="unhealthy", detail="3 checks failed", usable=False),
        EndpointReport(id="b", address="10.0.0.2:80", state="draining", usable=False),
    )
    return replace(
        forwarded(),
        outcome="answer",
        status=503,
        flag="UH",
        detail="the service has no usable endpoint",
        phases=(),
        splits=(),
        affinity=None,
        endpoints=reports,
        endpoint="",
        version="",
        why="",
        head=(),
        cookies=(),
    )


def failed_over() -> Decision:
    """Another share than the drawn one takes it."""
    view = SplitView(
        owner="route canary",
        shares=(
            ShareView(service="web", version="", weight=99, percent=99.0, drawn=True),
            ShareView(service="web-next", version="v3", weight=1, percent=1.0, usable=False),
        ),
        number=0.9951,
        by="header x-user",
        failed_over=True,
        wanted="web-next v3",
    )
    return replace(
        forwarded(), route="canary", splits=(view,), version="", phases=(), settings=(), head=(), affinity=None
    )


def served() -> Record:
    """A request that went well."""
    return replace(
        failed(),
        method="GET",
        status=200,
        upstream_status=200,
        flags="fo",
        flag_details="",
        drawn="web v1",
        tried=(),
        attempts=1,
        retries=0,
        retry_denied="",
        duration_ms=12.5,
        t_queue=0.1,
        t_connect=0.4,
        t_first_byte=10.9,
        t_total=12.5,
        kept="sample",
        headers=(("User-Agent", "curl/8.5"),),
    )


def refused() -> Record:
    """A request that the proxy has answered itself."""
    return replace(
        served(),
        status=403,
        upstream_status=0,
        flags="UAEX",
        flag_details="client 203.0.113.9 is not allowed here",
        service="",
        version="",
        endpoint="",
        drawn="",
        attempts=0,
        duration_ms=0.3,
        t_recv=0.0,
        t_queue=0.0,
        t_connect=0.0,
        t_first_byte=0.0,
        t_total=0.3,
        kept="error",
    )
