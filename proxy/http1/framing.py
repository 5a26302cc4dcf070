"""How the body of a response is framed, on both sides of us (RFC 9112 section 6.3).

Pure. What an upstream sent decides where its body ends; the client's version decides how we say so.
"""

from __future__ import annotations

from proxy.http1.codes import CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE
from proxy.kernel.emit import FRAMING_AS_RECEIVED, FRAMING_CHUNKED, FRAMING_CLOSE, FRAMING_NONE


class ResponseFraming:
    """body: one of proxy.http1.codes' framings, where the upstream's body ends. towards_client: one of
    proxy.kernel.emit's FRAMING constants."""

    body: int
    towards_client: int

    def __init__(self, body: int, towards_client: int) -> None:
        self.body = body
        self.towards_client = towards_client


NOTHING = ResponseFraming(NO_BODY, FRAMING_AS_RECEIVED)
NOT_ALLOWED = ResponseFraming(NO_BODY, FRAMING_NONE)
FIXED = ResponseFraming(LENGTH, FRAMING_AS_RECEIVED)
STREAM = ResponseFraming(CHUNKED, FRAMING_CHUNKED)
STREAM_OLD = ResponseFraming(CHUNKED, FRAMING_CLOSE)
REST = ResponseFraming(UNTIL_CLOSE, FRAMING_CHUNKED)
REST_OLD = ResponseFraming(UNTIL_CLOSE, FRAMING_CLOSE)


def frame_response(
    status: int, content_length: int, chunked: bool, to_head: bool, client_minor: int
) -> ResponseFraming:
    """status: of a final response. content_length: -1 for none. to_head: whether the request was HEAD. client_minor:
    0 for an HTTP/1.0 client, which cannot read chunks."""
    if status == 204:
        return NOT_ALLOWED
    if to_head or status == 304:
        return NOTHING
    if chunked:
        return STREAM if client_minor else STREAM_OLD
    if content_length >= 0:
        return FIXED
    return REST if client_minor else REST_OLD
