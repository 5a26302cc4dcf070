"""What of a request is not shown to whoever only looks: values that let others in, and what people typed.

Hidden are the values of header fields that carry credentials, and those of all parameters of a query. Beside a hidden
header stands a short keyed hash of what it was, so that equal values can be recognised and none can be guessed; the key
is a secret of the instance. Never looks at bodies, which records do not have.
"""

from __future__ import annotations

from hashlib import blake2b

REDACTED = "(redacted)"
SECRET = frozenset(("authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key"))
SECRET_PARTS = ("password", "secret", "session", "token")
HASH = 4  # bytes: equal ones are told apart, and nothing is left to search for


def is_secret(name: str) -> bool:
    """Whether the values of header fields of this name (lower case) are hidden."""
    return name in SECRET or any(part in name for part in SECRET_PARTS)


def redacted_path(path: str) -> str:
    """A target with the values of its query hidden. A parameter without a name is nothing but value."""
    before, mark, query = path.partition("?")
    if not query:
        return path
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
            return value
        hashing = self._hash.copy()
        hashing.update(value.encode("latin-1", "replace"))
        return f"{REDACTED} {hashing.hexdigest()}"
