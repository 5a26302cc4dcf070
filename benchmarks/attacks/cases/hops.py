"""Connection and the fields that end with it. Naming a field in Connection must not change what the server gets."""

from __future__ import annotations

from benchmarks.attacks.case import ANSWERED, EITHER, FORWARDED, SMUGGLED, Table, chunked, get, post

TABLE = Table(
    "hop-by-hop", "RFC 9110 7.6.1: what Connection names is removed, and end-to-end fields are not named there"
)
request = TABLE.request
CL = b"Content-Length: %d" % len(SMUGGLED)
XFF = {b"x-forwarded-for": b"127.0.0.2"}

request(
    "names Content-Length",
    "a server without it takes the body for a request",
    post(b"Connection: Content-Length", CL, body=SMUGGLED),
    right=EITHER,
    body=SMUGGLED,
)
request(
    "names Content-Length after it",
    "the same, in the other order",
    post(CL, b"Connection: close, content-length", body=SMUGGLED),
    right=EITHER,
    body=SMUGGLED,
    seen=("POST /attack",),
    forwarded=1,
)
request(
    "names Transfer-Encoding",
    "chunks without their field",
    chunked(b"2\r\nhi\r\n0\r\n\r\n").replace(b"\r\n\r\n", b"\r\nConnection: Transfer-Encoding\r\n\r\n", 1),
    right=EITHER,
    body=b"hi",
)
request(
    "names Host",
    "a server without it falls back to another site",
    get(b"Connection: Host"),
    right=EITHER,
    has={b"host": b"a.test"},
)
request("names X-Forwarded-For", "whoever strips it hides", get(b"Connection: X-Forwarded-For"), right=EITHER, last=XFF)
request(
    "names X-Forwarded-For and sends it",
    "both",
    get(b"Connection: close, X-Forwarded-For", b"X-Forwarded-For: 192.0.2.9"),
    right=EITHER,
    last=XFF,
    seen=("GET /attack",),
    forwarded=1,
)
request(
    "names Authorization",
    "allowed by the RFC, or kept",
    get(b"Connection: Authorization", b"Authorization: Basic eA=="),
    right=EITHER,
)
request("names Cookie", "allowed by the RFC, or kept", get(b"Connection: Cookie", b"Cookie: a=b"), right=EITHER)
request(
    "names Transfer-Encoding that is not there", "nothing happens", get(b"Connection: Transfer-Encoding"), right=EITHER
)
request("names its own", "is removed", get(b"Connection: X-Mine", b"X-Mine: 1"), right=FORWARDED, lacks=(b"x-mine",))
request(
    "names it in other case",
    "is removed",
    get(b"Connection: x-MINE", b"X-Mine: 1"),
    right=FORWARDED,
    lacks=(b"x-mine",),
)
request(
    "names it twice",
    "two fields of that name",
    get(b"X-Mine: 1", b"Connection: X-Mine", b"X-Mine: 2"),
    right=FORWARDED,
    lacks=(b"x-mine",),
)
request(
    "names it in a second Connection",
    "two Connection fields",
    get(b"Connection: keep-alive", b"Connection: X-Mine", b"X-Mine: 1"),
    right=FORWARDED,
    lacks=(b"x-mine",),
)
request(
    "names a part of it",
    "X-Min does not name X-Mine",
    get(b"Connection: X-Min", b"X-Mine: 1"),
    right=FORWARDED,
    has={b"x-mine": b"1"},
)
request(
    "names many",
    "a hundred names",
    get(b"Connection: " + b", ".join(b"x-%d" % n for n in range(100)), b"X-7: 1"),
    right=EITHER,
    lacks=(b"x-7",),
)
request("empty members", "commas only", get(b"Connection: ,, ,"), right=EITHER, source="RFC 9110 5.6.1.2")
request("empty", "no value", get(b"Connection:"), right=EITHER, source="RFC 9110 5.6.1")
request("quoted", "what is no token", get(b'Connection: "close"'), right=EITHER, source="RFC 9110 7.6.1: a token")
request(
    "underscore",
    "Connection: Content_Length",
    post(b"Connection: Content_Length", CL, body=SMUGGLED),
    right=EITHER,
    body=SMUGGLED,
)
request(
    "Keep-Alive",
    "ends here",
    get(b"Connection: keep-alive", b"Keep-Alive: timeout=9999"),
    right=FORWARDED,
    lacks=(b"keep-alive",),
)
request(
    "Keep-Alive, not named",
    "known to be for one hop",
    get(b"Keep-Alive: timeout=9999"),
    right=FORWARDED,
    lacks=(b"keep-alive",),
    source="RFC 9110 7.6.1: known fields SHOULD be removed as well",
)
request(
    "Proxy-Connection",
    "known to be for one hop",
    get(b"Proxy-Connection: keep-alive"),
    right=FORWARDED,
    lacks=(b"proxy-connection",),
    source="RFC 9110 7.6.1",
)
request(
    "TE",
    "what the client can decode is nobody's business behind",
    get(b"TE: gzip", b"Connection: TE"),
    right=FORWARDED,
    lacks=(b"te",),
)
request(
    "Upgrade, not named",
    "an upgrade that is none",
    get(b"Upgrade: websocket"),
    right=FORWARDED,
    lacks=(b"upgrade",),
    source="RFC 9110 7.8: Upgrade counts with Connection only",
)
request("Trailer", "announces trailers that do not come", get(b"Trailer: X-A"), right=EITHER, source="RFC 9110 6.6.2")
request(
    "Connection twice, contradicting",
    "keep-alive and close",
    get(b"Connection: close", b"Connection: keep-alive"),
    right=EITHER,
    seen=("GET /attack",),
    forwarded=1,
    source="RFC 9112 9.3: close counts",
)
request(
    "Via loop", "a thousand hops", get(b"Via: " + b", ".join([b"1.1 x"] * 1000)), right=EITHER, source="RFC 9110 7.6.3"
)
request(
    "Max-Forwards 0",
    "TRACE that ends here",
    post(b"Max-Forwards: 0", method=b"TRACE"),
    right=EITHER | ANSWERED,
    seen=("TRACE /attack", "GET /after"),
    source="RFC 9110 7.6.2",
)
