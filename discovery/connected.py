"""The Python API against a running hivemesh: changes become requests to its admin API (docs/guide/api.md).

A watch is a chain of blocking queries; when the agent is away it is asked again, first soon and then less often. A
change is sent once: whether one without an answer has happened is for the caller to find out.
aiohttp is imported with the first request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import msgspec

from discovery.changes import (
    ChangeError,
    Conflict,
    Durable,
    Heartbeat,
    LimitReached,
    NotFound,
    PutEndpoint,
    PutPolicies,
    PutRoute,
    RemoveEndpoint,
    RemovePolicies,
    RemoveRoute,
    Stale,
    StoreFailed,
)
from discovery.checks import CheckProtocol, HealthCheck
from discovery.model import EndpointState, Route, Service
from discovery.terms import BALANCING_FIELDS, MESH_FIELDS, Denied, Invalid, NotInThisRelease, Unreachable

if TYPE_CHECKING:
    import aiohttp

UNIX_PREFIX = "unix:"
DEADLINE = 10.0  # seconds for a request and its answer
MARGIN = 1.1  # of a blocking query: the agent adds up to a sixteenth
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds before an agent that is away is asked again

INDEX_HEADER = "X-Hivemesh-Index"
TYPE = "urn:hivemesh:problem:"
ERRORS: dict[str, type[ChangeError]] = {
    "not-found": NotFound,
    "conflict": Conflict,
    "stale": Stale,
    "limit-reached": LimitReached,
    "store-failed": StoreFailed,
    "invalid": Invalid,
}
DENIED = (401, 403, 421)

# The key of a service in the API for each of its fields.
KEYS = {
    "domain": "domain",
    "health_check": "health_check",
    "traffic_split": "traffic_split",
    **dict.fromkeys(BALANCING_FIELDS, "load_balancing"),
    **dict.fromkeys(MESH_FIELDS, "mesh"),
}


class _Detail(msgspec.Struct):
    """What is read of GET /v1/services/{service}."""

    service: Service


class _Added(msgspec.Struct):
    """What is read of GET /v1/routes/{route}."""

    route: Route


class Connected:
    def __init__(self, url: str, token: str = "") -> None:
        self._token = token
        self._path = ""
        self._url = "http://localhost"
        self._session: aiohttp.ClientSession | None = None
        if url.startswith(UNIX_PREFIX):
            self._path = url.removeprefix(UNIX_PREFIX).removeprefix("//")
            if not self._path:
                raise Invalid(f"{url} has no path, expected unix:PATH")
            return
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query:
            raise Invalid(f"{url} is not an admin address, expected http://HOST:PORT or unix:PATH")
        self._url = f"http://{parts.netloc}"

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    # --- changes ----------------------------------------------------------------------------------------------------

    async def change(self, *changes: Durable | Heartbeat) -> None:
        former: Durable | Heartbeat | None = None
        for change in changes:
            if _is_said(former, change):
                continue
            former = change
            method, path, body = request_of(change)
            await self._ask(method, path, body)

    # --- looking ----------------------------------------------------------------------------------------------------

    async def names(self) -> list[str]:
        body, _ = await self._ask("GET", ("services",))
        return [service["name"] for service in _json(body)]

    async def service(self, name: str) -> Service | None:
        return (await self._read(name, {}, DEADLINE))[1]

    async def newer(self, name: str, index: int, wait: float) -> tuple[int, Service | None]:
        query = {"index": str(index), "wait": f"{wait:g}s"} if index else {}
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._read(name, query, DEADLINE + (wait * MARGIN if index else 0.0))
            except Unreachable:
                if self._session is not None and self._session.closed:
                    raise
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def route(self, name: str) -> Route | None:
        try:
            body, _ = await self._ask("GET", ("routes", name))
            return msgspec.json.decode(body, type=_Added).route
        except NotFound:
            return None
        except msgspec.DecodeError as error:
            raise Unreachable(f"what answers at {self._place} is no hivemesh of this release: {error}") from None

    async def _read(self, name: str, query: dict[str, str], deadline: float) -> tuple[int, Service | None]:
        try:
            body, headers = await self._ask("GET", ("services", name), query=query, deadline=deadline)
        except _Missing as missing:
            return missing.index, None
        try:
            return int(headers.get(INDEX_HEADER, "0")), msgspec.json.decode(body, type=_Detail).service
        except (msgspec.DecodeError, ValueError) as error:
            raise Unreachable(f"what answers at {self._place} is no hivemesh of this release: {error}") from None

    # --- one request ------------------------------------------------------------------------------------------------

    async def _ask(
        self,
        method: str,
        path: tuple[str, ...],
        body: Any = None,
        *,
        query: dict[str, str] | None = None,
        deadline: float = DEADLINE,
    ) -> tuple[bytes, Any]:
        import aiohttp

        target = f"{self._url}/v1/" + "/".join(quote(part, safe="") for part in path)
        headers = {"Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        from yarl import URL

        try:
            async with self._opened().request(
                method,
                URL(target, encoded=True).update_query(query or {}),
                data=msgspec.json.encode(body) if body is not None else None,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=deadline),
                allow_redirects=False,
            ) as response:
                content, status, answered = await response.read(), response.status, response.headers
        except TimeoutError:
            raise Unreachable(f"the agent at {self._place} did not answer within {deadline:g} s") from None
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise Unreachable(f"the agent at {self._place} did not answer: {error}") from None
        if status >= 400:
            raise self._error(status, content, answered)
        return content, answered

    def _opened(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            connector = aiohttp.UnixConnector(self._path) if self._path else None
            self._session = aiohttp.ClientSession(connector=connector)
        return self._session

    @property
    def _place(self) -> str:
        return UNIX_PREFIX + self._path if self._path else self._url

    def _error(self, status: int, body: bytes, headers: Any) -> ChangeError:
        try:
            problem = msgspec.json.decode(body)
            detail, kind = str(problem["detail"]), str(problem.get("type", ""))
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
            return Unreachable(f"what answers at {self._place} is not a hivemesh agent (status {status})")
        if status == 404 and INDEX_HEADER in headers:
            return _Missing(detail, int(headers[INDEX_HEADER]))
        found = ERRORS.get(kind.removeprefix(TYPE))
        if found is not None:
            return found(detail)
        if status in DENIED:
            return Denied(detail)
        return (
            Invalid(detail) if status < 500 else Unreachable(f"the agent at {self._place} answers {status}: {detail}")
        )


class _Missing(NotFound):
    """A service that is not there, as of `index`."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise Unreachable(f"the agent answered something else than JSON: {error}") from None


# --- changes as requests ------------------------------------------------------------------------------------------

Request = tuple[str, tuple[str, ...], Any]


def request_of(change: Durable | Heartbeat) -> Request:
    """Method, path below /v1 and body."""
    match change:
        case PutEndpoint():
            return "PUT", ("services", change.service, "endpoints", change.endpoint.id), _endpoint(change)
        case RemoveEndpoint(service=service, id=id):
            return "DELETE", ("services", service, "endpoints", id), None
        case Heartbeat(service=service, id=id, state=state, reason=reason):
            body = {"state": state.value, **({"reason": reason} if reason else {})}
            is_plain = state is EndpointState.HEALTHY and not reason
            return "PUT", ("services", service, "endpoints", id, "heartbeat"), None if is_plain else body
        case PutPolicies(service=service, fields=fields) if key := _key(fields):
            return "PUT", ("services", service.name, key), _policy(service, key, fields)
        case RemovePolicies(service=name, fields=fields) if key := _key(fields):
            return "DELETE", ("services", name, key), None
        case PutRoute(route=route):
            return "POST", ("routes",), _route(route)
        case RemoveRoute(name=name):
            return "DELETE", ("routes", name), None
    raise NotInThisRelease(f"{type(change).__name__} cannot be sent to an agent")


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _endpoint(change: PutEndpoint) -> dict[str, Any]:
    endpoint = change.endpoint
    body: dict[str, Any] = {"address": endpoint.address, "weight": endpoint.weight}
    if endpoint.version:
        body["version"] = endpoint.version
    if endpoint.node:
        body["node"] = endpoint.node
    if endpoint.metadata:
        body["metadata"] = endpoint.metadata
    if change.ttl:
        body["ttl_ms"] = _ms(change.ttl)
    return body


def _key(fields: tuple[str, ...]) -> str:
    """The key of a service that all of `fields` belong to; "": there is none."""
    keys = {KEYS.get(field, "") for field in fields}
    return keys.pop() if len(keys) == 1 else ""


def _is_said(former: Durable | Heartbeat | None, change: Durable | Heartbeat) -> bool:
    """PUT of a key takes back what its body leaves out, so that need not be asked for as well."""
    return (
        isinstance(former, PutPolicies)
        and isinstance(change, RemovePolicies)
        and former.service.name == change.service
        and _key(former.fields) == _key(change.fields) != ""
    )


def _policy(service: Service, key: str, fields: tuple[str, ...]) -> Any:
    if key == "health_check":
        assert service.health_check is not None
        return _health_check(service.health_check)
    if key == "mesh":
        return _mesh(service, fields)
    if key == "traffic_split":
        return [{"version": share.version, "weight": share.weight} for share in service.traffic_split]
    return str(getattr(service, key))


def _mesh(service: Service, fields: tuple[str, ...]) -> dict[str, Any]:
    body: dict[str, Any] = {"timeout_ms": _ms(service.timeout)}
    retry, breaker = service.retry, service.circuit_breaker
    if "retry" in fields and retry is not None:
        body["retry"] = {
            "max_retries": retry.max_retries,
            "retry_on": retry.retry_on,
            "per_try_timeout_ms": _ms(retry.per_try_timeout),
        }
    if "circuit_breaker" in fields:
        body["circuit_breaker"] = {
            "max_connections": breaker.max_connections,
            "max_pending_requests": breaker.max_pending_requests,
            "max_requests": breaker.max_requests,
            "max_retries": breaker.max_retries,
            "consecutive_errors": breaker.consecutive_errors,
            "interval_ms": _ms(breaker.interval),
            "base_ejection_time_ms": _ms(breaker.base_ejection_time),
            "max_ejection_time_ms": _ms(breaker.max_ejection_time),
            "half_open_requests": breaker.half_open_requests,
        }
    return body


def _health_check(check: HealthCheck) -> dict[str, Any]:
    if check.protocol is CheckProtocol.TTL:
        return {"protocol": check.protocol.value, "ttl_ms": _ms(check.ttl)}
    body: dict[str, Any] = {
        "protocol": check.protocol.value,
        "interval_ms": _ms(check.interval),
        "timeout_ms": _ms(check.timeout),
        "healthy_threshold": check.healthy_threshold,
        "unhealthy_threshold": check.unhealthy_threshold,
    }
    if check.protocol in (CheckProtocol.HTTP, CheckProtocol.HTTPS):
        body["path"] = check.path
    if check.command:
        body["command"] = list(check.command)
    if check.grpc_service:
        body["grpc_service"] = check.grpc_service
    return body


def _route(route: Route) -> dict[str, Any]:
    match: dict[str, Any] = {"path_prefix": route.match.path}
    if route.match.headers:
        match["headers"] = {header.name: header.value for header in route.match.headers}
    body: dict[str, Any] = {"name": route.name, "match": match}
    if route.split:
        body["split"] = [{"service": share.service, "weight": share.weight} for share in route.split]
    else:
        body["service"] = route.service
    if route.subset is not None:
        body["subset"] = {"metadata": route.subset.metadata}
    return body
