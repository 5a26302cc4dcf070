"""HTTP/1, TLS or something else, told by the first bytes of a connection.

HTTP/1 begins with a method and a target (RFC 9112 section 3). Many protocols begin with a word and a space (a PROXY
line, SSH's greeting, SIP, commands of mail, chat and caches), so the target is looked at as well: it begins with "/",
"*", "http://" or "https://", or the method is CONNECT. HTTP/2 without TLS (RFC 9113 section 3.4) is something else:
its preface was made to look like a request that nobody sends.
"""

from __future__ import annotations

import re
from enum import Enum

# The longest registered method has 17 bytes.
MAX_METHOD = 32
# More bytes than this are never needed.
ENOUGH = MAX_METHOD + 1 + len(b"https://")

_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_TARGETS = (b"/", b"*", b"http://", b"https://")
_TLS_BEGIN = b"\x16\x03"  # a record with a piece of a handshake, of any version of TLS


class Kind(Enum):
    HTTP = "http"
    TLS = "tls"
    OTHER = "other"
    NEED_MORE = "need more"


def detect(data: bytes) -> Kind:
    """What a connection that begins with `data` speaks."""
    if not data:
        return Kind.NEED_MORE
    if data[0] == _TLS_BEGIN[0]:
        return _as_far(data, (_TLS_BEGIN,), Kind.TLS)
    method, space, target = data[: ENOUGH + 1].partition(b" ")
    if not method or len(method) > MAX_METHOD or not _METHOD.fullmatch(method) or method == b"PRI":
        return Kind.NEED_MORE if method == b"PRI" and not space else Kind.OTHER
    if not space:
        return Kind.NEED_MORE
    if method == b"CONNECT":
        return Kind.HTTP
    return _as_far(target.lower(), _TARGETS, Kind.HTTP)


def _as_far(data: bytes, beginnings: tuple[bytes, ...], kind: Kind) -> Kind:
    if data.startswith(beginnings):
        return kind
    return Kind.NEED_MORE if any(begin.startswith(data) for begin in beginnings) else Kind.OTHER
