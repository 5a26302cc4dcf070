"""Request targets and paths: taking a target apart, one spelling per path, replacing a prefix.

Routes are matched against the normalised path and the same bytes go upstream, so that a route, an access rule and
the server behind them cannot disagree about what was asked for. Normalising follows RFC 3986: percent-encoded
unreserved characters are decoded (6.2.2.2), hex digits that stay are upper case (6.2.2.1), dot segments are removed
(5.2.4), however they were written. Normalising twice changes nothing.
Never lets a path climb above its root and never decodes a character that has a meaning of its own.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from discovery.model import EscapePolicy

ROOT = b"/"
ASTERISK = b"*"
SLASH, DOT, PERCENT, BACKSLASH = b"/.%\\"
FIRST_VISIBLE, LAST_VISIBLE = 0x21, 0x7E
QUESTION, HASH = b"?#"

HEX = b"0123456789ABCDEF"
UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")  # RFC 3986 2.3
DISPUTED = frozenset(b"/\\")  # encoded, they are path separators to some servers and not to others


class PathError(ValueError):
    """A request target or path that is refused. The message says which byte and why."""


class TargetForm(StrEnum):
    """RFC 9112 section 3.2, without authority-form."""

    ORIGIN = "origin"
    ABSOLUTE = "absolute"
    ASTERISK = "asterisk"


class Target(NamedTuple):
    """A request target taken apart. `path` is not normalised. `scheme` (lower case) and `authority` are b"" unless
    the form is absolute. `has_query` tells "/?" from "/"; `query` is what follows the first "?"."""

    form: TargetForm
    scheme: bytes
    authority: bytes
    path: bytes
    query: bytes
    has_query: bool


def is_plain(path: bytes) -> bool:
    """True when normalising `path` surely changes nothing; False when it has to be looked at."""
    size = len(path)
    if size == 0 or path[0] != SLASH:
        return path == ASTERISK
    previous = 0
    for byte in path:
        if byte < FIRST_VISIBLE or byte > LAST_VISIBLE or byte in (PERCENT, BACKSLASH, QUESTION, HASH):
            return False
        if previous == SLASH and byte in (SLASH, DOT):
            return False
        previous = byte
    return True


def normalise(path: bytes, escapes: EscapePolicy, merge_slashes: bool) -> bytes:
    """The one spelling of `path`, b"*" as it is.

    Slashes are merged before dot segments are removed, so that /a//../b is /b as servers that merge see it. A raw
    backslash is treated as its escape is. PathError for everything that RFC 3986 does not allow in a path, for NUL
    in any spelling, and by `escapes` for %2F and %5C.
    """
    if is_plain(path):
        return path
    if not path.startswith(ROOT):
        raise PathError(f"path {path[:80]!r} does not begin with a slash")
    segments = _decode(path, escapes).split(ROOT)[1:]
    if merge_slashes:
        segments = [segment for segment in segments[:-1] if segment] + segments[-1:]
    kept: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):  # a directory: its slash stays
        kept.append(b"")
    return ROOT + ROOT.join(kept)


def replace_prefix(path: bytes, matched_prefix: bytes, replacement: bytes) -> bytes:
    """`path` with the prefix that matched replaced (Gateway API, ReplacePrefixMatch): whole path elements only, and
    slashes at the end of either prefix mean nothing. ValueError when `path` does not begin with the prefix."""
    prefix = matched_prefix.rstrip(ROOT)
    rest = path[len(prefix) :]
    if not path.startswith(prefix) or not (rest == b"" or rest.startswith(ROOT)):
        raise ValueError(f"path {path!r} does not begin with the path elements of {matched_prefix!r}")
    return replacement.rstrip(ROOT) + rest or ROOT


def origin(target: bytes, method: bytes = b"") -> Target:
    """Take a request target apart (RFC 9112 section 3.2).

    `method` settles what only OPTIONS may ask: the whole server, as "*" or as an absolute target without path and
    query. Without a method "*" is taken and an empty path is "/". PathError for authority-form (CONNECT to us),
    fragments, user information and schemes other than http and https.
    """
    if HASH in target:
        raise PathError("request target with a fragment")
    if target.startswith(ROOT):
        path, question, query = target.partition(b"?")
        return Target(TargetForm.ORIGIN, b"", b"", path, query, bool(question))
    if target == ASTERISK:
        if method not in (b"", b"OPTIONS"):
            raise PathError('request target "*" is for OPTIONS only')
        return Target(TargetForm.ASTERISK, b"", b"", ASTERISK, b"", False)
    scheme, colon, rest = target.partition(b"://")
    scheme = scheme.lower()
    if not colon or scheme not in (b"http", b"https"):
        raise PathError(f"request target {target[:80]!r} is neither a path nor an http or https URL")
    before, question, query = rest.partition(b"?")
    authority, slash, path = before.partition(ROOT)
    if not authority or authority.startswith(b":"):
        raise PathError("request target without a host")
    if b"@" in authority:  # RFC 9110 section 4.2.4
        raise PathError("request target with user information")
    path = slash + path
    if not path:
        # RFC 9112 section 3.2.4: such an OPTIONS is sent on as "*".
        path = ASTERISK if method == b"OPTIONS" and not question else ROOT
    return Target(TargetForm.ABSOLUTE, scheme, authority, path, query, bool(question))


def split_port(authority: bytes) -> tuple[bytes, bytes]:
    """Name and port (b"" without one) of an authority; the colons of [v6] are part of the name."""
    name, colon, port = authority.rpartition(b":")
    return (name, port) if colon and not port.endswith(b"]") else (authority, b"")


def _decode(path: bytes, escapes: EscapePolicy) -> bytes:
    """Percent-escapes decoded or spelled properly, everything that may not be in a path refused."""
    decoded = bytearray()
    size = len(path)
    at = 0
    while at < size:
        byte = path[at]
        if byte == PERCENT:
            high = _hex_value(path[at + 1]) if at + 2 < size else -1
            low = _hex_value(path[at + 2]) if at + 2 < size else -1
            if high < 0 or low < 0:
                raise PathError(f"invalid percent-escape {path[at : at + 3]!r} at byte {at}")
            byte = high * 16 + low
            at += 3
            if byte == 0:
                raise PathError(f"NUL at byte {at - 3}")
            if byte in DISPUTED and escapes is EscapePolicy.REJECT:
                raise PathError(f"percent-encoded {chr(byte)!r} at byte {at - 3}")
            if byte in UNRESERVED:
                decoded.append(byte)
            else:
                _escape(decoded, byte)
            continue
        if byte == BACKSLASH:
            if escapes is EscapePolicy.REJECT:
                raise PathError(f"backslash at byte {at}")
            _escape(decoded, byte)
        elif byte < FIRST_VISIBLE or byte > LAST_VISIBLE or byte in (QUESTION, HASH):
            raise PathError(f"byte 0x{byte:02X} at {at} is not allowed in a path")
        else:
            decoded.append(byte)
        at += 1
    return bytes(decoded)


def _escape(decoded: bytearray, byte: int) -> None:
    decoded.append(PERCENT)
    decoded.append(HEX[byte >> 4])
    decoded.append(HEX[byte & 15])


def _hex_value(digit: int) -> int:
    """Value of a hexadecimal digit, -1 when it is none."""
    if 48 <= digit <= 57:
        return digit - 48
    if 65 <= digit <= 70:
        return digit - 55
    if 97 <= digit <= 102:
        return digit - 87
    return -1
