"""What a route's filters do to a request or an answer, prepared so that the proxy only copies bytes.

A `HeaderEdit` becomes a `HeaderPlan`: names to leave out and finished lines to append. That is the same as its order
remove, set, add, because setting a header is leaving out what was there and appending the new one. A `Redirect`
becomes a Location, a `UrlRewrite` a new path.
Never writes a line that could end a header early: values are checked when the plan is made.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from discovery.model import HeaderEdit, Redirect, UrlRewrite
from mesh.paths import replace_prefix, split_port

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
VALUE = re.compile(rb"[^\x00-\x08\x0A-\x1F\x7F]*")  # RFC 9110 section 5.5: no controls but the tab

# The message's framing is the proxy's own business; an edit of these could split a message in two.
PROTECTED = frozenset(
    {b"connection", b"content-length", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)

DEFAULT_PORTS = {b"http": b"80", b"https": b"443"}


class EditError(ValueError):
    """A header edit that cannot be written."""


class HeaderPlan(NamedTuple):
    """`drop`: lower-case names to leave out. `append`: header lines, each with its line end."""

    drop: frozenset[bytes]
    append: bytes


NO_EDIT = HeaderPlan(frozenset(), b"")


def compile_request_edit(edit: HeaderEdit | None) -> HeaderPlan:
    """The plan for the headers of a request, and of a response just the same; EditError names the wrong header."""
    if edit is None:
        return NO_EDIT
    drop = {_name(name).lower() for name in (*edit.remove, *edit.set)}
    lines = [_name(name) + b": " + _value(name, value) for name, value in (*edit.set.items(), *edit.add.items())]
    return HeaderPlan(frozenset(drop), b"".join(line + b"\r\n" for line in lines))


def location(redirect: Redirect, matched_path: bytes, scheme: bytes, host: bytes, path: bytes, query: bytes) -> bytes:
    """The Location of a redirect, always an absolute URL.

    scheme, host (with its port, as the client sent it), path and query are the request's; matched_path is the path of
    the route's match. As in Gateway API a changed scheme takes its own port along, otherwise the request's port stays.
    """
    if path == b"*":
        path = b"/"  # a redirect has a path, and the server as a whole is asked for at its root
    name, port = split_port(host)
    if redirect.host is not None:
        name = redirect.host.encode()
    if redirect.scheme is not None:
        port = b"" if redirect.scheme.encode() != scheme else port
        scheme = redirect.scheme.encode()
    if redirect.port is not None:
        port = b"%d" % redirect.port
    if redirect.path is not None:
        path = redirect.path.encode()
    elif redirect.path_prefix is not None:
        path = replace_prefix(path, matched_path, redirect.path_prefix.encode())
    target = path + (b"?" + query if query else b"")
    if not name:
        return target  # an HTTP/1.0 request without Host: relative to what the client knows (RFC 9110 section 10.2.2)
    authority = name if port in (b"", DEFAULT_PORTS.get(scheme)) else name + b":" + port
    return scheme + b"://" + authority + target


def rewrite_target(rewrite: UrlRewrite, matched_prefix: bytes, path: bytes) -> bytes:
    """The path that goes upstream; the query is not its business."""
    if rewrite.path is not None:
        return rewrite.path.encode()
    if rewrite.path_prefix is not None:
        return replace_prefix(path, matched_prefix, rewrite.path_prefix.encode())
    return path


def _name(name: str) -> bytes:
    text = name.encode()
    if TOKEN.fullmatch(text) is None:
        raise EditError(f"header name {name!r} has characters that a name may not have")
    if text.lower() == b"host":
        raise EditError("header 'Host' is not edited here: use url_rewrite with a host")
    if text.lower() in PROTECTED:
        raise EditError(f"header {name!r} belongs to the connection or the message's framing and cannot be edited")
    return text


def _value(name: str, value: str) -> bytes:
    text = value.encode()
    if VALUE.fullmatch(text) is None:
        raise EditError(f"value {value!r} of header {name!r} has control characters")
    return text.strip(b" \t")
