"""What is in force for one request: its timeouts and limits with where each is from, and whether it could be repeated.

Read from the objects that decide, after the request has been led to its service (proxy/http1/rehearsal.py). Nothing
here decides anything: the law of repeating is mesh/replay.py, the policy mesh/retry.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from discovery.model import Position, Settings
from discovery.policies import RetryPolicy
from mesh.decision import RetryView, Setting
from mesh.replay import BODY_NOT_KEPT, FRESH_CONNECTION, Sent, may_repeat
from mesh.retry import RetryPlan
from proxy.config.scalars import format_duration
from proxy.http1.parties import Exchange
from proxy.kernel.cells import Slot
from proxy.stats.slots import ACTIVE, CONNECTIONS_ACTIVE, PENDING, RETRIES_ACTIVE, WORKER_CONNECTIONS

DEFAULT = "default"


def settings_of(exchange: Exchange, settings: Settings, worker_slot: Slot) -> tuple[Setting, ...]:
    """In the order in which a request meets them."""
    return (
        *_of_clients(exchange, settings, worker_slot),
        *_of_time(exchange, settings),
        *(_of_service(exchange) if exchange.service is not None else ()),
        _given("limits.replay_body", _bytes(settings.limits.replay_body), "limits", settings.limits, "replay_body"),
    )


def owner_of_route(exchange: Exchange) -> str:
    return f"route {exchange.route.route.name}"


def owner_of_service(exchange: Exchange) -> str:
    return f"service {exchange.service.name}"


def _of_clients(exchange: Exchange, settings: Settings, worker_slot: Slot) -> Iterator[Setting]:
    limits, listener = settings.limits, exchange.listener
    connections = _use(worker_slot.total(WORKER_CONNECTIONS), limits.connections)
    yield _given("limits.connections", connections, "limits", limits, "connections")
    if listener.max_connections:
        used = _use(listener.slot.total(CONNECTIONS_ACTIVE), listener.max_connections)
        yield Setting(name="max_connections", value=used, origin=f"listener {listener.name}")
    yield _given("limits.body", _bytes(limits.body), "limits", limits, "body")
    route = exchange.route.route
    if most := route.filters.policies.max_body:
        yield Setting(name="max_body", value=_bytes(most), origin=owner_of_route(exchange), position=route.position)
    if exchange.service is not None and (most := exchange.service.service.policies.max_body):
        yield _of(exchange, "max_body", _bytes(most))


def _of_time(exchange: Exchange, settings: Settings) -> Iterator[Setting]:
    route, timeouts = exchange.route.route, settings.timeouts
    if route.timeout is not None:
        origin = owner_of_route(exchange)
        yield Setting(name="timeout", value=_time(route.timeout), origin=origin, position=route.position)
    elif exchange.service is not None and exchange.service.timeout > 0.0:
        yield _of(exchange, "timeout", _time(exchange.service.timeout))
    else:
        yield Setting(name="timeout", value=_time(0.0), origin=DEFAULT)
    plan = exchange.plan
    if plan is not None and plan.per_try > 0.0:
        owner, position = _owner_of_retry(exchange)
        yield Setting(name="retry.per_try_timeout", value=_time(plan.per_try), origin=owner, position=position)
    for key in ("connect", "response_header", "stream_idle"):
        yield _given(f"timeouts.{key}", _time(getattr(timeouts, key)), "timeouts", timeouts, key)


def _of_service(exchange: Exchange) -> Iterator[Setting]:
    runtime, endpoint = exchange.service, exchange.endpoint
    service, slot = runtime.service, runtime.slot
    breaker, pool = service.circuit_breaker, service.pool
    if most := service.policies.max_concurrent:
        yield _of(exchange, "max_concurrent", _use(slot.total(ACTIVE), most))
    for key, used in (
        ("max_requests", ACTIVE),
        ("max_connections", CONNECTIONS_ACTIVE),
        ("max_pending_requests", PENDING),
        ("max_retries", RETRIES_ACTIVE),
    ):
        most = getattr(breaker, key)
        value = _use(slot.total(used), most)
        name = f"circuit_breaker.{key}"
        yield _of(exchange, name, value) if most else Setting(name=name, value=value, origin=DEFAULT)
    if pool.max_total:
        yield _of(exchange, "pool.max_total", _use(slot.total(CONNECTIONS_ACTIVE), pool.max_total))
    yield _of_pool(exchange, "max_pending", f"{_use(len(runtime.pending), pool.max_pending)} in this worker")
    if endpoint is not None:
        yield _of_pool(
            exchange, "max_connections", f"{_use(endpoint.open, pool.max_connections)} to the endpoint, in this worker"
        )
        yield _of_pool(exchange, "max_idle", f"{_use(len(endpoint.idle), endpoint.max_idle)} to the endpoint")
    yield _of_pool(exchange, "idle_timeout", _time(pool.idle_timeout))


# --- origins and words ----------------------------------------------------------------------------------------------


def _of(exchange: Exchange, name: str, value: str) -> Setting:
    return Setting(
        name=name, value=value, origin=owner_of_service(exchange), position=exchange.service.service.position
    )


def _of_pool(exchange: Exchange, key: str, value: str) -> Setting:
    pool = exchange.service.service.pool
    if getattr(pool, key) == getattr(type(pool)(), key):
        return Setting(name=f"pool.{key}", value=value, origin=DEFAULT)
    return _of(exchange, f"pool.{key}", value)


def _given(name: str, value: str, block: str, values: object, key: str) -> Setting:
    """A key of a block of settings."""
    is_default = getattr(values, key) == getattr(type(values)(), key)
    return Setting(name=name, value=value, origin=DEFAULT if is_default else block)


def _use(used: int, most: int) -> str:
    return f"{used} of {most}" if most else f"{used}, no limit"


@lru_cache(maxsize=256)
def _time(seconds: float) -> str:
    return format_duration(seconds) if seconds > 0.0 else "none"


def _bytes(count: int) -> str:
    return f"{count} bytes" if count else "none"


# --- repeating ------------------------------------------------------------------------------------------------------


def retry_of(exchange: Exchange, settings: Settings, now: int) -> RetryView:
    """What becomes of the request after an attempt in which the endpoint may have got it. `now`: microseconds."""
    plan = exchange.plan
    fits = _body_fits(exchange, settings.limits.replay_body)
    repeat = may_repeat(
        exchange.method,
        Sent.HEAD if exchange.request_done else Sent.BODY,
        reused=False,
        response_started=False,
        body_kept=fits,
        endpoint_left=True,
        keyed=exchange.idempotent,
    )
    # The law says no, or that only a policy could ask for it.
    lawful = repeat is FRESH_CONNECTION
    if plan is None:
        why = "no policy asks for it; only what never reached an endpoint, or met a stale connection, is sent again"
        return RetryView(why=why if lawful else _why_not(exchange, repeat.reason, settings))
    policy = plan.policy
    owner, _ = _owner_of_retry(exchange)
    share, floor = plan.budget.left(now)
    every = _time(policy.budget_interval)
    return RetryView(
        policy=_in_words(policy),
        owner=owner,
        most=policy.max_retries,
        repeatable=lawful and policy.max_retries > 0,
        why=_why(exchange, plan, settings) if lawful else _why_not(exchange, repeat.reason, settings),
        budget=f"{share} left of {policy.budget_pct:g} % of the requests of {every}, and {floor} of the floor of "
        f"{policy.budget_floor:g} a second",
    )


def _body_fits(exchange: Exchange, most: int) -> bool:
    """Whether the body can be sent a second time; one of unknown length as long as it is short enough."""
    return exchange.request_done or exchange.head.content_length <= most


def _why(exchange: Exchange, plan: RetryPlan, settings: Settings) -> str:
    method = exchange.method.decode("latin-1")
    known = exchange.head.get(b"idempotency-key") is not None and plan.keyed
    why = "it has an Idempotency-Key" if known else f"{method} is idempotent"
    if not exchange.request_done and exchange.head.content_length < 0:
        why += f", as long as its body has at most limits.replay_body ({settings.limits.replay_body} bytes)"
    return why if plan.max_retries else f"{why}, but the policy allows no retries"


def _why_not(exchange: Exchange, reason: str, settings: Settings) -> str:
    if reason == BODY_NOT_KEPT.reason:
        size, most = exchange.head.content_length, settings.limits.replay_body
        return f"its body of {size} bytes is larger than limits.replay_body ({most} bytes)"
    method = exchange.method.decode("latin-1")
    words = f"{method} is not idempotent, and the endpoint may have acted on it ({reason})"
    if exchange.plan is not None and exchange.plan.keyed:
        words += "; with an Idempotency-Key it could be"
    return words


def _in_words(policy: RetryPolicy) -> str:
    words = f"up to {policy.max_retries} on {', '.join(policy.retry_on)}"
    if policy.per_try_timeout:
        words += f", {_time(policy.per_try_timeout)} each"
    return f"{words}, after {_time(policy.backoff)} to {_time(policy.max_backoff)}"


def _owner_of_retry(exchange: Exchange) -> tuple[str, Position | None]:
    if exchange.route.retry is not None:
        return owner_of_route(exchange), exchange.route.route.position
    return owner_of_service(exchange), exchange.service.service.position
