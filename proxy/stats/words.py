"""What the shared words of a row of statistics mean (`Table.shared`).

Beside its cells, which only one worker writes to, every row has 64 words of 64 bits that any process may change, with
atomic operations only: states that all workers and DNS go by, and counters of what is rare. They are 0 when a row gets
its name. A word that nobody has named yet is free.
"""

from __future__ import annotations

from mesh.retry import DENIALS

# Of the instance, in the row that belongs to the worker itself:
BREAKERS_WORD = 0  # goes up with every change of any breaker
LIMIT_SECRET = 1  # two words: what the keys of rate limits are hashed with
# Of an endpoint:
BREAKER_WORD = 0  # mesh/breaker.py
RECOVERED_WORD = 1  # milliseconds of the monotonic clock: when it last came back into use; 0 = never
SWEPT_ATTEMPTS_WORD = 2  # ATTEMPTS of all workers when endpoints were last compared
SWEPT_FAILURES_WORD = 3  # and ATTEMPT_FAILURES
# Of a service:
EPOCH_WORD = 0  # goes up with every change of a breaker of its endpoints
SWEEP_WORD = 1  # when its endpoints are next compared with each other
RETRY_FLOOR_WORD = 2  # the part of its retry budget that does not depend on traffic
# Of a service or a route:
RATE_WORD = 3  # its rate limit, where one bucket is for all
# Counters; any process adds to them. Words that nobody named yet are free.
RETRIES = 16
RETRY_SUCCESSES = 17
RETRY_DENIALS = 18  # one word for each of RETRY_DENIAL_REASONS
REJECTIONS = 32  # one word for each of LIMIT_RESOURCES
EJECTIONS = 36  # of an endpoint or service, one word for each of EJECTION_REASONS
RATE_LIMITED = 40
TOO_MANY_AT_ONCE = 41  # refused by a limit of concurrent requests
DENIED = 42  # by address
TOO_LARGE = 43
MIRRORED = 44
MIRRORS_DROPPED = 45
FAULT_DELAYS = 46
FAULT_ABORTS = 47
FAILOVERS = 48  # another version or service than the drawn one, which had no usable endpoint
AFFINITY_BROKEN = 49
PANIC_PICKS = 50
# Of a listener: connections and sessions refused because of what their client has already.
TOO_MANY_OF_CLIENT = 51
TOO_OFTEN_OF_CLIENT = 52

# Places in LIMIT_RESOURCES.
CONNECTIONS_RESOURCE = 0
PENDING_RESOURCE = 1
REQUESTS_RESOURCE = 2
RETRIES_RESOURCE = 3
LIMIT_RESOURCES = ("connections", "pending_requests", "requests", "retries")
EJECTION_REASONS = ("consecutive_errors", "success_rate", "half_open_failure")
# Why a request was not sent again; mesh/retry.py has the words, docs/guide/retries.md their meaning.
RETRY_DENIAL_REASONS = DENIALS
