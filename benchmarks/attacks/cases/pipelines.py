"""Requests behind each other: in order and at once, with a bad one in between, and what HTTP/1.0 makes of it."""

from __future__ import annotations

from benchmarks.attacks.case import AFTER, EITHER, FORWARDED, HOST, SMUGGLED, Table, chunked, get, post

TABLE = Table("pipelines", "RFC 9112 9.3.2: answers in the order of requests; after an error, none")
CHUNK = b"2\r\nhi\r\n0\r\n\r\n"


def add(id: str, what: str, *sends: bytes, right: frozenset = FORWARDED, seen: tuple[str, ...], **more: object) -> None:  # type: ignore[type-arg]
    more.setdefault("forwarded", len(seen))
    TABLE.add(id, what, *sends, right=right, seen=seen, **more)


one, two = b"GET /one HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /two HTTP/1.1\r\n" + HOST + b"\r\n"
add("three", "three at once", one + two + AFTER, seen=("GET /one", "GET /two", "GET /after"))
add("twenty", "twenty at once", one * 19 + AFTER, seen=("GET /one",) * 19 + ("GET /after",))
add(
    "after a length",
    "behind a body",
    post(b"Content-Length: 2", body=b"hi") + AFTER,
    seen=("POST /attack", "GET /after"),
)
add("after chunks", "behind chunks", chunked(CHUNK) + AFTER, seen=("POST /attack", "GET /after"))
add(
    "after chunks and trailers",
    "behind trailers",
    chunked(b"0\r\nX-A: 1\r\n\r\n") + AFTER,
    seen=("POST /attack", "GET /after"),
)
add("after HEAD", "behind HEAD", post(method=b"HEAD") + AFTER, seen=("HEAD /attack", "GET /after"))
add(
    "empty line between",
    "CRLF after a body, as old clients send",
    post(b"Content-Length: 2", body=b"hi") + b"\r\n" + AFTER,
    seen=("POST /attack", "GET /after"),
    source="RFC 9112 2.2",
)
add(
    "split within the head",
    "in pieces",
    one[:10],
    one[10:] + two[:5],
    two[5:] + AFTER,
    seen=("GET /one", "GET /two", "GET /after"),
)
add("split within CRLF", "CR, and LF later", one[:-1], b"\n" + AFTER, seen=("GET /one", "GET /after"))
add(
    "split chunk size",
    "1 and 0 of 10",
    chunked(b"1"),
    b"0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n" + AFTER,
    seen=("POST /attack", "GET /after"),
    body=b"a" * 16,
)
add(
    "split chunk end",
    "CR, and LF later",
    chunked(b"2\r\nhi\r"),
    b"\n0\r\n\r",
    b"\n" + AFTER,
    seen=("POST /attack", "GET /after"),
    body=b"hi",
)
add(
    "bad second",
    "a good one, a bad one, a third",
    one + b"GET /two HTTP/1.1\r\n" + HOST + b"X-A : 1\r\n\r\n" + SMUGGLED,
    seen=("GET /one",),
)
add(
    "garbage second",
    "a good one, and then what is no request",
    one + b"\x00\x01\x02\r\n\r\n" + SMUGGLED,
    seen=("GET /one",),
)
add(
    "bad framing second",
    "a good one, then both framings",
    one + post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n") + SMUGGLED,
    seen=("GET /one", "POST /attack"),
    forwarded=2,
)
add(
    "after close",
    "Connection: close, and then another",
    get(b"Connection: close") + SMUGGLED,
    seen=("GET /attack",),
    source="RFC 9112 9.6: no more requests are read",
)
add(
    "after close in a list",
    "close among other options",
    get(b"Connection: x, CLOSE ,y") + SMUGGLED,
    seen=("GET /attack",),
    source="RFC 9112 9.6",
)
add(
    "after close in a second field",
    "keep-alive and close",
    get(b"Connection: keep-alive", b"Connection: close") + SMUGGLED,
    seen=("GET /attack",),
    source="RFC 9112 9.3: close counts",
)
add(
    "after HTTP/1.0",
    "HTTP/1.0 closes",
    b"GET /attack HTTP/1.0\r\n" + HOST + b"\r\n" + SMUGGLED,
    seen=("GET /attack",),
    source="RFC 9112 9.3",
)
add(
    "after HTTP/1.0 with close and keep-alive",
    "close counts",
    b"GET /attack HTTP/1.0\r\n" + HOST + b"Connection: close, keep-alive\r\n\r\n" + SMUGGLED,
    seen=("GET /attack",),
    source="RFC 9112 9.3",
)
add(
    "after HTTP/1.0 kept",
    "keep-alive",
    b"GET /attack HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n\r\n" + AFTER,
    seen=("GET /attack", "GET /after"),
    source="RFC 9112 C.2.2",
)
add(
    "HTTP/1.0 and Proxy-Connection",
    "Proxy-Connection keeps nothing",
    b"GET /attack HTTP/1.0\r\n" + HOST + b"Proxy-Connection: keep-alive\r\n\r\n" + SMUGGLED,
    seen=("GET /attack",),
    source="RFC 9112 C.2.2",
    right=FORWARDED,
)
add(
    "HTTP/1.0 after 1.1",
    "versions in turn",
    one + b"GET /two HTTP/1.0\r\n" + HOST + b"\r\n" + SMUGGLED,
    seen=("GET /one", "GET /two"),
)
add(
    "response behind a request",
    "what a response is no request",
    one + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    seen=("GET /one",),
)
add(
    "two bodies, one head of doubt",
    "a body whose end looks like another head",
    post(b"Content-Length: 2", body=b"GE") + b"T /smuggled HTTP/1.1\r\n" + HOST + b"\r\n",
    seen=("POST /attack", "T /smuggled"),
    right=EITHER,
)
add("many posts", "twenty bodies", post(b"Content-Length: 2", body=b"hi") * 20, seen=("POST /attack",) * 20)
