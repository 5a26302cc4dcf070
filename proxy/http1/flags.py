"""What the flags of the access log and the words of `retry_denied` say about a request, for people.

One line each; docs/protocol.md has the same flags with their conditions (a test compares). Pure: words only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FLAGS: Final[Mapping[str, str]] = {
    "NR": "no route matched",
    "NC": "the route names no service that exists",
    "UH": "the service had no usable endpoint",
    "UO": "a limit was reached, or the circuit breaker of every healthy endpoint was open",
    "UF": "no endpoint could be connected to",
    "UC": "the endpoint closed before it answered",
    "UR": "the endpoint reset the connection before it answered",
    "UPE": "the answer of the endpoint was not acceptable HTTP/1.1",
    "UT": "the endpoint did not answer in time, or the request used up its timeout",
    "URX": "it was not sent again, because the retries that are allowed were used up",
    "RL": "a rate limit refused it",
    "UAEX": "the client's address is not allowed",
    "DPE": "the request was malformed or larger than allowed",
    "SI": "the client was too slow",
    "DC": "the client went away before the answer was complete",
    "DI": "it was delayed on purpose, by fault",
    "FI": "it was answered on purpose, by fault",
    "rd": "the retry policy wanted to send it again, and something forbade that",
    "fo": "another version or service than the one drawn took it",
    "ab": "another endpoint than the client's own took it",
    "pa": "it was picked among all endpoints, because too few were usable",
    "dr": "the program was shutting down",
}

# Stands for every one of them where flags are asked for.
ANY: Final = "any"

DENIALS: Final[Mapping[str, str]] = {
    "post_bytes_sent": "a POST of which the endpoint may have got something is not sent twice",
    "patch_bytes_sent": "a PATCH of which the endpoint may have got something is not sent twice",
    "non_idempotent_bytes_sent": "the method is not idempotent, and the endpoint may have got something of it",
    "response_started": "the client had the beginning of the answer already",
    "body_not_kept": "its body was larger than what is kept to be sent again (limits.replay_body)",
    "no_endpoint_left": "every usable endpoint had been tried",
    "fresh_connection": "a connection that had just been opened broke, and no policy asks to retry that",
    "attempts": "it had met as many dead connections and endpoints as a request may",
    "max_retries": "it had been sent again as often as max_retries allows",
    "timeout": "no time was left for another attempt",
    "budget": "the retry budget of the service was used up",
    "circuit_breaker": "circuit_breaker.max_retries were under way",
    "overloaded": "the endpoint said that it is overloaded",
    "retry_after": "the endpoint asked for a longer pause than max_retry_after",
}


def flag_in_words(flag: str) -> str:
    """A flag that is not known here is said to be just that: an answer may come from a newer program."""
    return FLAGS.get(flag, "a flag that this version does not know")


def denial_in_words(word: str) -> str:
    return DENIALS.get(word, word)
