"""How a response is framed: the table of RFC 9112 section 6.3, for both sides."""

from __future__ import annotations

import pytest

from proxy.http1.codes import CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE
from proxy.http1.framing import frame_response
from proxy.kernel.emit import FRAMING_AS_RECEIVED, FRAMING_CHUNKED, FRAMING_CLOSE, FRAMING_NONE

NEW, OLD = 1, 0

TABLE = [
    # status, Content-Length, chunked, answer to HEAD, client's minor version: where the body ends, what the client gets
    (200, 5, False, False, NEW, LENGTH, FRAMING_AS_RECEIVED),
    (200, 5, False, False, OLD, LENGTH, FRAMING_AS_RECEIVED),
    (200, 0, False, False, NEW, LENGTH, FRAMING_AS_RECEIVED),
    (200, -1, True, False, NEW, CHUNKED, FRAMING_CHUNKED),
    (200, -1, True, False, OLD, CHUNKED, FRAMING_CLOSE),
    (200, -1, False, False, NEW, UNTIL_CLOSE, FRAMING_CHUNKED),
    (200, -1, False, False, OLD, UNTIL_CLOSE, FRAMING_CLOSE),
    (404, 5, False, False, NEW, LENGTH, FRAMING_AS_RECEIVED),
    # no body whatever the fields say, and they are passed on as what GET would have got
    (200, 5, False, True, NEW, NO_BODY, FRAMING_AS_RECEIVED),
    (200, -1, False, True, OLD, NO_BODY, FRAMING_AS_RECEIVED),
    (304, 5, False, False, NEW, NO_BODY, FRAMING_AS_RECEIVED),
    (304, -1, False, False, OLD, NO_BODY, FRAMING_AS_RECEIVED),
    # no body, and no field may speak of one
    (204, -1, False, False, NEW, NO_BODY, FRAMING_NONE),
    (204, 5, False, False, NEW, NO_BODY, FRAMING_NONE),
    (204, -1, True, False, NEW, NO_BODY, FRAMING_NONE),
    (204, -1, False, True, OLD, NO_BODY, FRAMING_NONE),
]


@pytest.mark.parametrize(("status", "length", "chunked", "to_head", "minor", "body", "towards"), TABLE)
def test_framing(status: int, length: int, chunked: bool, to_head: bool, minor: int, body: int, towards: int) -> None:
    framing = frame_response(status, length, chunked, to_head, minor)
    assert (framing.body, framing.towards_client) == (body, towards)


@pytest.mark.parametrize("status", [200, 304])
def test_a_chunked_answer_without_a_body(status: int) -> None:
    """Nothing follows it, so the connection stays in step whatever the client is told."""
    assert frame_response(status, -1, True, True, NEW).body == NO_BODY
