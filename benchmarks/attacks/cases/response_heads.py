"""Heads of responses: status lines and fields that a client could read in another way than the proxy."""

from __future__ import annotations

from benchmarks.attacks.case import EITHER, FORWARDED, REFUSED, WAITED, Table, Until

TABLE = Table("response-heads", "RFC 9112 4: HTTP-version SP status-code SP [ reason-phrase ]; else 502")
BAD = frozenset({502, 503, 0})
REST = b"X-Tag: attack\r\nContent-Length: 2\r\n"


def line(id: str, what: str, text: bytes, right: frozenset = REFUSED, **more: object) -> None:  # type: ignore[type-arg]
    if right == REFUSED:
        more.setdefault("statuses", BAD)
    TABLE.response(id, what, text + b"\r\n" + REST + b"\r\nok", right=right, **more)


def header(id: str, what: str, text: bytes, right: frozenset = REFUSED, **more: object) -> None:  # type: ignore[type-arg]
    more.setdefault("source", "RFC 9112 5, 9110 5.5")
    if right == REFUSED:
        more.setdefault("statuses", BAD)
    TABLE.response(id, what, b"HTTP/1.1 200 OK\r\n" + REST + text + b"\r\n\r\nok", right=right, **more)


line("plain", "200 OK", b"HTTP/1.1 200 OK", FORWARDED, body=b"ok")
line("no reason", "the space stays", b"HTTP/1.1 200 ", FORWARDED, body=b"ok")
line("no reason and no space", "as old servers send", b"HTTP/1.1 200", EITHER, body=b"ok")
line("reason of words", "anything", b"HTTP/1.1 200 A: b", FORWARDED, body=b"ok")
line("reason with non-ASCII", "obs-text", "HTTP/1.1 200 é".encode(), EITHER, body=b"ok")
line("reason with NUL", "NUL", b"HTTP/1.1 200 O\x00K", EITHER, body=b"ok")
line("reason with CR", "a bare CR", b"HTTP/1.1 200 OK\rX-B: 1", EITHER, body=b"ok", lacks=(b"x-b",))
line("reason with LF", "LF may end the line", b"HTTP/1.1 200 OK\nX-B: 1", EITHER, body=b"ok", source="RFC 9112 2.2")
line("reason with a control byte", "01", b"HTTP/1.1 200 O\x01K", EITHER, body=b"ok")
line("reason of 70,000 bytes", "a limit is the recipient's", b"HTTP/1.1 200 " + b"a" * 70_000, EITHER)
line("HTTP/1.0", "closes", b"HTTP/1.0 200 OK", FORWARDED, body=b"ok")
line("HTTP/1.2", "a later minor version", b"HTTP/1.2 200 OK", EITHER, body=b"ok", source="RFC 9110 2.5")
line("HTTP/2.0", "a major version that is written otherwise", b"HTTP/2.0 200 OK")
line("HTTP/0.9", "a version that has no fields", b"HTTP/0.9 200 OK")
line("HTTP/1.10", "two digits", b"HTTP/1.10 200 OK")
line("HTTP/1", "no minor version", b"HTTP/1 200 OK")
line("lower-case protocol", "http/1.1", b"http/1.1 200 OK")
line("other protocol", "ICY 200 OK", b"ICY 200 OK")
line(
    "two spaces", "before the code", b"HTTP/1.1  200 OK", EITHER, source="RFC 9112 4: words may be told by white space"
)
line("tab", "before the code", b"HTTP/1.1\t200 OK", EITHER, source="RFC 9112 4")
line("tab after the code", "before the reason", b"HTTP/1.1 200\tOK", EITHER, source="RFC 9112 4")
line("space first", "before the version", b" HTTP/1.1 200 OK", EITHER, source="RFC 9112 4")
line("no status", "a version alone", b"HTTP/1.1")
line("status 20", "two digits", b"HTTP/1.1 20 OK")
line("status 2000", "four digits", b"HTTP/1.1 2000 OK")
line("status 2x0", "a letter", b"HTTP/1.1 2x0 OK")
line("status -20", "a sign", b"HTTP/1.1 -20 OK")
line("status +200", "a sign", b"HTTP/1.1 +200 OK")
line("status 099", "below 100", b"HTTP/1.1 099 OK", REFUSED, source="RFC 9110 15: 100 to 599")
line("status 000", "no class", b"HTTP/1.1 000 OK", REFUSED, source="RFC 9110 15")
line("status 600", "above 599: as 5xx", b"HTTP/1.1 600 OK", EITHER, source="RFC 9110 15: to be treated as 5xx")
line("status 999", "what some sites send", b"HTTP/1.1 999 Denied", EITHER, source="RFC 9110 15")
line("status 299", "an unknown one of a known class", b"HTTP/1.1 299 OK", FORWARDED, body=b"ok", source="RFC 9110 15")
line(
    "CRLF first", "an empty line before", b"\r\nHTTP/1.1 200 OK", EITHER, source="RFC 9112 2.2 speaks of requests only"
)
line("garbage first", "bytes before", b"xx\r\nHTTP/1.1 200 OK")
line("a request", "a request line", b"GET / HTTP/1.1")
TABLE.response("no head", "a body and no head", b"<html>hello</html>", Until.CLOSE, statuses=BAD, right=REFUSED)
TABLE.response("nothing", "the connection ends", Until.CLOSE, statuses=BAD, right=REFUSED, source="RFC 9110 15.6.3")
TABLE.response("reset", "the connection breaks", Until.RESET, statuses=BAD, right=REFUSED, source="RFC 9110 15.6.3")
TABLE.response(
    "half a head",
    "ends within the fields",
    b"HTTP/1.1 200 OK\r\nX-Tag: att",
    Until.CLOSE,
    statuses=BAD,
    right=REFUSED,
    source="RFC 9112 8",
)
TABLE.response(
    "half a status line", "ends within it", b"HTTP/1.1 2", Until.CLOSE, statuses=BAD, right=REFUSED, source="RFC 9112 8"
)
TABLE.response(
    "head without an end",
    "the empty line does not come",
    b"HTTP/1.1 200 OK\r\nX-Tag: attack\r\n",
    right=WAITED,
    source="RFC 9112 8",
)
TABLE.response(
    "all LF",
    "LF ends every line",
    b"HTTP/1.1 200 OK\nX-Tag: attack\nContent-Length: 2\n\nok",
    right=EITHER,
    body=b"ok",
    source="RFC 9112 2.2",
)
header("space before the colon", "to be removed", b"X-A : 1", EITHER, source="RFC 9112 5.1: a proxy MUST remove it")
header("Content-Length with a space", "a length to some", b"Content-Length : 99", EITHER, source="RFC 9112 5.1, 6.3")
header("folded", "two lines", b"X-A: 1\r\n 2", EITHER, body=b"ok", source="RFC 9112 5.2: 502, or a space for the fold")
header(
    "fold hides a length",
    "Content-Length in a fold",
    b"X-A: 1\r\n Content-Length: 99",
    EITHER,
    body=b"ok",
    source="RFC 9112 5.2",
)
header("no colon", "nonsense", b"nonsense", REFUSED)
header("empty name", ": 1", b": 1", REFUSED)
header("name with a space", "X A: 1", b"X A: 1", REFUSED)
header("name with a control byte", "X 01 A", b"X\x01A: 1", REFUSED)
header("name with non-ASCII", "X-é", "X-é: 1".encode(), REFUSED)
header("name with NUL", "NUL", b"X\x00A: 1", REFUSED)
header("value with NUL", "to be refused or replaced", b"X-A: 1\x002", EITHER, body=b"ok")
header("value with CR", "to be refused or replaced", b"X-A: 1\rX-B: 2", EITHER, body=b"ok", lacks=(b"x-b",))
header("value with LF", "LF may end a line", b"X-A: 1\nX-B: 2", EITHER, body=b"ok", source="RFC 9112 2.2")
header(
    "value with LF and a cookie",
    "what splits for some",
    b"X-A: 1\nSet-Cookie: a=b",
    EITHER,
    body=b"ok",
    source="RFC 9112 2.2",
)
header(
    "value with CR and an answer",
    "an answer behind bare CRs",
    b"X-A: 1\r\rHTTP/1.1 200 OK\rX-Tag: injected\r\r",
    EITHER,
    body=b"ok",
)
header(
    "value with LF and an answer",
    "an answer behind LF LF",
    b"X-A: 1\n\nHTTP/1.1 200 OK\nX-Tag: injected\nContent-Length: 0\n\n",
    EITHER,
    source="RFC 9112 2.2",
)
header("value with a control byte", "01", b"X-A: 1\x012", EITHER, body=b"ok")
header("value with DEL", "7F", b"X-A: 1\x7f2", EITHER, body=b"ok")
header("value with non-ASCII", "obs-text", "X-A: é".encode(), FORWARDED, body=b"ok")
header("CR CR LF", "two CR before LF", b"X-A: 1\r", EITHER, body=b"ok")
header("200 fields", "more than a client might take", b"\r\n".join([b"X-A: 1"] * 200), EITHER)
header("value of 20,000 bytes", "a limit is the recipient's", b"X-A: " + b"a" * 20_000, EITHER)
header("value of 200,000 bytes", "a limit is the recipient's", b"X-A: " + b"a" * 200_000, EITHER)
header(
    "names Content-Length in Connection",
    "whoever strips it changes the end",
    b"Connection: Content-Length",
    EITHER,
    body=b"ok",
    source="RFC 9110 7.6.1",
)
header(
    "names its own in Connection",
    "is removed",
    b"Connection: X-Mine\r\nX-Mine: 1",
    FORWARDED,
    body=b"ok",
    lacks=(b"x-mine",),
    source="RFC 9110 7.6.1",
)
header("Keep-Alive", "ends here", b"Keep-Alive: timeout=5", FORWARDED, body=b"ok", source="RFC 9110 7.6.1")
header(
    "Upgrade unasked",
    "offers are for one hop",
    b"Connection: Upgrade\r\nUpgrade: h2c",
    FORWARDED,
    body=b"ok",
    lacks=(b"upgrade",),
    source="RFC 9110 7.6.1",
)
