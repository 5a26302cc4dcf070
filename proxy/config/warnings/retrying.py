"""Retries that do not come about."""

from __future__ import annotations

from collections.abc import Iterator

from discovery.config import Config
from discovery.policies import RetryPolicy
from discovery.retry_on import parse_retry_on
from mesh.replay import is_idempotent
from proxy.config.warnings.finding import Finding, span
from proxy.config.warnings.times import Way, ways


def findings(config: Config) -> Iterator[Finding]:
    told: set[tuple[str, object]] = set()
    for way in ways(config):
        if way.retry is None or not way.retry.max_retries:
            continue
        for what, finding in (*_time(way, way.retry), *_methods(way, way.retry)):
            if (what, finding.at) not in told:  # a route that has several services
                told.add((what, finding.at))
                yield finding


def _time(way: Way, retry: RetryPolicy) -> Iterator[tuple[str, Finding]]:
    total, attempt, retries = way.timeout, retry.per_try_timeout, retry.max_retries
    if not total:
        return
    if attempt >= total:
        yield (
            "attempt",
            Finding(
                f"an attempt may take {span(attempt)} (retry.per_try_timeout) and the whole request "
                f"{span(total)}, so one "
                "that times out is never followed by another; make this longer, or the attempts shorter",
                (way.at, way.policy_at),
            ),
        )
    elif attempt * retries >= total:
        begun = next(number for number in range(retries + 1) if attempt * (number + 1) >= total)
        yield (
            "retries",
            Finding(
                f"{retries} retries of attempts that take {span(attempt)} do not fit into {span(total)}: where "
                "attempts "
                f"time out, {begun or 'none'} of them can begin; make retry.per_try_timeout at most "
                f"{span(int(total / (retries + 1) * 1000) / 1000)}, or the timeout longer",
                ((*way.policy_at, "max_retries"), way.policy_at),
            ),
        )
    pause = min(retry.backoff, retry.max_backoff)
    if pause >= total:
        yield (
            "pause",
            Finding(
                f"the pause before a retry may be up to {span(pause)}, and the whole request has {span(total)}, "
                "so that "
                "most are not sent again; make the backoff shorter",
                ((*way.policy_at, "backoff"), way.policy_at),
            ),
        )


def _methods(way: Way, retry: RetryPolicy) -> Iterator[tuple[str, Finding]]:
    asked = parse_retry_on(retry.retry_on, retry.retriable_headers)
    is_more = asked.no_answer or asked.statuses or asked.headers or asked.rate_limited
    harmful = way.methods and not any(is_idempotent(method.encode()) for method in way.methods)
    if harmful and is_more and not retry.idempotency_key and way.policy_at[0] == "listeners":
        yield (
            "methods",
            Finding(
                f"{' and '.join(way.methods)} requests are sent again only while nothing of them has left, whatever "
                "retry_on says; have only connect-failure there, or say `idempotency_key: true` if the service knows "
                "repeated requests by their Idempotency-Key",
                ((*way.policy_at, "retry_on"), way.policy_at),
            ),
        )
