"""The small numbers that the HTTP/1.1 modules pass to each other.

Plain Python on purpose: a compiled module declares the names it imports from here as C integers in its `.pxd`, so they
cost nothing there, and interpreted they are what they are.
"""

from __future__ import annotations

from mesh.replay import is_idempotent
from proxy.kernel.scan import FIELD_IDS, METHODS

# How a body is framed.
NO_BODY = 0
LENGTH = 1
CHUNKED = 2
UNTIL_CLOSE = 3  # responses only

# What BodyReader.next says.
NEED = 0
DATA = 1
DONE = 2
FAILED = 3

# Ids that proxy/kernel/scan gives to fields.
CONTENT_TYPE = FIELD_IDS["content-type"]
HOST = FIELD_IDS["host"]
KEEP_ALIVE = FIELD_IDS["keep-alive"]
TRACEPARENT = FIELD_IDS["traceparent"]
TRACESTATE = FIELD_IDS["tracestate"]
UPGRADE = FIELD_IDS["upgrade"]
USER_AGENT = FIELD_IDS["user-agent"]
VIA = FIELD_IDS["via"]
X_FORWARDED_FOR = FIELD_IDS["x-forwarded-for"]
X_REQUEST_ID = FIELD_IDS["x-request-id"]

# Ids that proxy/kernel/scan gives to methods; 0 is any other token.
M_HEAD = METHODS.index(b"HEAD")
M_CONNECT = METHODS.index(b"CONNECT")

# Bit i says whether the method with id i may be repeated; the rule is mesh.replay's.
IDEMPOTENT_METHODS = sum(1 << index for index, method in enumerate(METHODS) if method and is_idempotent(method))

# Methods whose HTTP/1.0 requests have no body (HAProxy refuses the same), as bits.
OLD_BODYLESS = sum(1 << METHODS.index(method) for method in (b"GET", b"HEAD", b"DELETE"))
