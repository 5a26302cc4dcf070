"""How the admin API says no: problem+json (RFC 9457), one shape for every error.

`field` is the key of the body or the query parameter that is wrong, when there is one; `problems` are all of them.
`type` tells a program what kind of refusal it is: about:blank where the status says it all.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from discovery.changes import ChangeError, Conflict, LimitReached, NotFound, Stale, StoreFailed
from proxy.admin.access import Access
from proxy.config.problems import Problem

if TYPE_CHECKING:
    from aiohttp import web

Handler: TypeAlias = "Callable[[web.Request], Awaitable[web.StreamResponse]]"

PROBLEM_JSON = "application/problem+json"
TYPE = "urn:hivemesh:problem:"  # the names below follow

# Status and name of each kind of refusal. A full registry is 507: how often one asks (429) has no part in it.
KINDS: Mapping[type[ChangeError], tuple[int, str]] = {
    NotFound: (404, "not-found"),
    Conflict: (409, "conflict"),
    Stale: (409, "stale"),
    LimitReached: (507, "limit-reached"),
    StoreFailed: (503, "store-failed"),
}
INVALID = "invalid"

# Nothing that is served here is to be kept by a cache or guessed at by a browser.
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class ProblemDetails(msgspec.Struct, frozen=True):
    """RFC 9457 section 3.1, and our members."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    field: str = ""
    problems: tuple[Problem, ...] = ()


class Refusal(Exception):
    """A request that is answered with a problem. Raised by handlers, turned into the answer by `guard`."""

    def __init__(
        self, status: int, detail: str, *, kind: str = "", field: str = "", problems: tuple[Problem, ...] = ()
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.kind = kind
        self.field = field
        self.problems = problems


def invalid(problems: tuple[Problem, ...]) -> Refusal:
    """The body or the query says something wrong: 422 with everything that is."""
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    detail = f"{first.key}: {first.message}{more}" if first.key else f"{first.message}{more}"
    return Refusal(422, detail, kind=INVALID, field=first.key, problems=problems)


def invalid_value(field: str, message: str) -> Refusal:
    return invalid((Problem(message=message, key=field, source="request"),))


def refused(error: ChangeError) -> Refusal:
    """What the registry says no to."""
    for kind, (status, name) in KINDS.items():
        if isinstance(error, kind):
            return Refusal(status, str(error), kind=name)
    return Refusal(409, str(error))


def answer(refusal: Refusal, headers: Any = None) -> web.Response:
    from aiohttp import web

    details = ProblemDetails(
        title=HTTPStatus(refusal.status).phrase,
        status=refusal.status,
        detail=refusal.detail,
        type=TYPE + refusal.kind if refusal.kind else "about:blank",
        field=refusal.field,
        problems=refusal.problems,
    )
    return web.Response(
        status=refusal.status, body=msgspec.json.encode(details), content_type=PROBLEM_JSON, headers=headers
    )


def guard(access: Access) -> Any:
    """The middleware around every request: access rules before, one shape of errors after."""
    from aiohttp import web

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = access.refusal(request.method, request.path, request.headers)
        if refusal is not None:
            response: web.StreamResponse = answer(Refusal(refusal.status, refusal.detail))
            if refusal.status == 401:
                response.headers["WWW-Authenticate"] = 'Bearer realm="hivemesh"'
        else:
            response = await _answered(request, handler)
        if not response.prepared:  # a stream has sent its headers
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
        return response

    return guarded


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    from aiohttp import web

    try:
        return await handler(request)
    except Refusal as error:
        return answer(error)
    except ChangeError as error:
        return answer(refused(error))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        detail = f"{request.method} is not possible on {request.path}; possible: {allowed}"
        return answer(Refusal(405, detail), headers={"Allow": allowed})
    except web.HTTPNotFound:
        return answer(Refusal(404, f"there is no {request.path} here"))
    except web.HTTPRequestEntityTooLarge:
        return answer(Refusal(413, "the body is larger than 1 MiB"))
    except web.RequestPayloadError:
        return answer(Refusal(400, "the body does not come as its headers say (length, chunks or compression)"))
    except web.HTTPException as error:
        return answer(Refusal(error.status, error.text or error.reason))
    except Exception:
        # Ours, not the client's: one request ends with it, and the log has where.
        traceback.print_exc()
        return answer(Refusal(500, "a fault of hivemesh, which its log tells more of"))
