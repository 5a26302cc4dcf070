"""mesh.cookies, and the trace context of proxy.kernel.emit: fields of a request that rules look into.

Beside them the obvious reading: split at semicolons; a regular expression of the W3C's grammar.
"""

from __future__ import annotations

import re

from fuzz.support import expect
from mesh.cookies import MOST_VALUES, cookie_values
from proxy.kernel.emit import continue_trace, continues_trace

SEEDS = (
    b"a=1; hm=x.y; b=2",
    b'hm="quoted"; hm=second;hm = no',
    b"hm=;hm=1; xhm=2 ;\thm=3",
    b"; ;hm",
    b"hm=a=b; hm=hm=",
    b"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
    b"01-0123456789abcdef0123456789abcdef-0123456789abcdef-00-x",
)
WORDS = (b"hm=", b"; ", b";", b"\t", b'"', b"=", b"00-", b"ff-", b"-01", b"0" * 16, b"0" * 32, b"a" * 32, b"A")

TRACE = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)


def check(data: bytes) -> None:
    found = cookie_values(data, b"hm")
    expect(found == again(data), "other values", found, again(data))
    before = TRACE.fullmatch(data)
    valid = (
        before is not None
        and before[2].strip(b"0") != b""
        and before[3].strip(b"0") != b""
        and (before[1] != b"00" or before[5] is None)
    )
    after = continue_trace(data)
    expect(re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", after), "no traceparent", after)
    expect(continues_trace(data, after) == valid, "goes on or not", data, after)
    expect(not valid or after[53:] == data[53:55], "other flags", data, after)


def again(field: bytes) -> list[bytes]:
    found = []
    for pair in field.split(b";"):
        name, equals, value = pair.strip(b" \t").partition(b"=")
        if name == b"hm" and equals:
            value = value.strip(b" \t")
            found.append(value[1:-1] if len(value) >= 2 and value[:1] == b'"' == value[-1:] else value)
    return found[:MOST_VALUES]
