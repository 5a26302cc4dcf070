"""Cookies of a request, as far as rules look at them: the values that go by one name.

RFC 6265 section 5.4 lets a client send several of a name, the one with the longer path first. Whatever else stands in
the field is passed over, so nothing a client sends is an error here. The work is linear in the length of the field.
"""

from __future__ import annotations

SPACE = b" \t"

# A client has as many cookies of one name as there are paths and domains that set it; more than these nobody looks at.
MOST_VALUES = 4


def cookie_values(field: bytes, name: bytes, most: int = MOST_VALUES) -> list[bytes]:
    """The values of the cookies called `name` (cookie names are case-sensitive) in a Cookie field, at most `most`, in
    the order they came; without the quotes that a value may have."""
    wanted = name + b"="
    found: list[bytes] = []
    at = field.find(wanted)
    while at >= 0:
        before = at
        while before > 0 and field[before - 1] in SPACE:
            before -= 1
        at += len(wanted)
        if before == 0 or field[before - 1 : before] == b";":
            end = field.find(b";", at)
            value = field[at:].strip(SPACE) if end < 0 else field[at:end].strip(SPACE)
            if len(value) >= 2 and value[:1] == b'"' == value[-1:]:
                value = value[1:-1]
            found.append(value)
            if len(found) == most or end < 0:
                break
            at = end
        at = field.find(wanted, at)
    return found
