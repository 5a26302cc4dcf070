"""The tests of a configuration: each request goes through the router that live traffic goes through.

What is compared, key by key; what `expect` leaves out is not:

    route    the name of the route that takes the request
    service  one of the services that the request can go to
    version  one of the versions that it can go to (of that service, when both are given)
    status   the status of an answer that needs no upstream: 404 no route, 400 a path that is refused, redirects and
             direct responses, 503 when no endpoint takes requests. A forwarded request has none, so it never agrees.

"Can go to" is every share of the split with a weight above 0, because a draw would make a test fail now and then. A
share or route without a version goes where the service's traffic_split says, and without that to the versions of its
endpoints with a weight above 0. A test without a listener must hold on every listener of HTTP requests. Nobody asks
who the client is: affinity and sticky splits choose among the same services and versions. A subset counts for the
status.
Sends nothing anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from discovery.config import Config, RequestSample, RouteTest
from discovery.model import Endpoint, Listener, Protocol, Route, Service, Settings, Struct
from mesh.domains import routes_of
from mesh.paths import PathError, normalise
from mesh.request import SampleRequest
from mesh.router import RouteError, Router
from mesh.subsets import SubsetRule
from proxy.config.problems import Problem

NO_ROUTE = 404
BAD_PATH = 400
NO_ENDPOINT = 503


class Outcome(Struct):
    """What becomes of a request. `targets` are the (service, version) that it can go to."""

    route: Route | None = None
    targets: tuple[tuple[str, str], ...] = ()
    status: int = 0  # 0: whatever the upstream says
    why: str = ""  # of a status, when no route tells


def run(config: Config) -> tuple[Problem, ...]:
    """Every test that fails, and every listener whose routes do not compile."""
    problems: list[Problem] = []
    routers: dict[str, Router] = {}
    for listener in config.snapshot.listeners:
        try:
            routers[listener.name] = Router((route, route) for route in routes_of(listener, config.snapshot.services))
        except RouteError as error:
            at = {route.name: route.position for route in routes_of(listener, config.snapshot.services)}.get(
                error.route, listener.position
            )
            problems.append(Problem(message=str(error), position=at, key=f"listeners.{listener.name}"))
    services = {service.name: service for service in with_names(config)}
    for index, test in enumerate(config.tests):
        for listener in _listeners(config, test):
            if listener.name in routers:
                asked = _Asked(test, index, listener, routers[listener.name])
                outcome = decide(test.request, asked.router, services, config.snapshot.settings)
                problems.extend(_differences(asked, outcome))
    return tuple(problems)


def with_names(config: Config) -> Iterator[Service]:
    """The services as they are once the endpoints that are names have been found."""
    names: dict[str, list[Endpoint]] = {}
    for followed in config.followed:
        names.setdefault(followed.service, []).append(followed.endpoint)
    for service in config.snapshot.services:
        found = names.get(service.name, ())
        yield msgspec.structs.replace(service, endpoints=(*service.endpoints, *found)) if found else service


def decide(request: RequestSample, router: Router, services: dict[str, Service], settings: Settings) -> Outcome:
    try:
        view = _view(request, settings)
    except PathError as error:
        return Outcome(status=BAD_PATH, why=str(error))
    route = router.match(view)
    if route is None:
        return Outcome(status=NO_ROUTE, why="no route takes it")
    assert isinstance(route, Route)
    if route.filters.direct_response is not None:
        return Outcome(route=route, status=route.filters.direct_response.status)
    if route.filters.redirect is not None:
        return Outcome(route=route, status=route.filters.redirect.status)
    targets = tuple(dict.fromkeys(_targets(route, services)))
    rule = SubsetRule(route.subset) if route.subset is not None else None
    is_served = any(_has_endpoint(services[name], version, rule, view) for name, version in targets)
    return Outcome(route=route, targets=targets, status=0 if is_served else NO_ENDPOINT)


# --- what a request can become ------------------------------------------------------------------------------------


def _view(request: RequestSample, settings: Settings) -> SampleRequest:
    path, _, query = request.target.partition("?")
    headers = [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]
    if request.host:
        headers.append((b"host", request.host.encode()))
    return SampleRequest(
        method=request.method.encode(),
        host=request.host.encode(),
        path=normalise(path.encode(), settings.path_escapes, settings.merge_slashes),
        query=query.encode(),
        headers=headers,
        client=request.client.encode(),
    )


def _targets(route: Route, services: dict[str, Service]) -> Iterator[tuple[str, str]]:
    if not route.split:
        yield from _versions(route.service, route.version, services)
    for share in route.split:
        if share.weight:
            yield from _versions(share.service, share.version, services)


def _versions(name: str, version: str, services: dict[str, Service]) -> Iterator[tuple[str, str]]:
    if version:
        yield name, version
        return
    service = services[name]
    if service.traffic_split:
        yield from ((name, share.version) for share in service.traffic_split if share.weight)
    else:
        yield from ((name, endpoint.version) for endpoint in service.endpoints if endpoint.weight)
        yield name, ""  # the service itself, when it has no endpoint yet


def _has_endpoint(service: Service, version: str, rule: SubsetRule | None, view: SampleRequest) -> bool:
    """Whether some endpoint of that version takes the request."""
    endpoints = [each for each in service.endpoints if version in ("", each.version)]
    if rule is not None:
        endpoints = rule.members(view, endpoints)
    return any(each.weight for each in endpoints)


# --- comparing ----------------------------------------------------------------------------------------------------


class _Asked:
    """One test at one listener."""

    def __init__(self, test: RouteTest, index: int, listener: Listener, router: Router) -> None:
        self.test = test
        self.index = index
        self.listener = listener
        self.router = router

    def problem(self, key: str, message: str) -> Problem:
        request = self.test.request
        subject = f"{request.method} {request.host}{request.target} at listener {self.listener.name}"
        where = f"tests[{self.index}].expect.{key}"
        return Problem(message=f"{subject} {message}", position=self.test.position, key=where)


def _listeners(config: Config, test: RouteTest) -> list[Listener]:
    wanted = test.request.listener
    return [
        listener
        for listener in config.snapshot.listeners
        if wanted in ("", listener.name) and listener.protocol in (Protocol.HTTP, Protocol.AUTO)
    ]


def _differences(asked: _Asked, outcome: Outcome) -> Iterator[Problem]:
    expect = asked.test.expect
    route = expect.get("route")
    if route is not None and (outcome.route is None or outcome.route.name != route):
        yield asked.problem("route", f"{_fate(outcome)}, expected route '{route}'")
    service, version = expect.get("service"), expect.get("version")
    if service is not None and not any(service == name for name, _ in outcome.targets):
        yield asked.problem("service", f"{_fate(outcome)}, expected service '{service}'")
    elif version is not None and not any(version == v and service in (None, name) for name, v in outcome.targets):
        of = f" of service '{service}'" if service is not None else ""
        yield asked.problem("version", f"{_fate(outcome)}, expected version '{version}'{of}")
    status = expect.get("status")
    if status is not None and status != outcome.status:
        unknown = "" if outcome.status else ", whose status only the upstream knows"
        yield asked.problem("status", f"{_fate(outcome)}{unknown}, expected {status}")


def _fate(outcome: Outcome) -> str:
    if outcome.route is None:
        return f"is answered {outcome.status} ({outcome.why})"
    at = f" ({outcome.route.position})" if outcome.route.position is not None else ""
    taken = f"is taken by route '{outcome.route.name}'{at}"
    if not outcome.targets:
        return f"{taken} and answered {outcome.status}"
    targets = ", ".join(f"{name} {version}".strip() for name, version in outcome.targets)
    refused = f", which has no endpoint: {outcome.status}" if outcome.status else ""
    return f"{taken} and goes to {targets}{refused}"
