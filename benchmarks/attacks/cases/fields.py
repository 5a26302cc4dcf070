"""Field names and values."""

from __future__ import annotations

from benchmarks.attacks.case import EITHER, FORWARDED, Table, get

TABLE = Table("fields", "RFC 9112 5: name, colon, optional white space, value, optional white space")
BAD = frozenset({400})


def line(id: str, what: str, text: bytes, right: frozenset | None = None, **more: object) -> None:  # type: ignore[type-arg]
    if right is None:
        TABLE.request(id, what, get(text), statuses=BAD, **more)
    else:
        TABLE.request(id, what, get(text), right=right, **more)


line("space before the colon", "X-A : 1", b"X-A : 1", source="RFC 9112 5.1")
line("tab before the colon", "X-A TAB : 1", b"X-A\t: 1", source="RFC 9112 5.1")
line("no colon", "nonsense", b"nonsense")
line("empty name", ": 1", b": 1")
line("only a colon", ":", b":")
line("name in parentheses", "(X): 1", b"(X): 1")
line("name with a slash", "X/A: 1", b"X/A: 1")
line("name with an at sign", "X@A: 1", b"X@A: 1")
line("name with a comma", "X,A: 1", b"X,A: 1")
line("name with a semicolon", "X;A: 1", b"X;A: 1")
line("name with an equals sign", "X=A: 1", b"X=A: 1")
line("name in quotes", '"X-A": 1', b'"X-A": 1')
line("name with brackets", "X[A]: 1", b"X[A]: 1")
line("name with a question mark", "X?: 1", b"X?: 1")
line("name with braces", "{X}: 1", b"{X}: 1")
line("name with a backslash", "X\\A: 1", b"X\\A: 1")
line("name with non-ASCII", "X-é", "X-é: 1".encode())
line("name with a control byte", "X 01 A", b"X\x01A: 1")
line("name with DEL", "X 7F A", b"X\x7fA: 1")
line(
    "name of odd tokens", "all that a token may hold", b"!#$%&'*+-.^`|~9aZ: 1", right=FORWARDED, source="RFC 9110 5.6.2"
)
line("value empty", "X-A:", b"X-A:", right=FORWARDED)
line("value of blanks", "only optional white space", b"X-A:  \t ", right=FORWARDED)
line("value with a control byte", "1 01 2", b"X-A: 1\x012", source="RFC 9110 5.5")
line("value with DEL", "1 7F 2", b"X-A: 1\x7f2", source="RFC 9110 5.5")
line("value with ESC", "what a terminal takes for a command", b"X-A: \x1b[2J", source="RFC 9110 5.5")
line("value with a backspace", "what hides in a log", b"X-A: abc\x08\x08\x08", source="RFC 9110 5.5")
line("value with a tab", "a tab inside is fine", b"X-A: 1\t2", right=FORWARDED, source="RFC 9110 5.5")
line("value with UTF-8", "obs-text", "X-A: é".encode(), right=EITHER, source="RFC 9110 5.5")
line("value with bytes that are no UTF-8", "FE FF", b"X-A: \xfe\xff", right=EITHER, source="RFC 9110 5.5")
line("value with a colon", "a : b : c", b"X-A: a : b : c", right=FORWARDED)
line("value like a field", "Transfer-Encoding: chunked as a value", b"X-A: Transfer-Encoding: chunked", right=FORWARDED)
line("value like CRLF, encoded", "%0d%0a stays as it is", b"X-A: 1%0d%0aX-B: 2", right=FORWARDED, lacks=(b"x-b",))
line("value like CRLF, escaped", "backslash r, backslash n", b"X-A: 1\\r\\nX-B: 2", right=FORWARDED, lacks=(b"x-b",))
line(
    "value of 4,000 spaces",
    "white space that is trimmed slowly by some",
    b"X-A: 1" + b" " * 4000 + b"2",
    right=FORWARDED,
)
line("pseudo-header", ":path: /secret", b":path: /secret", source="RFC 9110 5.1")
line("pseudo-header authority", ":authority: evil.test", b":authority: evil.test", source="RFC 9110 5.1")
line(
    "X_Real_IP",
    "an address in the spelling of CGI",
    b"X_Real_IP: 192.0.2.9",
    right=EITHER,
    lacks=(b"x_real_ip",),
    source="RFC 3875 4.1.18: CGI makes both names one",
)
line(
    "X_Forwarded_For",
    "the same",
    b"X_Forwarded_For: 192.0.2.9",
    right=EITHER,
    lacks=(b"x_forwarded_for",),
    source="RFC 3875 4.1.18",
)
line(
    "X-Forwarded_Proto",
    "half of the hyphens",
    b"X-Forwarded_Proto: https",
    right=EITHER,
    lacks=(b"x-forwarded_proto",),
    source="RFC 3875 4.1.18",
)
line(
    "X-Forwarded-For",
    "an address that a stranger claims",
    b"X-Forwarded-For: 192.0.2.9",
    right=FORWARDED,
    last={b"x-forwarded-for": b"127.0.0.2"},
    source="RFC 7239 8.1: not to be believed",
)
TABLE.request(
    "X-Forwarded-For twice",
    "two fields, one before and one after Host",
    get(b"X-Forwarded-For: 192.0.2.9", b"X-Forwarded-For: 192.0.2.8"),
    right=FORWARDED,
    last={b"x-forwarded-for": b"127.0.0.2"},
    source="RFC 7239 8.1",
)
TABLE.request(
    "Authorization twice",
    "which one counts?",
    get(b"Authorization: Basic eA==", b"Authorization: Basic eQ=="),
    right=EITHER,
    source="RFC 9110 5.3: not a list; what then happens is the server's",
)
TABLE.request(
    "Content-Type twice",
    "which one counts?",
    get(b"Content-Type: text/plain", b"Content-Type: text/html"),
    right=EITHER,
    source="RFC 9110 5.3",
)
line(
    "httpoxy",
    "Proxy: evil, which CGI makes HTTP_PROXY",
    b"Proxy: http://evil.test/",
    right=EITHER,
    source="CVE-2016-5385",
)
