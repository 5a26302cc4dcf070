"""Policies of routes and services at run time: what each needs beside its values.

Retry budgets, phases and cookies are made from the same few things wherever they stand: the worker's rows and draws,
the instance's name and secret, and where copies of requests go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from discovery.model import Settings, TrafficSplit
from discovery.policies import Affinity, RetryPolicy
from mesh.draws import Draws
from mesh.retry import RetryBudget, RetryPlan
from proxy.http1.phases import PhaseTools
from proxy.kernel.cells import Shared, Slot
from proxy.stats.rows import Rows
from proxy.stats.words import RETRY_FLOOR_WORD

if TYPE_CHECKING:  # imported where they are configured
    from mesh.affinity import Stickiness
    from proxy.http1.mirror import Mirrors


class PolicyTools:
    """What a worker's policies are made with. A change of `secret` or `instance` makes the policies anew that were
    made before (`Tables.steps`)."""

    def __init__(self, rows: Rows, draws: Draws) -> None:
        self.rows = rows
        self.draws = draws
        self.mirrors: Mirrors | None = None  # where copies of requests go; the data plane says
        self.secret = ""  # what cookies are signed with
        self.instance = ""  # whose draws they are

    def is_for(self, settings: Settings) -> bool:
        return self.secret == settings.secret and self.instance == settings.instance

    def apply(self, settings: Settings) -> None:
        self.secret, self.instance = settings.secret, settings.instance

    def phases(self, slot: Slot, owner: str) -> PhaseTools:
        return PhaseTools(slot, self.rows.shared(slot), self.rows.table, owner, self.instance, self.mirrors)

    def retry_plan(self, policy: RetryPolicy | None, shared: Shared, was: RetryPlan | None) -> RetryPlan | None:
        """A policy has its budget in its own row, and keeps it while it stays what it `was`."""
        if policy is None:
            return None
        if was is not None and was.policy == policy:
            return was
        return RetryPlan(policy, RetryBudget(policy, shared, RETRY_FLOOR_WORD), self.draws)

    def stickiness(self, owner: str, affinity: Affinity | None, shares: Sequence[TrafficSplit]) -> Stickiness | None:
        if affinity is None:
            return None
        from mesh.affinity import stickiness_for

        return stickiness_for(owner, affinity, self.secret, shares)
