"""The circuit breaker of an endpoint."""

from __future__ import annotations

# How an attempt at an endpoint went.
UNKNOWN = 0  # nobody can tell: the client left, or a kept connection turned out to be closed
WORKED = 1
FAILED = 2

# What an endpoint says to a request that has picked it.
REFUSED = 0  # its breaker is open, or all its probes are under way: another one has to be picked
ADMITTED = 1
PROBE = 2  # admitted as one of the requests that a half-open endpoint is tried with
