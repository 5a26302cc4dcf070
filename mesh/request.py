"""What a rule may see of a request.

The proxy's exchange is a `RequestView`, and so is the request of a route test or of `explain`: the same router, split
and balancer therefore decide for live traffic and for questions about it.
"""

from __future__ import annotations

from collections.abc import Iterable


class RequestView:
    """One request, ready for decisions.

    method: upper-case token, b"GET". host: lower case, without port, b"" when the request has none.
    path: normalised, starts with b"/" (or is b"*"). query: what follows the first "?", without it.
    client: text of the client's IP address (after X-Forwarded-For from trusted proxies), b"" for unix sockets.
    """

    method: bytes
    host: bytes
    path: bytes
    query: bytes
    client: bytes

    def header(self, name: bytes) -> bytes | None:
        """The first field called `name` (lower case), without surrounding whitespace; None when there is none."""
        return None


class SampleRequest(RequestView):
    """A request made from plain values: for route tests, questions and unit tests."""

    def __init__(
        self,
        method: bytes = b"GET",
        host: bytes = b"",
        path: bytes = b"/",
        query: bytes = b"",
        headers: Iterable[tuple[bytes, bytes]] = (),
        client: bytes = b"127.0.0.1",
    ) -> None:
        self.method = method
        self.host = host
        self.path = path
        self.query = query
        self.client = client
        self.fields: dict[bytes, bytes] = {}
        for name, value in headers:
            self.fields.setdefault(name.lower(), value)

    def header(self, name: bytes) -> bytes | None:
        return self.fields.get(name)
