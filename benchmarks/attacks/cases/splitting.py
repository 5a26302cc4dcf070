"""Splitting: what a client sends and the proxy writes again, in a Location, a path or an id, stays one line."""

from __future__ import annotations

from benchmarks.attacks.case import ANSWERED, EITHER, FORWARDED, HOST, Door, Table, get

TABLE = Table("splitting", "RFC 9110 5.5: no CR or LF in a value; RFC 3986 2.4: what is encoded stays encoded")
REDIRECT = ANSWERED | EITHER
SAFE = (b"x-b", b"set-cookie")


def line(id: str, what: str, text: bytes, right: frozenset = EITHER, **more: object) -> None:  # type: ignore[type-arg]
    more.setdefault("lacks", SAFE)
    more.setdefault("seen", (f"GET {text.decode('latin-1').partition('?')[0]}", "GET /after"))
    TABLE.request(id, what, b"GET " + text + b" HTTP/1.1\r\n" + HOST + b"\r\n", right=right, **more)


line("redirect", "a plain one", b"/moved/x", ANSWERED)
line("redirect, CRLF", "%0d%0a in the path of a redirect", b"/moved/x%0d%0aX-B:%201", REDIRECT)
line("redirect, LF", "%0a", b"/moved/x%0aX-B:%201", REDIRECT)
line("redirect, CR", "%0d", b"/moved/x%0dX-B:%201", REDIRECT)
line("redirect, two CRLF", "an answer within the answer", b"/moved/x%0d%0a%0d%0aHTTP/1.1%20200%20OK%0d%0a", REDIRECT)
line("redirect, CRLF in the query", "%0d%0a in the query", b"/moved/x?a=%0d%0aX-B:%201", REDIRECT)
line("redirect, low bytes", "U+010D U+010A", b"/moved/x%c4%8d%c4%8aX-B:1", REDIRECT)
line("redirect, double encoded", "%250d%250a", b"/moved/x%250d%250aX-B:1", REDIRECT)
line("redirect, to a host", "//evil.test behind the prefix", b"/moved//evil.test/x", REDIRECT)
line("redirect, to a host by a backslash", "/\\evil.test", b"/moved/%5cevil.test/x", REDIRECT)
line("redirect, NUL", "%00", b"/moved/x%00", REDIRECT)
line("redirect, tab", "%09", b"/moved/x%09y", REDIRECT)
line("redirect, quote", "what ends an attribute", b"/moved/x%22%3e%3cscript%3e", REDIRECT)
TABLE.request(
    "redirect, odd Host",
    "a Host that is echoed",
    b"GET /moved/x HTTP/1.1\r\nHost: a.test:80%0d%0aX-B:1\r\n\r\n",
    right=REDIRECT,
    lacks=SAFE,
    seen=("GET /moved/x", "GET /after"),
)
TABLE.request(
    "redirect of HTTP/1.0 without Host",
    "no host to name",
    b"GET /moved/x HTTP/1.0\r\n\r\n",
    right=REDIRECT,
    lacks=SAFE,
    seen=("GET /moved/x",),
    forwarded=1,
)
line("rewrite", "a plain one", b"/old/x", FORWARDED, targets=(b"/new/x",))
line("rewrite, CRLF", "%0d%0a in a rewritten path", b"/old/x%0d%0aX-B:%201", EITHER)
line("rewrite, LF", "%0a", b"/old/x%0aX-B:%201", EITHER)
line(
    "rewrite, space and version", "a request line within the path", b"/old/x%20HTTP/1.1%0d%0aHost:%20evil.test", EITHER
)
line(
    "rewrite, a whole request",
    "two CRLF and a request",
    b"/old/x%20HTTP/1.1%0d%0aHost:%20a%0d%0a%0d%0aGET%20/smuggled%20HTTP/1.1%0d%0aX:",
    EITHER,
)
line("rewrite, question mark", "%3f stays encoded", b"/old/x%3fa=b", EITHER, targets=(b"/new/x%3fa=b", b"/new/x%3Fa=b"))
line("rewrite, number sign", "%23 stays encoded", b"/old/x%23a", EITHER, targets=(b"/new/x%23a",))
line("rewrite, percent sign", "%25 stays encoded", b"/old/x%2541", EITHER, targets=(b"/new/x%2541",))
line("rewrite, query", "the query is not touched", b"/old/x?a=%0d%0a", FORWARDED, targets=(b"/new/x?a=%0d%0a",))
line(
    "rewrite, two slashes",
    "//evil.test behind the prefix",
    b"/old//evil.test/x",
    EITHER | ANSWERED,
    seen=("GET /old//evil.test/x", "GET /new//evil.test/x", "GET /new/evil.test/x", "GET /after"),
)
# A trusted peer may hand over a request id; a stranger may not, and neither may break a line with it.
ID = b"PROXY TCP4 192.0.2.1 198.51.100.7 4711 80\r\n"
for name, text in (
    ("quotes", b'a"b<c>'),
    ("spaces", b"a b  c"),
    ("UTF-8", "é".encode()),
    ("10,000 bytes", b"a" * 10_000),
    ("like a field", b"a, X-B: 1"),
):
    TABLE.request(
        f"request id of {name}",
        "an id that is echoed",
        get(b"X-Request-Id: " + text),
        right=EITHER,
        lacks=SAFE,
        seen=("GET /attack", "GET /after"),
    )
    TABLE.request(
        f"request id of {name}, from a trusted peer",
        "an id that is echoed, denied",
        ID + b"GET /secret HTTP/1.1\r\n" + HOST + b"X-Request-Id: " + text + b"\r\n\r\n",
        right=EITHER,
        lacks=SAFE,
        seen=("GET /secret", "GET /after"),
        door=Door.PROXY,
    )
TABLE.request(
    "problem details",
    "a path that is quoted in an error page",
    b"GET /open/%00%3cscript%3e HTTP/1.1\r\n" + HOST + b"Accept: application/json\r\n\r\n",
    right=EITHER,
    seen=("GET /open/%00%3cscript%3e", "GET /after"),
)
