"""Upgrades: a tunnel begins only when the server says so, and only for who asked; otherwise what follows is HTTP.

The request behind an upgrade is GET /secret, which the proxy denies: the server sees it only if the proxy believes in a
tunnel that is none.
"""

from __future__ import annotations

from benchmarks.attacks.case import ANSWERED, EITHER, FORWARDED, HOST, REFUSED, WAITED, Step, Table, Until, get, post

TABLE = Table("upgrades", "RFC 9110 7.8, 15.2.2: bytes are a tunnel after 101 only")
SECRET = b"GET /secret HTTP/1.1\r\n" + HOST + b"\r\n"
UPGRADE = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")


def answer(line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    length = () if line.startswith(b"101") else (b"Content-Length: %d" % len(body),)
    return (
        b"HTTP/1.1 "
        + line
        + b"\r\nX-Tag: attack\r\n"
        + b"".join(text + b"\r\n" for text in (*length, *fields))
        + b"\r\n"
        + body
    )


SWITCHING = answer(b"101 Switching Protocols", b"Connection: Upgrade", b"Upgrade: websocket")
SWITCHING_H2C = answer(b"101 Switching Protocols", b"Connection: Upgrade", b"Upgrade: h2c")
NO = answer(b"200 OK", body=b"no")
ANY = EITHER | ANSWERED | WAITED


def refused(id: str, what: str, head: bytes, reply: bytes, right: frozenset = EITHER, **more: object) -> None:  # type: ignore[type-arg]
    """The server does not upgrade; GET /secret behind it is denied by the proxy, or not read at all."""
    more.setdefault("forwarded", 2)
    more.setdefault("of_response", right == REFUSED)
    more.setdefault("seen", (head.split(b" HTTP")[0].decode(),))
    TABLE.add(id, what, head, Until.ANSWER, SECRET, right=right, answers=(reply,), **more)


def at_once(id: str, what: str, head: bytes, *reply: Step, right: frozenset = ANY, **more: object) -> None:  # type: ignore[type-arg]
    TABLE.add(
        id, what, head + SECRET, right=right, answers=reply or (NO,), seen=(head.split(b" HTTP")[0].decode(),), **more
    )


TABLE.add(
    "accepted",
    "101, and then whatever the client sends",
    get(*UPGRADE),
    Until.ANSWER,
    SECRET,
    right=FORWARDED,
    answers=(SWITCHING,),
    seen=("GET /attack", "GET /secret"),
    forwarded=1,
)
refused("refused with 200", "the server answers", get(*UPGRADE), NO)
refused(
    "refused with 426",
    "a version that it does not have",
    get(*UPGRADE).replace(b"13", b"777"),
    answer(b"426 Upgrade Required", b"Sec-WebSocket-Version: 13"),
)
refused("refused with 403", "an error", get(*UPGRADE), answer(b"403 Forbidden"))
refused(
    "refused with 400 and close",
    "an error, and the end",
    get(*UPGRADE),
    answer(b"400 Bad Request", b"Connection: close"),
    forwarded=1,
)
refused(
    "refused with Upgrade in the answer",
    "200 that names a protocol",
    get(*UPGRADE),
    answer(b"200 OK", b"Upgrade: websocket", b"Connection: Upgrade"),
)
at_once("refused, bytes at once", "the bytes come with the request", get(*UPGRADE), right=EITHER, forwarded=2)
refused("101 unasked", "a server that upgrades whom it likes", get(), SWITCHING, right=REFUSED)
refused(
    "101 to Upgrade without Connection",
    "an upgrade that was none",
    get(b"Upgrade: websocket"),
    SWITCHING,
    right=REFUSED,
)
refused("101 to Connection without Upgrade", "the other half", get(b"Connection: Upgrade"), SWITCHING, right=REFUSED)
refused(
    "101 to HTTP/1.0",
    "HTTP/1.0 cannot upgrade",
    b"GET /attack HTTP/1.0\r\n" + HOST + b"\r\n".join(UPGRADE) + b"\r\n\r\n",
    SWITCHING,
    right=REFUSED,
    forwarded=1,
)
refused(
    "101 to POST with a body",
    "a body is under way",
    post(*UPGRADE, b"Content-Length: 2", body=b"hi"),
    SWITCHING,
    right=EITHER | WAITED,
    seen=("POST /attack", "GET /secret"),
)
refused(
    "h2c",
    "an upgrade that would carry requests past all rules",
    get(*H2C),
    SWITCHING_H2C,
    right=REFUSED,
    source="RFC 9113 3.1 (h2c is no more), 9110 7.8",
)
refused(
    "h2c without HTTP2-Settings",
    "the short form",
    get(b"Connection: Upgrade", b"Upgrade: h2c"),
    SWITCHING_H2C,
    right=REFUSED,
    source="RFC 9113 3.1, 9110 7.8",
)
refused(
    "h2c in upper case",
    "H2C",
    get(b"Connection: Upgrade", b"Upgrade: H2C"),
    SWITCHING_H2C,
    right=REFUSED,
    source="RFC 9113 3.1",
)
refused(
    "h2c in a list",
    "websocket, h2c",
    get(b"Connection: Upgrade", b"Upgrade: websocket, h2c"),
    SWITCHING_H2C,
    right=REFUSED,
    source="RFC 9113 3.1",
)
refused(
    "h2c in a second field",
    "two Upgrade fields",
    get(b"Connection: Upgrade", b"Upgrade: websocket", b"Upgrade: h2c"),
    SWITCHING_H2C,
    right=REFUSED,
    source="RFC 9113 3.1",
)
refused("h2c, refused", "200 in place of 101", get(*H2C), NO)
TABLE.request(
    "h2c is not passed on",
    "neither field nor its settings",
    get(*H2C),
    right=EITHER,
    lacks=(b"http2-settings", b"upgrade"),
    seen=("GET /attack", "GET /after"),
    source="RFC 9113 3.1",
)
refused("TLS upgrade", "Upgrade: TLS/1.0", get(b"Connection: Upgrade", b"Upgrade: TLS/1.0"), NO, source="RFC 2817")
at_once(
    "CONNECT",
    "a tunnel to anywhere, and a server that says 200",
    b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n",
    right=REFUSED,
    source="RFC 9110 9.3.6: not for a gateway",
)
at_once(
    "CONNECT with a path",
    "CONNECT /attack",
    b"CONNECT /attack HTTP/1.1\r\n" + HOST + b"\r\n",
    right=REFUSED,
    source="RFC 9112 3.2.3",
)
at_once(
    "CONNECT with a length",
    "a body that is none",
    b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\nContent-Length: 2\r\n\r\nhi",
    right=REFUSED,
    source="RFC 9110 9.3.6",
)
at_once(
    "CONNECT of HTTP/1.0", "the old form", b"CONNECT a.test:80 HTTP/1.0\r\n\r\n", right=REFUSED, source="RFC 9110 9.3.6"
)
at_once(
    "CONNECT in lower case",
    "connect is another method",
    b"connect a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n",
    right=REFUSED,
    source="RFC 9112 3.2.3: authority-form is for CONNECT",
)
