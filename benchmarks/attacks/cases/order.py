"""Answers that do not belong: after a body that may not be there, more than one, before any question, interim ones."""

from __future__ import annotations

from benchmarks.attacks.case import CUT, EITHER, FORWARDED, REFUSED, Step, Table, Until

TABLE = Table("order", "RFC 9112 9.2, 6.3: an answer belongs to the oldest question; what is more belongs to nobody")
INJECTED = b"HTTP/1.1 200 OK\r\nX-Tag: injected\r\nContent-Length: 0\r\n\r\n"
GOOD = b"HTTP/1.1 200 OK\r\nX-Tag: attack\r\nContent-Length: 2\r\n\r\nok"


def add(id: str, what: str, *answers: Step, right: frozenset = FORWARDED, **more: object) -> None:  # type: ignore[type-arg]
    TABLE.response(id, what, *answers, right=right, **more)


def head(status: bytes, *fields: bytes) -> bytes:
    return b"HTTP/1.1 " + status + b"\r\nX-Tag: attack\r\n" + b"".join(line + b"\r\n" for line in fields) + b"\r\n"


add("second answer", "a whole answer behind the right one", GOOD + INJECTED)
add("second answer, apart", "the same, in another piece", GOOD, INJECTED)
add("second answer, later", "when the first has been delivered", GOOD, Until.ANSWER, INJECTED)
add("half an answer, later", "its end would come with the next", GOOD, Until.ANSWER, INJECTED[:30])
add("ten answers", "a queue of them", GOOD + INJECTED * 10)
add("a byte too many", "X", GOOD + b"X")
add("CRLF too many", "an empty line", GOOD + b"\r\n")
add("half a second answer", "its end would come with the next", GOOD + INJECTED[:30])
add("interim after the answer", "100 behind the right one", GOOD + b"HTTP/1.1 100 Continue\r\n\r\n")
add(
    "408 after the answer",
    "what servers say when they are tired",
    GOOD,
    Until.ANSWER,
    b"HTTP/1.1 408 Timeout\r\nX-Tag: injected\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    Until.CLOSE,
)
add("close after the answer", "closed when idle", GOOD, Until.ANSWER, Until.CLOSE)
add("reset after the answer", "reset when idle", GOOD, Until.ANSWER, Until.RESET)
add(
    "204 with a length",
    "no body, whatever it says",
    head(b"204 No Content", b"Content-Length: 5") + b"hello",
    right=EITHER,
    source="RFC 9110 15.3.5, 8.6: no length in 204",
)
add(
    "204 with an answer as body",
    "no body",
    head(b"204 No Content", b"Content-Length: %d" % len(INJECTED)) + INJECTED,
    right=EITHER,
    source="RFC 9110 15.3.5, 8.6",
)
add(
    "204 with chunks",
    "no body",
    head(b"204 No Content", b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n",
    right=EITHER,
    source="RFC 9112 6.1: no Transfer-Encoding in 204",
)
add(
    "304 with a length",
    "no body: the length is that of the other answer",
    head(b"304 Not Modified", b"Content-Length: 5"),
    source="RFC 9110 15.4.5",
)
add(
    "304 with a body",
    "no body all the same",
    head(b"304 Not Modified", b"Content-Length: 5") + b"hello",
    source="RFC 9110 15.4.5",
)
add(
    "304 with an answer as body",
    "no body all the same",
    head(b"304 Not Modified", b"Content-Length: %d" % len(INJECTED)) + INJECTED,
    source="RFC 9110 15.4.5",
)
add(
    "205 with a body",
    "205 has a length",
    head(b"205 Reset Content", b"Content-Length: 5") + b"hello",
    right=EITHER,
    source="RFC 9110 15.3.6",
)
add(
    "HEAD with a body",
    "no body, whatever it says",
    head(b"200 OK", b"Content-Length: 5") + b"hello",
    to=b"HEAD",
    source="RFC 9110 9.3.2",
)
add(
    "HEAD with an answer as body",
    "no body",
    head(b"200 OK", b"Content-Length: %d" % len(INJECTED)) + INJECTED,
    to=b"HEAD",
    source="RFC 9110 9.3.2",
)
add(
    "HEAD with chunks",
    "no body",
    head(b"200 OK", b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n",
    to=b"HEAD",
    source="RFC 9110 9.3.2",
)
add("HEAD without a length", "the connection stays", head(b"200 OK"), to=b"HEAD", source="RFC 9110 9.3.2")
add(
    "100 before the answer",
    "a 100 that nobody asked for",
    b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD,
    source="RFC 9110 15.2",
)
add("103 before the answer", "early hints", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + GOOD, source="RFC 8297")
add(
    "199 before the answer",
    "an unknown one",
    b"HTTP/1.1 199 X\r\n\r\n" + GOOD,
    source="RFC 9110 15.2: unknown 1xx are skipped",
)
add("102 before the answer", "processing", b"HTTP/1.1 102 Processing\r\n\r\n" + GOOD, source="RFC 9110 15.2")
add(
    "100 with a length",
    "1xx has no body",
    b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n" + GOOD,
    right=EITHER,
    source="RFC 9110 15.2, 8.6",
)
add(
    "100 with a body",
    "what follows is no answer",
    b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello" + GOOD,
    right=EITHER,
    source="RFC 9110 15.2, 8.6",
)
add(
    "100 with chunks",
    "1xx has no body",
    b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n" + GOOD,
    right=EITHER,
    source="RFC 9112 6.1",
)
add("100 and the end", "no answer comes", b"HTTP/1.1 100 Continue\r\n\r\n", Until.CLOSE, right=CUT, source="RFC 9112 8")
add(
    "10 interim answers",
    "within reason",
    b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10 + GOOD,
    right=EITHER,
    source="RFC 9110 15.2",
)
add(
    "500 interim answers",
    "a flood",
    b"HTTP/1.1 103 Early Hints\r\n\r\n" * 500 + GOOD,
    right=EITHER | CUT,
    source="RFC 9110 15.2",
)
add(
    "101 unasked",
    "no upgrade was asked for",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" + INJECTED,
    right=REFUSED,
    source="RFC 9110 15.2.2",
)
add(
    "answer and close",
    "says close, and stays",
    head(b"200 OK", b"Connection: close", b"Content-Length: 2") + b"ok" + INJECTED,
    source="RFC 9112 9.6",
)
add(
    "HTTP/1.0 answer",
    "closes without saying so",
    GOOD.replace(b"HTTP/1.1", b"HTTP/1.0") + INJECTED,
    source="RFC 9112 9.3",
)
