"""Sizes: what is too much is refused, and what is not is passed on; nothing in between, and no desync at the border."""

from __future__ import annotations

from benchmarks.attacks.case import ANSWERED, EITHER, HOST, REFUSED, WAITED, Table, get, post

TABLE = Table("sizes", "RFC 9110 5.4, 15.5.15, RFC 6585 5: limits are the server's; 414, 431 or 400 tell of them")
TOO_LARGE = frozenset({400, 413, 414, 431})


def size(id: str, what: str, data: bytes, **more: object) -> None:
    more.setdefault("right", EITHER)
    more.setdefault("statuses", TOO_LARGE)
    more.setdefault("seen", ("GET /attack", "GET /after"))
    TABLE.request(id, what, data, **more)  # type: ignore[arg-type]


size("100 fields", "a hundred, with Host", get(*(b"X-%d: 1" % n for n in range(99))))
size("101 fields", "one more", get(*(b"X-%d: 1" % n for n in range(100))))
size("1,500 fields", "a flood", get(*(b"X-%d: 1" % n for n in range(1500))))
size("1,500 empty fields", "no value at all", get(*(b"A:" for n in range(1500))))
size("300 Host-like fields", "one name again and again", get(*(b"Cookie: a=b" for n in range(300))))
size("value of 8,100 bytes", "below the usual limit", get(b"X-A: " + b"a" * 8100))
size("value of 16,400 bytes", "above a usual buffer", get(b"X-A: " + b"a" * 16_400))
size("value of 70,000 bytes", "above 64 KiB", get(b"X-A: " + b"a" * 70_000))
size("value of 200,000 bytes", "far above", get(b"X-A: " + b"a" * 200_000))
size("name of 300 bytes", "longer than a byte counts", get(b"X" * 300 + b": 1"))
size("name of 70,000 bytes", "longer than 16 bits count", get(b"X" * 70_000 + b": 1"))
size(
    "target of 8,100 bytes",
    "below the usual limit",
    b"GET /attack" + b"a" * 8100 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    seen=("GET /attack" + "a" * 8100, "GET /after"),
)
size(
    "target of 20,000 bytes",
    "above it",
    b"GET /attack" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    seen=("GET /attack" + "a" * 20_000, "GET /after"),
)
size(
    "target of 70,000 bytes",
    "above 16 bits",
    b"GET /attack" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    seen=("GET /attack" + "a" * 70_000, "GET /after"),
)
size(
    "query of 70,000 bytes",
    "the same in the query",
    b"GET /attack?" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
)
TABLE.add(
    "endless target",
    "a request line that does not end",
    b"GET /" + b"a" * 200_000,
    right=REFUSED | WAITED,
    statuses=TOO_LARGE,
    seen=(),
)
TABLE.add("endless method", "a method that does not end", b"G" * 200_000, right=REFUSED | WAITED, seen=())
TABLE.add(
    "endless name",
    "a name that does not end",
    b"GET /attack HTTP/1.1\r\n" + HOST + b"X" * 200_000,
    right=REFUSED | WAITED,
    statuses=TOO_LARGE,
    seen=(),
)
TABLE.add(
    "endless value",
    "a value that does not end",
    b"GET /attack HTTP/1.1\r\n" + HOST + b"X: " + b"1" * 200_000,
    right=REFUSED | WAITED,
    statuses=TOO_LARGE,
    seen=(),
)
TABLE.add(
    "endless fields",
    "fields and no end",
    b"GET /attack HTTP/1.1\r\n" + HOST + b"X: 1\r\n" * 20_000,
    right=REFUSED | WAITED,
    statuses=TOO_LARGE,
    seen=(),
)
size(
    "many dots",
    "a path of 2,000 dot segments",
    b"GET " + b"/.." * 2000 + b"/attack HTTP/1.1\r\n" + HOST + b"\r\n",
    right=EITHER | ANSWERED,
    seen=("GET /attack", "GET " + "/.." * 2000 + "/attack", "GET /after"),
)
size(
    "value of 70,000 bytes behind a body",
    "a large second request",
    post(b"Content-Length: 2", body=b"hi") + get(b"X-A: " + b"a" * 70_000),
    seen=("POST /attack", "GET /attack", "GET /after"),
    forwarded=3,
)
