"""The vocabulary of `retry_on`: what a failed attempt may be, in Envoy's words and in status codes.

Envoy's words mean here what they mean there (x-envoy-retry-on of its router filter), but none of them lifts the law of
mesh/replay.py: a request that is not idempotent is never sent again once its bytes have left. Two of its words are
accepted and never true: refused-stream, because HTTP/1.1 has no streams, and reset-before-request, when it would add
nothing to connect-failure, because a request is sent in the moment in which its connection is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from discovery.values import Struct

# Statuses that a word stands for.
SERVER_ERRORS = frozenset(range(500, 600))
GATEWAY_ERRORS = frozenset((502, 503, 504))

# Every word, and what it stands for in the words of docs/guide/retries.md.
WORDS = {
    "5xx": "any answer from 500 to 599, no answer at all, no connection",
    "gateway-error": "an answer 502, 503 or 504, no answer at all, no connection",
    "reset": "no answer: the connection ended or was reset, the answer was no HTTP, or took too long; no connection",
    "reset-before-request": "the connection ended before anything of the request was sent; no connection",
    "connect-failure": "no connection: refused, unreachable, or not there within timeouts.connect",
    "refused-stream": "never with HTTP/1.1, which has no streams",
    "retriable-4xx": "an answer 409",
    "envoy-ratelimited": "an answer with x-envoy-ratelimited; without this word such an answer is never retried",
    "retriable-status-codes": "an answer with one of the codes beside it",
    "retriable-headers": "an answer with one of the fields in retriable_headers",
}

# Codes that may stand among the words. An answer below 400 is no failure.
FIRST_CODE = 400
LAST_CODE = 599


class RetryOn(Struct):
    """What `retry_on` asks for, taken apart."""

    no_connection: bool = False
    no_answer: bool = False
    statuses: frozenset[int] = frozenset()
    rate_limited: bool = False  # answers with x-envoy-ratelimited
    headers: bool = False  # answers with a field of RetryPolicy.retriable_headers


def parse_retry_on(words: Iterable[str], headers: Sequence[str] = ()) -> RetryOn:
    """`words`: of WORDS, or status codes in decimal. `headers`: what stands in `retriable_headers`.

    ValueError: a sentence for whoever wrote them.
    """
    given = tuple(words)
    known = [word for word in given if not word.isascii() or not word.isdigit()]
    for word in known:
        if word not in WORDS:
            near = get_close_matches(word, WORDS, 1, 0.6)
            hint = f", did you mean {near[0]}?" if near else ""
            raise ValueError(f"'{word[:64]}' is not known, expected a status code or {', '.join(WORDS)}{hint}")
    codes = set()
    for word in given:
        if word.isascii() and word.isdigit():
            if not FIRST_CODE <= int(word[:9]) <= LAST_CODE:
                raise ValueError(
                    f"'{word[:64]}' is out of range, expected a status code from {FIRST_CODE} to {LAST_CODE}"
                )
            codes.add(int(word))
    if "retriable-status-codes" in known and not codes:
        raise ValueError("'retriable-status-codes' means the codes beside it, expected at least one, such as 503")
    if "retriable-headers" in known and not headers:
        raise ValueError("'retriable-headers' means the fields in retriable_headers, expected at least one there")
    no_answer = not {"5xx", "gateway-error", "reset"}.isdisjoint(known)
    if "5xx" in known:
        codes |= SERVER_ERRORS
    if "gateway-error" in known:
        codes |= GATEWAY_ERRORS
    if "retriable-4xx" in known:
        codes.add(409)
    return RetryOn(
        no_connection=no_answer or not {"connect-failure", "reset-before-request"}.isdisjoint(known),
        no_answer=no_answer,
        statuses=frozenset(codes),
        rate_limited="envoy-ratelimited" in known,
        headers="retriable-headers" in known,
    )
