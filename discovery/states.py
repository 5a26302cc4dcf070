"""The state of an endpoint: what it may be used for, and why.

Everything that can be said against an endpoint stands here in one order; the first that holds decides. The reasons
are texts for people, in the words that the API shows.
Pure.
"""

from __future__ import annotations

from discovery.changes import HealthReport
from discovery.checks import HealthCheck
from discovery.model import Endpoint, EndpointState

State = tuple[EndpointState, str]

NOT_CHECKED = "not checked yet"


def state_of(
    endpoint: Endpoint,
    check: HealthCheck | None,
    report: HealthReport | None,
    *,
    is_drained: bool,
    node_gone: str,
    lease_over: str,
) -> State:
    """`node_gone` and `lease_over` say why, "" if that is not so. `report` is about this very endpoint, or None."""
    if is_drained:
        return EndpointState.DRAINING, "drained by the API"
    if endpoint.state is EndpointState.DRAINING:
        return EndpointState.DRAINING, "drained where it is defined"
    if node_gone:
        return EndpointState.UNHEALTHY, node_gone
    if lease_over:
        return EndpointState.UNHEALTHY, lease_over
    if report is not None and report.state is EndpointState.EJECTED:
        return EndpointState.EJECTED, report.reason
    if check is None:
        return EndpointState.HEALTHY, ""
    if report is None:
        return EndpointState.CHECKING, NOT_CHECKED
    return report.state, report.reason
