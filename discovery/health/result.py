"""What one check found out, and how its reason is worded.

A reason is one sentence for people, shown in the API, the log and the history of an endpoint. What a peer sent is
quoted in it only short and on one line. Pure.
"""

from __future__ import annotations

import errno
from enum import StrEnum
from typing import Final, NamedTuple

from discovery.exhaustion import OURS

# Longest piece of a peer's words in a reason.
MAX_QUOTED: Final = 100
# Longest reason; the output of a program may be as long as this.
MAX_REASON: Final = 1200

# How an answer in TLS begins where none was asked for: alert, handshake.
TLS_RECORDS: Final = (b"\x15\x03", b"\x16\x03")


class Outcome(StrEnum):
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"  # the check could not be made, for a reason of ours: it says nothing about the endpoint


class Result(NamedTuple):
    outcome: Outcome
    reason: str = ""  # of a success often ""


SUCCESS: Final = Result(Outcome.SUCCESS)


def failure(reason: str) -> Result:
    return Result(Outcome.FAILURE, reason[:MAX_REASON])


def error(reason: str) -> Result:
    return Result(Outcome.ERROR, reason[:MAX_REASON])


def no_answer(what: str, seconds: float) -> Result:
    """The check's time is over."""
    return failure(f"no {what} within {seconds:g} s")


_WORDS: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ETIMEDOUT: "connection timed out",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network unreachable",
    errno.ENOENT: "no such socket",
    errno.EAGAIN: "the socket's queue is full",  # how connect says it of a Unix socket
}


def of_os_error(number: int, text: str) -> Result:
    """What an error of the operating system says about the endpoint. `text`: its own words, for the rare ones."""
    if number in OURS:
        return error(f"the check could not be made: {text.lower()}")
    return failure(_WORDS.get(number) or text.lower())


def quoted(text: str | bytes, most: int = MAX_QUOTED) -> str:
    """A peer's words on one line, cut to `most` characters; what cannot be printed is a dot."""
    if isinstance(text, bytes):
        text = text[: 4 * most].decode("utf-8", "replace")
    line = " ".join(text[: 4 * most].split())
    line = "".join(char if char.isprintable() else "." for char in line)
    return line if len(line) <= most else f"{line[: most - 3]}..."
