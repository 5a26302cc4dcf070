"""The conditions of a route, one class each: does it hold for a request, and if not, why not.

A `Probe` is a request under question together with the parts of it that cost something to take apart (query
parameters, the client's address): they are parsed when the first condition asks, once per request. The router asks
`holds`; explanations ask `refusal` as well, which puts into words what `holds` decided.
Host and path are no conditions here: the router's tables decide those.
"""

from __future__ import annotations

from discovery.model import MatchKind, NameMatch
from mesh.networks import Networks, parse_address
from mesh.patterns import compile_pattern
from mesh.request import RequestView

HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")

NOTHING = RequestView()  # what a probe holds between requests


class Probe:
    """A request under question. `ask` starts with a new request, `forget` lets go of it."""

    def __init__(self) -> None:
        self.view: RequestView = NOTHING
        self.parameters: dict[bytes, bytes] | None = None
        self.address: tuple[int, int] | None = None
        self.has_address = False

    def ask(self, view: RequestView) -> None:
        self.view = view
        self.parameters = None
        self.has_address = False

    def forget(self) -> None:
        self.ask(NOTHING)

    def parameter(self, name: bytes) -> bytes | None:
        """First value of the query parameter `name`, decoded; None when the query has none of that name."""
        if self.parameters is None:
            self.parameters = parse_query(self.view.query)
        return self.parameters.get(name)

    def client(self) -> tuple[int, int] | None:
        if not self.has_address:
            self.address = parse_address(self.view.client)
            self.has_address = True
        return self.address


class Condition:
    """Base of all conditions."""

    def holds(self, probe: Probe) -> bool:
        raise NotImplementedError

    def refusal(self, probe: Probe) -> str:
        """Why the condition does not hold, short enough for one line of a list."""
        raise NotImplementedError


class MethodIn(Condition):
    def __init__(self, methods: tuple[str, ...]) -> None:
        self.methods = frozenset(method.encode() for method in methods)
        self.only = next(iter(self.methods)) if len(self.methods) == 1 else None  # saves the look-up

    def holds(self, probe: Probe) -> bool:
        if self.only is not None:
            return probe.view.method == self.only
        return probe.view.method in self.methods

    def refusal(self, probe: Probe) -> str:
        return f"method: {_text(probe.view.method)} is not {' or '.join(sorted(_text(m) for m in self.methods))}"


class ClientIn(Condition):
    def __init__(self, cidrs: tuple[str, ...]) -> None:
        self.networks = Networks(cidrs)

    def holds(self, probe: Probe) -> bool:
        held: bool = self.networks.holds(probe.client())
        return held

    def refusal(self, probe: Probe) -> str:
        client = _text(probe.view.client) or "a client without an address"
        return f"client: {client} is not in {', '.join(self.networks.texts)}"


class Named(Condition):
    """A condition on a field that has a name. `wanted` is the exact value, `pattern` what the value must match;
    with neither the field must only be there."""

    what = "field"

    def __init__(self, match: NameMatch) -> None:
        self.name = match.name.encode()
        self.wanted = match.value.encode() if match.kind is MatchKind.EXACT else None
        self.expression = match.value if match.kind is MatchKind.REGEX else None
        self.pattern = None if self.expression is None else compile_pattern(self.expression)

    def value(self, probe: Probe) -> bytes | None:
        raise NotImplementedError

    def holds(self, probe: Probe) -> bool:
        value = self.value(probe)
        if value is None:
            return False
        if self.wanted is not None:
            return value == self.wanted
        return self.pattern is None or self.pattern.fullmatch(value) is not None

    def refusal(self, probe: Probe) -> str:
        value = self.value(probe)
        if value is None:
            return f"{self.what} {_text(self.name)}: absent"
        if self.wanted is not None:
            return f"{self.what} {_text(self.name)}: {_text(value)} != {_text(self.wanted)}"
        return f"{self.what} {_text(self.name)}: {_text(value)} does not match {self.expression}"


class HeaderIs(Named):
    what = "header"

    def __init__(self, match: NameMatch) -> None:
        super().__init__(match)
        self.name = self.name.lower()

    def value(self, probe: Probe) -> bytes | None:
        return probe.view.header(self.name)


class QueryIs(Named):
    what = "query"

    def value(self, probe: Probe) -> bytes | None:
        return probe.parameter(self.name)


def parse_query(query: bytes) -> dict[bytes, bytes]:
    """Parameters of a query by name: of a repeated one the first, percent-decoded, b"" without a "=".

    "+" stays a plus: a query is not always a submitted form.
    """
    found: dict[bytes, bytes] = {}
    for part in query.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            found.setdefault(percent_decode(name), percent_decode(value))
    return found


def percent_decode(text: bytes) -> bytes:
    """`text` with each %XX replaced by its byte; a "%" that is not followed by two hex digits stays as it is."""
    if b"%" not in text:
        return text
    pieces = text.split(b"%")
    decoded = [pieces[0]]
    for piece in pieces[1:]:
        if len(piece) >= 2 and piece[0] in HEX_DIGITS and piece[1] in HEX_DIGITS:
            decoded.append(bytes((int(piece[:2], 16),)) + piece[2:])
        else:
            decoded.append(b"%" + piece)
    return b"".join(decoded)


def _text(value: bytes) -> str:
    """Bytes of a request for people: everything that is not printable ASCII is escaped."""
    return value.decode("latin-1").encode("unicode_escape").decode("ascii")
