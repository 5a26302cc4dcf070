"""mesh.paths: request targets taken apart and paths normalised.

What comes out is in normal form: normalising it again changes nothing, there is no dot segment in it however it was
written, no byte that RFC 3986 section 3.3 does not allow, and it means what it meant, which a second, slower reading
says: percent-decoding and removing dot segments as RFC 3986 section 5.2.4 has it.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from discovery.model import EscapePolicy
from fuzz.support import expect
from mesh.paths import PathError, TargetForm, is_plain, normalise, origin, replace_prefix, split_port

SEEDS = (
    b"\0/a/b/../c?x=y",
    b"\1/%61%2e%2E/./b//c/..",
    b"\2http://a.test:80/x?y",
    b"\3/a%2fb%5c\\d",
    b"\4*",
    b"\5https://[::1]",
    b"\6/..%2f..%2fetc/passwd",
    b"\7//a///b/",
    b"\0/%7e%41%00",
    b"\1/;v=1/,!$&'()*+=:@/",
)
WORDS = (
    b"%2e",
    b"%2E",
    b"%2f",
    b"%5C",
    b"%00",
    b"%25",
    b"/../",
    b"/./",
    b"//",
    b"http://",
    b"?",
    b"#",
    b"@",
    b":80",
    b"[::1]",
)

ALLOWED = re.compile(rb"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@\"<>^`{|}\[\]-]|%[0-9A-F]{2})*)+")
POLICIES = (EscapePolicy.REJECT, *(policy for policy in EscapePolicy if policy is not EscapePolicy.REJECT))


def check(data: bytes) -> None:
    if not data:
        return
    how, target = data[0], data[1:]
    policy, merge = POLICIES[(how >> 1) % len(POLICIES)], bool(how & 1)
    try:
        parts = origin(target, b"OPTIONS" if how & 64 else b"")
    except PathError as error:
        expect(str(error), "no words")
        return
    if parts.form is TargetForm.ABSOLUTE:
        name, port = split_port(parts.authority)
        expect(
            (name + b":" + port if port or parts.authority.endswith(b":") else name) in (parts.authority, name), "port"
        )
        expect(b"/" not in parts.authority and b"@" not in parts.authority, "an authority with more", parts)
    expect(b"?" not in parts.path and b"#" not in target, "a path with more", parts)
    try:
        path = normalise(parts.path, policy, merge)
    except PathError as error:
        expect(str(error), "no words")
        return
    if path == b"*":
        expect(parts.path == b"*", "an asterisk out of nothing", parts)
        return
    expect(ALLOWED.fullmatch(path), "not a path", path)
    expect(normalise(path, policy, merge) == path, "not the last spelling", path)
    segments = [unquote_to_bytes(segment) for segment in path.split(b"/")[1:]]
    expect(not {b".", b".."} & set(segments), "a dot segment is left", path)
    expect(not (merge and b"//" in path), "slashes are left", path)
    expect(policy is not EscapePolicy.REJECT or not re.search(rb"%2F|%5C", path), "a separator in disguise", path)
    expect(b"\0" not in unquote_to_bytes(path), "NUL", path)
    expect(segments == [unquote_to_bytes(each) for each in again(parts.path, merge)], "means another", parts.path, path)
    if is_plain(parts.path):
        expect(path == parts.path, "a plain path was changed", parts.path, path)
    expect(replace_prefix(path, b"/", b"/new/") == b"/new" + (path if path != b"/" else b"/"), "another prefix", path)


def again(path: bytes, merge: bool) -> list[bytes]:
    """Segments, still encoded, with dots removed one after the other."""
    segments = path.split(b"/")[1:]
    if merge:
        segments = [segment for segment in segments[:-1] if segment] + segments[-1:]
    kept: list[bytes] = []
    for place, segment in enumerate(segments):
        plain = unquote_to_bytes(segment)
        last = place == len(segments) - 1
        if plain == b"..":
            kept = kept[:-1]
        if plain in (b".", b".."):
            kept += [b""] if last else []
        else:
            kept.append(segment)
    return kept
