"""Bodies where servers do not expect one, and requests that the proxy answers before it has read the body.

CL.0, 0.CL, TE.0 and client-side desyncs: whoever answers without the body must read it all the same, or close; what
comes next would be taken for a request.
"""

from __future__ import annotations

from benchmarks.attacks.case import (
    ANSWERED,
    EITHER,
    FORWARDED,
    HOST,
    REFUSED,
    SMUGGLED,
    WAITED,
    Table,
    Until,
    post,
)

TABLE = Table("bodies", "RFC 9112 6: a body is there when its fields say so, whatever the method")
request = TABLE.request
SIZE = len(SMUGGLED)
CL = b"Content-Length: %d" % SIZE
TE = b"Transfer-Encoding: chunked"
CHUNKED = b"%x\r\n" % SIZE + SMUGGLED + b"\r\n0\r\n\r\n"
OLD = b"HTTP/1.0"

for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH", b"FROB"):
    name = method.decode()
    request(
        f"{name} with a length",
        "CL.0: the body is a request",
        post(CL, body=SMUGGLED, method=method),
        right=EITHER,
        body=SMUGGLED,
        seen=(f"{name} /attack", "GET /after"),
    )
    request(
        f"{name} with chunks",
        "TE.0: the same in chunks",
        post(TE, body=CHUNKED, method=method),
        right=EITHER,
        body=SMUGGLED,
        seen=(f"{name} /attack", "GET /after"),
    )
request(
    "TRACE with a length",
    "a TRACE has no body",
    post(CL, body=SMUGGLED, method=b"TRACE"),
    right=EITHER,
    body=SMUGGLED,
    seen=("TRACE /attack", "GET /after"),
    source="RFC 9110 9.3.8: a client MUST NOT send one",
)
for method in (b"GET", b"HEAD", b"DELETE"):
    name = method.decode()
    request(
        f"{name} of HTTP/1.0 with a length",
        "old servers read no body of it",
        post(CL, b"Connection: keep-alive", body=SMUGGLED, method=method, version=OLD),
        right=EITHER,
        body=SMUGGLED,
        seen=(f"{name} /attack", "GET /after"),
        source="RFC 1945 8.1",
    )
request(
    "POST of HTTP/1.0 without a length",
    "HTTP/1.0 needs one",
    post(b"Connection: keep-alive", version=OLD),
    right=EITHER,
    seen=("POST /attack", "GET /after"),
    source="RFC 1945 8.3: MUST have a length",
)
request(
    "POST without a length",
    "no body, and the next request at once",
    post(),
    right=EITHER,
    body=b"",
    source="RFC 9112 6.3, 7",
)
request(
    "length of zero and bytes",
    "0.CL: the bytes are the next request",
    post(b"Content-Length: 0", body=SMUGGLED),
    right=FORWARDED,
    body=b"",
    seen=("POST /attack", "GET /smuggled", "GET /after"),
    forwarded=3,
    source="RFC 9112 6.3",
)

for target, status in ((b"/secret", 403), (b"/moved/x", 302)):
    name = target.decode()
    right = REFUSED if status == 403 else ANSWERED
    head = b"POST " + target + b" HTTP/1.1\r\n" + HOST
    seen = (f"POST {name}", "GET /after")
    request(
        f"{name} with a length",
        "answered by the proxy, with a request as body",
        head + CL + b"\r\n\r\n" + SMUGGLED,
        right=right,
        seen=seen,
        source="RFC 9112 9.3: the body is read, or the connection closed",
    )
    request(
        f"{name} with chunks",
        "the same in chunks",
        head + TE + b"\r\n\r\n" + CHUNKED,
        right=right,
        seen=seen,
        source="RFC 9112 9.3",
    )
    request(
        f"{name}, and the body late",
        "the body comes when the answer is there",
        head + CL + b"\r\n\r\n",
        Until.ANSWER,
        SMUGGLED,
        right=right,
        seen=seen,
        source="RFC 9112 9.3: pause-based desync (2022)",
    )
    request(
        f"{name}, expecting 100",
        "Expect, and the body all the same",
        head + CL + b"\r\nExpect: 100-continue\r\n\r\n",
        Until.ANSWER,
        SMUGGLED,
        right=right,
        seen=seen,
        source="RFC 9110 10.1.1",
    )
request(
    "no route to take it, with a length",
    "a path that is refused, with a request as body",
    b"POST /open/%00 HTTP/1.1\r\n" + HOST + CL + b"\r\n\r\n" + SMUGGLED,
    right=EITHER,
    body=SMUGGLED,
    seen=("POST /open/%00", "GET /after"),
    source="RFC 9112 9.3",
)
request(
    "bad Host, with a length",
    "a head that is refused, with a request as body",
    b"POST /attack HTTP/1.1\r\nHost: a b\r\n" + CL + b"\r\n\r\n" + SMUGGLED,
    right=REFUSED,
    seen=("POST /attack", "GET /after"),
    source="RFC 9112 9.3",
)
request(
    "too large",
    "a body over the limit, which does not come",
    post(b"Content-Length: 99999999999"),
    right=REFUSED | WAITED,
    seen=("POST /attack",),
    source="RFC 9110 15.5.14",
)

# The origin answers before it has the body.
EARLY = b"HTTP/1.1 200 OK\r\nX-Tag: attack\r\nContent-Length: 2\r\n\r\nok"
REFUSAL = b"HTTP/1.1 413 Too Large\r\nX-Tag: attack\r\nContent-Length: 0\r\n\r\n"
UNAUTHORIZED = b"HTTP/1.1 401 Unauthorized\r\nX-Tag: attack\r\nContent-Length: 0\r\n\r\n"
CLOSING = EARLY.replace(b"X-Tag", b"Connection: close\r\nX-Tag")


def early(id: str, what: str, head: bytes, answer: bytes, body: bytes = SMUGGLED, **more: object) -> None:
    """The body leaves when the client has the answer. Either the proxy reads it, or it closes."""
    right = EITHER | WAITED
    request(
        id,
        what,
        head,
        Until.ANSWER,
        body,
        right=right,
        answers=(answer,),
        seen=("POST /attack", "GET /after"),
        source="RFC 9112 9.3, 9110 10.1.1: the rest is read as a body, or the connection closed",
        **more,
    )


early("early answer", "200 before the body, which is a request", post(CL), EARLY)
early("early answer, chunks", "the same in chunks", post(TE), EARLY, CHUNKED)
early("early answer, half of it there", "half of the body before", post(CL, body=SMUGGLED[:20]), EARLY, SMUGGLED[20:])
early("early 413", "an error before the body", post(CL), REFUSAL)
early("early answer and close", "the origin closes", post(CL), CLOSING)
early("early answer to Expect", "401 in place of 100", post(CL, b"Expect: 100-continue"), UNAUTHORIZED)
early("early 200 to Expect", "200 in place of 100", post(CL, b"Expect: 100-continue"), EARLY)
early(
    "no body after Expect",
    "401, and the client sends the next request in place of the body",
    post(CL, b"Expect: 100-continue"),
    UNAUTHORIZED,
    b"",
)
early("bad chunks after an early answer", "what is no chunk is no request", post(TE), EARLY, SMUGGLED)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
request(
    "Expect",
    "100, then the body",
    post(CL, b"Expect: 100-continue"),
    Until.HEAD,
    SMUGGLED,
    right=EITHER,
    body=SMUGGLED,
    answers=(CONTINUE, Until.REQUEST, EARLY),
    source="RFC 9110 10.1.1",
)
request(
    "Expect, body at once",
    "a client that does not wait",
    post(CL, b"Expect: 100-continue", body=SMUGGLED),
    right=EITHER,
    body=SMUGGLED,
    source="RFC 9110 10.1.1",
)
for text, what in (
    (b"x", "an unknown expectation"),
    (b"x 100-continue", "a word before it"),
    (b"100-continue, x", "a list"),
    (b"100-Continue", "other case"),
    (b"100-continue;a=b", "a parameter"),
    (b" \t100-continue", "blanks before it"),
    (b"", "nothing"),
):
    request(
        f"Expect: {text.decode()!r}",
        f"{what}: ignored, or 417",
        post(CL, b"Expect: " + text, body=SMUGGLED),
        right=EITHER,
        body=SMUGGLED,
        source="RFC 9110 10.1.1",
    )
request(
    "Expect twice",
    "two fields",
    post(CL, b"Expect: 100-continue", b"Expect: 100-continue", body=SMUGGLED),
    right=EITHER,
    body=SMUGGLED,
    source="RFC 9110 10.1.1",
)
request(
    "Expect of HTTP/1.0",
    "is ignored",
    post(CL, b"Expect: 100-continue", body=SMUGGLED, version=OLD),
    right=EITHER,
    body=SMUGGLED,
    seen=("POST /attack",),
    forwarded=1,
    source="RFC 9110 10.1.1",
)
request(
    "Expect of GET",
    "no body, and the next request at once",
    post(b"Expect: 100-continue", method=b"GET"),
    right=EITHER,
    seen=("GET /attack", "GET /after"),
    source="RFC 9110 10.1.1: a client MUST NOT send it without a body",
)
