"""What of a request is not shown to whoever only looks: values that let others in, and what people typed.

Hidden are the values of header fields whose names speak of credentials, and those of all parameters of a URL. Beside a
hidden header stands a short keyed hash of what it was, so that equal values can be recognised and none can be guessed;
the key is a secret of the instance. Never looks at bodies, which records do not have.
"""

from __future__ import annotations

import re
from hashlib import blake2b

REDACTED = "(redacted)"
SECRET_PARTS = (
    "apikey",
    "api-key",
    "auth",
    "cookie",
    "credential",
    "csrf",
    "jwt",
    "passw",
    "secret",
    "session",
    "signature",
    "token",
    "xsrf",
)
OPEN = frozenset((":authority",))

# Fields whose value is a URL, or a target.
URLS = frozenset(("referer", "location", "x-original-url", "x-rewrite-url", "x-forwarded-uri", "x-original-uri"))
_USER = re.compile(r"://[^/?#@]*@")
_PATH_PARAMETER = re.compile(r";([^;/?=]*)=[^;/?]*")
HASH = 4  # bytes: equal ones are told apart, and nothing is left to search for


def is_secret(name: str) -> bool:
    """Whether the values of header fields of this name (lower case) are hidden."""
    return name not in OPEN and any(part in name for part in SECRET_PARTS)


def redacted_path(path: str) -> str:
    """A target or URL with the values of its query hidden, those of parameters of the path (;name=value), and who the
    user is. A parameter of the query without a name is nothing but value."""
    before, mark, query = path.partition("?")
    before = _USER.sub(f"://{REDACTED}@", before)
    before = _PATH_PARAMETER.sub(rf";\1={REDACTED}", before)
    if not query:
        return before + mark
    return before + mark + "&".join(_parameter(part) for part in query.split("&"))


def _parameter(text: str) -> str:
    name, equals, _ = text.partition("=")
    return f"{name}={REDACTED}" if equals else REDACTED if text else ""


class Redaction:
    """`secret`: the instance's, so that all of its workers give equal values equal hashes."""

    def __init__(self, secret: str) -> None:
        key = blake2b(secret.encode(), digest_size=32, person=b"hivemesh tap").digest()
        self._hash = blake2b(key=key, digest_size=HASH)

    def header(self, name: str, value: str) -> str:
        """What is shown of a field; `name` in lower case."""
        if not is_secret(name):
            return redacted_path(value) if name in URLS else value
        hashing = self._hash.copy()
        hashing.update(value.encode("latin-1", "replace"))
        return f"{REDACTED} {hashing.hexdigest()}"
