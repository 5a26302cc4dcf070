"""Mirroring: which requests are copied, and which copies may be sent.

A copy is marked, and what is marked is never copied: two services that mirror each other, in one hivemesh or in two,
send each other one copy of each request and no more. An upgrade is not copied: what follows it is a conversation.
"""

from __future__ import annotations

from discovery.policies import Mirror
from mesh.draws import Draws, hit

# The field that marks a copy. Whoever sends it asks that the request is not mirrored.
MARKER = b"x-mirrored"


def may_copy(mirror: Mirror, draws: Draws, *, marked: bool, upgrade: bool) -> bool:
    """Whether this request is to be copied, as far as its head tells."""
    return not marked and not upgrade and hit(draws, mirror.percent)


def may_send(*, attempts: int, complete: bool, status: int) -> bool:
    """Whether a request that is over is copied: one that never went to an endpoint (refused, aborted, none usable) is
    no traffic of the service, one that broke off half-way cannot be sent as a whole, and one that was answered 101 has
    become something else."""
    return attempts > 0 and complete and status != 101
