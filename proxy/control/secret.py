"""What cookies are signed with where the configuration does not say it.

It is made once, by the first agent, and goes where the configuration goes: to all workers, to a successor of the agent
and to the next program. So a client stays where it is until all of hivemesh was stopped. Never logged, never shown.
"""

from __future__ import annotations

import secrets

import msgspec

from discovery.config import Config
from discovery.model import Snapshot

SIZE = 32  # bytes


def new_secret() -> str:
    return secrets.token_hex(SIZE)


def signing_with(snapshot: Snapshot, secret: str) -> Snapshot:
    """`snapshot` with `secret`, unless it has one of its own."""
    if snapshot.settings.secret:
        return snapshot
    settings = msgspec.structs.replace(snapshot.settings, secret=secret)
    return msgspec.structs.replace(snapshot, settings=settings)


def with_secret(config: Config, secret: str) -> Config:
    return msgspec.structs.replace(config, snapshot=signing_with(config.snapshot, secret))
