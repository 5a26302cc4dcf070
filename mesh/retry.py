"""The retry policy: whether a failed attempt is followed by another one, when, and what the service can afford.

mesh/replay.py is the law and is asked first: it says what may be repeated at all. On top of it stand, in this order,
how often (`max_retries`), what the server said (Retry-After), how much time is left, and what the budget allows. Every
"no" is one of the words of `DENIALS`.

The budget is Finagle's and Linkerd's rate form (Gateway API: RetryConstraint): in the last `budget_interval` retries
were at most `budget_pct` percent of the requests, and `budget_floor` more per second are free in any case. A share of
what is under way, Envoy's form, allows nothing at low traffic and too much when everything hangs. Each worker keeps to
the share of its own requests, so all together keep to that of all; the floor is one bucket for all (mesh/gcra.py).
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

from discovery.policies import RetryPolicy
from discovery.retry_on import parse_retry_on
from mesh.gcra import known, take
from mesh.gcra import left as tokens_left
from mesh.replay import BODY_NOT_KEPT, BYTES_SENT, NO_ENDPOINT_LEFT, OTHER_BYTES_SENT, RESPONSE_STARTED, Repeat

if TYPE_CHECKING:
    from mesh.draws import Draws

MICROS = 1_000_000
NANOS = 1_000

# The longest time between two retries of the floor: some nine years, so that no sum of times overflows a word.
LONGEST = 1 << 58

# By how much the clocks of workers that share a floor may differ (nanoseconds).
SLACK = 1_000_000_000

# The window of the budget is so many pieces; what it forgets, it forgets one piece at a time.
PIECES = 10

# What an answer is to a policy.
FINAL = 0
WANTED = 1  # one that it retries
REFUSED = 2  # one that it would retry, had the server not said that it is overloaded

# Why a request was not sent again. Those of the law have their names there.
FRESH_CONNECTION = "fresh_connection"  # a connection just opened broke, and no policy asks to retry that
ATTEMPTS = "attempts"  # it met as many dead connections and endpoints as a request may
MAX_RETRIES = "max_retries"
TIMEOUT = "timeout"  # the request has no time left, or would have none after the pause
BUDGET = "budget"
CIRCUIT_BREAKER = "circuit_breaker"  # circuit_breaker.max_retries are under way
OVERLOADED = "overloaded"  # the answer has x-envoy-overloaded
RETRY_AFTER = "retry_after"  # the server asks for a longer pause than max_retry_after

DENIALS = (
    *(each.reason for each in BYTES_SENT.values()),
    OTHER_BYTES_SENT.reason,
    RESPONSE_STARTED.reason,
    BODY_NOT_KEPT.reason,
    NO_ENDPOINT_LEFT.reason,
    FRESH_CONNECTION,
    ATTEMPTS,
    MAX_RETRIES,
    TIMEOUT,
    BUDGET,
    CIRCUIT_BREAKER,
    OVERLOADED,
    RETRY_AFTER,
)

# Those by which the service saves itself: more requests than it gets already would do harm.
EXHAUSTED = frozenset((BUDGET, CIRCUIT_BREAKER))


class Words(Protocol):
    """Shared words of 64 bits that are changed by compare-and-swap."""

    def load(self, word: int) -> int: ...

    def swap(self, word: int, expected: int, wanted: int) -> bool: ...


class Fields(Protocol):
    """The fields of a head; names are lower case."""

    def get(self, name: bytes) -> bytes | None: ...


class Decision(NamedTuple):
    """`denied`: one of DENIALS, or "": send it again after `wait` seconds."""

    denied: str
    wait: float


class RetryBudget:
    """What retries a policy may cost. Times are microseconds of the monotonic clock."""

    percent: float
    piece: int  # microseconds of one piece of the window
    ends: int  # when the present piece does
    index: int  # of the present piece
    requests: int  # of the window
    retries: int
    requests_in: list[int]  # of each piece; of the present one only when it has ended
    retries_in: list[int]
    requests_now: int  # of the present piece
    retries_now: int
    words: Words
    word: int
    interval: int  # nanoseconds between two retries of the floor; 0: there is no floor
    burst: int

    def __init__(self, policy: RetryPolicy, words: Words, word: int) -> None:
        """`word` of `words` is the bucket of the floor."""
        self.percent = policy.budget_pct
        self.piece = max(1, int(policy.budget_interval * MICROS / PIECES))
        self.ends = 0
        self.index = 0
        self.requests = 0
        self.retries = 0
        self.requests_in = [0] * PIECES
        self.retries_in = [0] * PIECES
        self.requests_now = 0
        self.retries_now = 0
        self.words = words
        self.word = word
        floor = policy.budget_floor
        self.interval = min(max(1, int(MICROS * NANOS / floor)), LONGEST) if floor > 0.0 else 0
        # What one second has may come at once.
        self.burst = max(0, int(floor) - 1)

    def request(self, now: int) -> None:
        """A request has come."""
        if now >= self.ends:
            self.turn(now)
        self.requests += 1
        self.requests_now += 1

    def turn(self, now: int) -> None:
        """Forget what is older than the window."""
        passed = (now - self.ends) // self.piece + 1
        if self.ends == 0 or passed >= PIECES:
            self.requests_in = [0] * PIECES
            self.retries_in = [0] * PIECES
            self.requests = self.retries = 0
            self.ends = now + self.piece
        else:
            self.requests_in[self.index] = self.requests_now
            self.retries_in[self.index] = self.retries_now
            for _ in range(passed):
                self.index = (self.index + 1) % PIECES
                self.requests -= self.requests_in[self.index]
                self.retries -= self.retries_in[self.index]
                self.requests_in[self.index] = 0
                self.retries_in[self.index] = 0
            self.ends += passed * self.piece
        self.requests_now = self.retries_now = 0

    def left(self, now: int) -> tuple[int, int]:
        """How many retries could be afforded: of the share, and of the floor beyond it. Asking moves nothing on."""
        requests, retries = self.window(now)
        share = max(int(self.percent * requests // 100.0) - retries, 0)
        if self.interval == 0:
            return share, 0
        due = known(self.words.load(self.word), now * NANOS, self.interval, self.burst, SLACK)
        return share, tokens_left(due, now * NANOS, self.interval, self.burst)

    def window(self, now: int) -> tuple[int, int]:
        """Requests and retries of the window that ends now."""
        if now < self.ends:
            return self.requests, self.retries
        passed = (now - self.ends) // self.piece + 1
        if self.ends == 0 or passed >= PIECES:
            return 0, 0
        # As in `turn`: the pieces that follow the present one are the oldest.
        old = [(self.index + 1 + each) % PIECES for each in range(passed)]
        return (
            self.requests - sum(self.requests_in[each] for each in old),
            self.retries - sum(self.retries_in[each] for each in old),
        )

    def take(self, now: int) -> bool:
        """Whether one more retry can be afforded; it is then paid for."""
        if now >= self.ends:
            self.turn(now)
        if (self.retries + 1) * 100.0 <= self.percent * self.requests:
            self.retries += 1
            self.retries_now += 1
            return True
        if self.interval == 0:
            return False
        while True:
            word = self.words.load(self.word)
            due = known(word, now * NANOS, self.interval, self.burst, SLACK)
            after = take(due, now * NANOS, self.interval, self.burst)
            if after is None:
                return False
            if self.words.swap(self.word, word, after):
                return True


class RetryPlan:
    """A RetryPolicy ready to be asked. ValueError: its `retry_on` is not understood."""

    policy: RetryPolicy
    budget: RetryBudget
    draws: Draws
    max_retries: int
    per_try: float
    keyed: bool  # Idempotency-Key counts
    least_status: int  # no answer with a lower one is looked at
    no_connection: bool
    no_answer: bool
    rate_limited: bool
    statuses: frozenset[int]
    headers: tuple[bytes, ...]

    def __init__(self, policy: RetryPolicy, budget: RetryBudget, draws: Draws) -> None:
        asked = parse_retry_on(policy.retry_on, policy.retriable_headers)
        self.policy = policy
        self.budget = budget
        self.draws = draws
        self.max_retries = policy.max_retries
        self.per_try = policy.per_try_timeout
        self.keyed = policy.idempotency_key
        self.no_connection = asked.no_connection and self.max_retries > 0
        self.no_answer = asked.no_answer and self.max_retries > 0
        self.rate_limited = asked.rate_limited
        self.statuses = asked.statuses
        self.headers = tuple(name.lower().encode() for name in policy.retriable_headers) if asked.headers else ()
        self.least_status = 1000 if self.max_retries == 0 else 200 if self.headers else 400

    def wants_failure(self, connected: bool) -> bool:
        """Whether an attempt without an answer is retried; `connected`: its request was sent."""
        return self.no_answer if connected else self.no_connection

    def judge(self, status: int, fields: Fields) -> int:
        """FINAL, WANTED or REFUSED: what the policy thinks of an answer whose status is at least `least_status`."""
        if fields.get(b"x-envoy-ratelimited") is not None:
            # Whoever limits rates is not helped by more requests (Envoy).
            return WANTED if self.rate_limited else FINAL
        wanted = status in self.statuses
        for name in self.headers:
            wanted = wanted or fields.get(name) is not None
        if not wanted:
            return FINAL
        return WANTED if fields.get(b"x-envoy-overloaded") is None else REFUSED

    def decide(self, law: Repeat, retries: int, left: float, asked: float, endpoint_left: bool) -> Decision:
        """A failed attempt that the policy retries: when comes the next one, or why does it not.

        law: what mesh.replay.may_retry said. retries: that this request has had. left: seconds of its total timeout,
        infinite without one. asked: seconds for which the server asked to be left alone, -1 if it did not.
        endpoint_left: the service has a usable endpoint.
        """
        if not law.allowed:
            return Decision(law.reason, 0.0)
        if retries >= self.max_retries:
            return Decision(MAX_RETRIES, 0.0)
        if not endpoint_left:
            return Decision(NO_ENDPOINT_LEFT.reason, 0.0)
        longest = self.policy.max_retry_after
        if asked > longest:
            return Decision(RETRY_AFTER, 0.0)
        # What the server asks for is the least; those who were refused together should not return together.
        wait = min(asked * (1.0 + 0.5 * self.draws.unit()), longest) if asked > 0.0 else self.back_off(retries + 1)
        if wait >= left:
            return Decision(TIMEOUT, 0.0)
        return Decision("", wait)

    def back_off(self, retry: int) -> float:
        """Seconds before retry number `retry`, the first is 1: full jitter (Envoy)."""
        policy = self.policy
        reach = policy.backoff * (2.0 ** min(retry, 64) - 1.0)
        return float(min(reach, policy.max_backoff) * self.draws.unit())


def asked_pause(fields: Fields, epoch: float) -> float:
    """Seconds for which an answer asks to be left alone, -1 if it does not: Retry-After (RFC 9110 section 10.2.3), or
    X-RateLimit-Reset, which is a time in seconds of the epoch. What cannot be read counts as absent. `epoch`: now."""
    value = fields.get(b"retry-after")
    if value is not None:
        if value.isdigit():
            return float(value[:12])
        try:
            return max(0.0, parsedate_to_datetime(value.decode("latin-1")).timestamp() - epoch)
        except (ValueError, OverflowError):
            return -1.0
    value = fields.get(b"x-ratelimit-reset")
    if value is not None and value.isdigit():
        return max(0.0, float(value[:12]) - epoch)
    return -1.0
