"""What clients of HTTP/1.0 get: they read no chunks and no interim answers."""

from __future__ import annotations

from benchmarks.attacks.case import CUT, FORWARDED, HOST, Step, Table, Until

TABLE = Table("old-clients", "RFC 9112 6.1, 9110 15.2: nothing that HTTP/1.0 does not have is sent to it")
ASK = b"GET /attack HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n\r\n"
TE = b"HTTP/1.1 200 OK\r\nX-Tag: attack\r\nTransfer-Encoding: chunked\r\n\r\n"
GOOD = b"HTTP/1.1 200 OK\r\nX-Tag: attack\r\nContent-Length: 2\r\n\r\nok"


def add(id: str, what: str, *answers: Step, right: frozenset = FORWARDED, **more: object) -> None:  # type: ignore[type-arg]
    TABLE.add(
        id,
        what,
        ASK,
        Until.ANSWER,
        right=right,
        answers=answers,
        of_response=True,
        seen=("GET /attack",),
        forwarded=1,
        **more,
    )


add("chunks", "are taken apart", TE + b"5\r\nhello\r\n0\r\n\r\n", body=b"hello", lacks=(b"transfer-encoding",))
add("chunks cut short", "the end is missing, and the client must know", TE + b"5\r\nhello\r\n", Until.CLOSE, right=CUT)
add("chunks gone bad", "the end is missing, and the client must know", TE + b"5\r\nhello\r\nx\r\n", right=CUT)
add("interim", "is not passed on", b"HTTP/1.1 103 Early Hints\r\nX-Tag: injected\r\n\r\n" + GOOD, body=b"ok")
add("until close", "as it is", b"HTTP/1.1 200 OK\r\nX-Tag: attack\r\n\r\nhello", Until.CLOSE, body=b"hello")
