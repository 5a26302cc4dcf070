"""The circuit breaker of an endpoint."""

from __future__ import annotations

# How an attempt at an endpoint went.
UNKNOWN = 0  # nobody can tell: the client left, or a kept connection turned out to be closed
WORKED = 1
FAILED = 2
