"""The keys of what happens when requests fail: retries, and the circuit breaker with its limits.

`budget` is a share, 20%, or a mapping with its interval and floor. A `circuit_breaker` block that leaves the four
limits out gets those of discovery/policies.SOURCE_LIMITS; 0 is no limit.
"""

from __future__ import annotations

from typing import NamedTuple

from discovery.policies import SOURCE_LIMITS, CircuitBreaker, RetryPolicy
from discovery.retry_on import parse_retry_on
from proxy.config.nodes import Mapping, Node, Path
from proxy.config.numbers import Number, Percent
from proxy.config.places import Parts, Place
from proxy.config.reading import Reading
from proxy.config.records import Fields, Key, Record, StructRecord
from proxy.config.scalars import format_duration
from proxy.config.shapes import Duration, Flag, Integer, Json, ListOf, OneOrMore, Schema, Text
from proxy.config.words import HEADER_NAME, MAX_CONDITIONS

MOST_RETRIES = 100
MOST_AT_A_TIME = 10_000_000  # above what one machine serves
MOST_IN_A_ROW = 1000
MAX_WORDS = 32
BACKOFF_SPAN = 10  # max_backoff is so many times backoff where it is not given (Envoy)

DEFAULTS = RetryPolicy()
BREAKER_DEFAULTS = CircuitBreaker()

# --- when a request is sent again ---------------------------------------------------------------------------------

BY_HEADERS = "retriable-headers"


def _word(text: str) -> str:
    """One of the words alone: some of them need company, which is looked for when all are known."""
    parse_retry_on((text, "503"), ("x",))
    return text


RETRY_WORD = Text("a condition such as 5xx, connect-failure, reset or 503", _word, 64)


class Budget(NamedTuple):
    percent: float = DEFAULTS.budget_pct
    interval: float = DEFAULTS.budget_interval
    floor: float = DEFAULTS.budget_floor


BUDGET_PERCENT = Key("percent", Percent(), "what retries may add to the requests of the last interval; 20% by default")
BUDGET_INTERVAL = Key("interval", Duration(), "over which requests are counted; 10s by default")
BUDGET_FLOOR = Key("floor", Number(0, 1_000_000), "retries per second that are allowed in any case; 10 by default")


def _build_budget(fields: Fields) -> Budget:
    return Budget(
        fields.get(BUDGET_PERCENT, DEFAULTS.budget_pct),
        fields.get(BUDGET_INTERVAL, DEFAULTS.budget_interval),
        fields.get(BUDGET_FLOOR, DEFAULTS.budget_floor),
    )


def _show_budget(budget: Budget) -> Json:
    return {
        key.name: key.shape.render(value)
        for key, value in zip((BUDGET_PERCENT, BUDGET_INTERVAL, BUDGET_FLOOR), budget, strict=True)
    }


class BudgetRecord(Record[Budget]):
    """20%, or {percent: 20%, interval: 10s, floor: 10}."""

    def __init__(self) -> None:
        super().__init__("a budget", (BUDGET_PERCENT, BUDGET_INTERVAL, BUDGET_FLOOR), _build_budget, _show_budget)

    def read(self, node: Node, path: Path, reading: Reading) -> Budget | None:
        if type(node) is Mapping:
            return super().read(node, path, reading)
        percent = BUDGET_PERCENT.shape.read(node, path, reading)
        return None if percent is None else Budget(percent)

    def schema(self, defs: Schema) -> Schema:
        return {"anyOf": [BUDGET_PERCENT.shape.schema(defs), super().schema(defs)]}

    def parts(self, node: Node, path: Path) -> Parts:
        return super().parts(node, path) if type(node) is Mapping else {BUDGET_PERCENT.name: Place(node, path)}


MAX_RETRIES = Key("max_retries", Integer(0, MOST_RETRIES), "times that a request is sent again; 1 by default, 0 = none")
RETRY_ON = Key("retry_on", OneOrMore(RETRY_WORD, MAX_WORDS), "what is retried: conditions of Envoy and status codes")
PER_TRY_TIMEOUT = Key(
    "per_try_timeout",
    Duration(zero="none"),
    "of one attempt, until its response head; shorter than the timeout of the request; 0, the default, is none",
    aliases=("timeout",),
)
BACKOFF = Key("backoff", Duration(zero="at once"), "before retry n a random time up to 2^n - 1 times this; 25ms")
MAX_BACKOFF = Key("max_backoff", Duration(zero="at once"), "and never more than this; default: 10 times backoff")
MAX_RETRY_AFTER = Key(
    "max_retry_after", Duration(zero="not waited for"), "longest Retry-After of an answer that is waited for; 5m"
)
BUDGET = Key("budget", BudgetRecord(), "what retries may add to the load of the service; 20% by default")
IDEMPOTENCY_KEY = Key(
    "idempotency_key", Flag(), "a request with Idempotency-Key may be sent again, whatever its method; false by default"
)
RETRIABLE_HEADERS = Key(
    "retriable_headers",
    ListOf(HEADER_NAME, MAX_CONDITIONS, unique=True),
    "response headers that retriable-headers in retry_on means",
)


def _build_retry(fields: Fields) -> RetryPolicy:
    words = fields.get(RETRY_ON, DEFAULTS.retry_on)
    backoff = fields.get(BACKOFF, DEFAULTS.backoff)
    max_backoff = fields.get(MAX_BACKOFF, round(backoff * BACKOFF_SPAN, 3))  # whole milliseconds, as all durations
    if max_backoff < backoff:
        fields.problem(f"is below the backoff, expected at least {format_duration(backoff)}", MAX_BACKOFF)
    headers = fields.get(RETRIABLE_HEADERS, ())
    if not fields.failed:
        try:
            parse_retry_on(words, headers)
        except ValueError as error:
            fields.problem(str(error), RETRY_ON)
    if headers and BY_HEADERS not in words and not fields.failed:
        fields.problem(f"means nothing without {BY_HEADERS}, expected that in retry_on", RETRIABLE_HEADERS)
    budget = fields.get(BUDGET, Budget())
    return RetryPolicy(
        max_retries=fields.get(MAX_RETRIES, DEFAULTS.max_retries),
        retry_on=words,
        per_try_timeout=fields.get(PER_TRY_TIMEOUT, DEFAULTS.per_try_timeout),
        backoff=backoff,
        max_backoff=max_backoff,
        max_retry_after=fields.get(MAX_RETRY_AFTER, DEFAULTS.max_retry_after),
        budget_pct=budget.percent,
        budget_interval=budget.interval,
        budget_floor=budget.floor,
        idempotency_key=fields.get(IDEMPOTENCY_KEY, False),
        retriable_headers=tuple(name.lower() for name in headers),
    )


def _show_retry(retry: RetryPolicy) -> Json:
    return {
        MAX_RETRIES.name: retry.max_retries,
        RETRY_ON.name: list(retry.retry_on),
        PER_TRY_TIMEOUT.name: format_duration(retry.per_try_timeout),
        BACKOFF.name: format_duration(retry.backoff),
        MAX_BACKOFF.name: format_duration(retry.max_backoff),
        MAX_RETRY_AFTER.name: format_duration(retry.max_retry_after),
        BUDGET.name: _show_budget(Budget(retry.budget_pct, retry.budget_interval, retry.budget_floor)),
        IDEMPOTENCY_KEY.name: retry.idempotency_key,
        **({RETRIABLE_HEADERS.name: list(retry.retriable_headers)} if retry.retriable_headers else {}),
    }


RETRY_RECORD = Record(
    "a retry policy",
    (
        MAX_RETRIES,
        RETRY_ON,
        PER_TRY_TIMEOUT,
        BACKOFF,
        MAX_BACKOFF,
        MAX_RETRY_AFTER,
        BUDGET,
        IDEMPOTENCY_KEY,
        RETRIABLE_HEADERS,
    ),
    _build_retry,
    _show_retry,
)
RETRY = Key(
    "retry",
    RETRY_RECORD,
    "which failed requests are sent again; default: those that no endpoint has got",
    aliases=("retry_policy",),
)


def check_attempt(fields: Fields, retry: Key[RetryPolicy], timeout: float) -> None:
    """An attempt that may take as long as the request would never be followed by another one. `timeout` 0: none."""
    policy = fields.get(retry, None)
    if policy is not None and timeout and policy.per_try_timeout >= timeout:
        fields.problem(too_long(policy.per_try_timeout, timeout), retry)


def too_long(attempt: float, timeout: float) -> str:
    return (
        f"{PER_TRY_TIMEOUT.name} {format_duration(attempt)} leaves no time for a retry, "
        f"expected less than the timeout of the request, {format_duration(timeout)}"
    )


# --- the circuit breaker ------------------------------------------------------------------------------------------

_COUNT = Integer(0, MOST_AT_A_TIME)
BASE_EJECTION_TIME = Key("base_ejection_time", Duration(), "times the number of ejections in a row; 30s by default")
MAX_EJECTION_TIME = Key("max_ejection_time", Duration(), "longest time out")
_LIMITS = ("max_connections", "max_pending_requests", "max_requests", "max_retries")


def _check_breaker(fields: Fields) -> None:
    for name in _LIMITS:
        fields.values.setdefault(name, getattr(SOURCE_LIMITS, name))
    base = fields.get(BASE_EJECTION_TIME, BREAKER_DEFAULTS.base_ejection_time)
    longest = fields.get(MAX_EJECTION_TIME, None)
    if longest is not None and longest < base:
        fields.problem(f"is below base_ejection_time, expected at least {format_duration(base)}", MAX_EJECTION_TIME)
    elif longest is None and base > BREAKER_DEFAULTS.max_ejection_time:
        fields.values[MAX_EJECTION_TIME.name] = base


class BreakerRecord(StructRecord[CircuitBreaker]):
    """A block that leaves the limits out has those of the source document, so these are the defaults of the schema."""

    def schema(self, defs: Schema) -> Schema:
        schema = super().schema(defs)
        properties = schema["properties"]
        assert isinstance(properties, dict)
        for name in _LIMITS:
            described = properties[name]
            assert isinstance(described, dict)
            described["default"] = getattr(SOURCE_LIMITS, name)
        return schema


CIRCUIT_BREAKER = Key(
    "circuit_breaker",
    BreakerRecord(
        "a circuit breaker",
        CircuitBreaker,
        (
            Key("max_connections", _COUNT, "connections to the service, all workers together; 0 = no limit"),
            Key("max_pending_requests", _COUNT, "requests that may wait for a connection; more get 503; 0 = no limit"),
            Key("max_requests", _COUNT, "requests at the same time; more get 503; 0 = no limit"),
            Key("max_retries", _COUNT, "retries at the same time; 0 = no limit"),
            Key(
                "consecutive_errors",
                Integer(0, MOST_IN_A_ROW),
                "errors in a row that open an endpoint's breaker; 0 = never",
                aliases=("consecutive_errors_threshold",),
            ),
            Key(
                "interval",
                Duration(),
                "how often endpoints are compared; without an error for so long, one ejection is forgiven",
            ),
            BASE_EJECTION_TIME,
            MAX_EJECTION_TIME,
            Key(
                "ejection_jitter",
                Percent(),
                "added to that time at random, at most so much",
                field="ejection_jitter_pct",
            ),
            Key(
                "half_open_requests",
                Integer(1, MOST_IN_A_ROW),
                "real requests that an endpoint is tried with before it is used as before",
                aliases=("half_open_allowed_calls",),
            ),
            Key("count_500", Flag(), "500 counts as an error, as 502, 503 and 504 do"),
            Key("success_rate", Flag(), "also take out endpoints that fail more often than the others"),
            Key(
                "success_rate_min_requests",
                Integer(1, MOST_AT_A_TIME),
                "only endpoints that had so many requests within the interval",
            ),
            Key(
                "max_ejection",
                Percent(),
                "of the endpoints by success rate; at least one, never the last",
                field="max_ejection_pct",
            ),
        ),
        _check_breaker,
    ),
    "limits of the service, and when an endpoint is taken out; default: no limits, breakers on",
)
