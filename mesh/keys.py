"""What requests are told apart by: the client's address, a header, a cookie, a query parameter.

Hashing, affinity and rate limits all ask `key_of`, so that the same words of a configuration mean the same everywhere.
"""

from __future__ import annotations

from discovery.policies import KeyKind, RequestKey
from mesh.conditions import parse_query
from mesh.request import RequestView


def key_of(request: RequestView, key: RequestKey) -> bytes:
    """What `request` has for `key`; b"" when it has nothing, and for KeyKind.ROUTE, which is one for all."""
    kind = key.kind
    if kind is KeyKind.CLIENT_IP:
        return request.client
    if kind is KeyKind.HEADER:
        return request.header(key.name.encode()) or b""
    if kind is KeyKind.COOKIE:
        return cookie_value(request.header(b"cookie"), key.name.encode())
    if kind is KeyKind.QUERY:
        return parse_query(request.query).get(key.name.encode(), b"") if request.query else b""
    return b""


def words_for(key: RequestKey) -> str:
    """What `key` is, in a sentence."""
    if key.kind is KeyKind.CLIENT_IP:
        return "client address"
    if key.kind is KeyKind.QUERY:
        return f"query parameter {key.name}"
    return f"{key.kind.value} {key.name}" if key.name else key.kind.value


def cookie_value(field: bytes | None, name: bytes) -> bytes:
    """The value of the first cookie called `name` in a Cookie field, without quotes; b"" when there is none
    (RFC 6265 section 4.2: pairs separated by "; ", names are case-sensitive)."""
    if not field or name not in field:
        return b""
    for pair in field.split(b";"):
        found, equals, value = pair.partition(b"=")
        if equals and found.strip() == name:
            value = value.strip()
            return value[1:-1] if len(value) > 1 and value[:1] == value[-1:] == b'"' else value
    return b""
