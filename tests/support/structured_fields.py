"""A parser of structured fields (RFC 9651 section 4.2), as far as Proxy-Status needs them: lists of tokens and strings
with parameters. It is strict: what the RFC fails on raises ValueError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

KEY = re.compile(r"[a-z*][a-z0-9_\-.*]*")
TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
INTEGER = re.compile(r"-?[0-9]{1,15}(?![0-9.])")
STRING = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')


class Token(str):
    """A bare word; strings are `str`."""


Bare = Token | str | int | bool


@dataclass
class Member:
    value: Bare
    parameters: dict[str, Bare] = field(default_factory=dict)


def parse_list(text: str) -> list[Member]:
    at = _spaces(text, 0)
    members: list[Member] = []
    while at < len(text):
        member, at = _member(text, at)
        members.append(member)
        at = _blanks(text, at)
        if at == len(text):
            return members
        if text[at] != ",":
            raise ValueError(f"expected a comma at {at} of {text!r}")
        at = _blanks(text, at + 1)
        if at == len(text):
            raise ValueError(f"{text!r} ends with a comma")
    return members


def _member(text: str, at: int) -> tuple[Member, int]:
    value, at = _bare(text, at)
    member = Member(value)
    while at < len(text) and text[at] == ";":
        at = _spaces(text, at + 1)
        key = KEY.match(text, at)
        if key is None:
            raise ValueError(f"expected a key at {at} of {text!r}")
        at = key.end()
        parameter: Bare = True
        if at < len(text) and text[at] == "=":
            parameter, at = _bare(text, at + 1)
        member.parameters[key.group()] = parameter
    return member, at


def _bare(text: str, at: int) -> tuple[Bare, int]:
    if (found := STRING.match(text, at)) is not None:
        return re.sub(r"\\(.)", r"\1", found.group(1)), found.end()
    if (found := INTEGER.match(text, at)) is not None:
        return int(found.group()), found.end()
    if (found := TOKEN.match(text, at)) is not None:
        return Token(found.group()), found.end()
    raise ValueError(f"expected a token, a string or a number at {at} of {text!r}")


def _spaces(text: str, at: int) -> int:
    while at < len(text) and text[at] == " ":
        at += 1
    return at


def _blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t":
        at += 1
    return at
