"""Affinity: requests of one client go to one endpoint; and sticky splits: they are drawn alike.

By COOKIE the client carries the answer. The value is a name and a seal, 9 bytes each, as 24 characters of base64url:

    name = keyed hash of (purpose, owner, what is named)     seal = keyed hash of (purpose, owner, name)

Both are BLAKE2b (RFC 7693) with the instance's secret as the key, so a client can neither learn an address from a
value nor make one, and a value of one service says nothing to another. Names are known beforehand, so a good cookie
costs one look-up; the seal is what tells a cookie whose endpoint is gone from one that was never ours. 72 bits each: a
forger without the secret needs 2**71 requests for one hit, and two endpoints of a service never have the same name.
Services and splits may use one cookie: it then has a value of each, with dots between, and each keeps those of others.

By HEADER and CLIENT_IP it follows from a hash of that (mesh/bonds.py).
Never waits, never draws random numbers, never logs a secret or a value.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from hmac import compare_digest

from discovery.model import TrafficSplit
from discovery.policies import Affinity, BrokenAffinity, KeyKind, RequestKey
from mesh.balance import Candidate
from mesh.bonds import Bond, hash_of, unit_of
from mesh.cookies import cookie_values
from mesh.keys import key_of, words_for
from mesh.request import RequestView

COOKIE = b"cookie"

PART = 9  # bytes of a name and of a seal
VALUE_SIZE = 24  # of both together in base64, which needs no padding then

# Values in one cookie. The one that was set first goes when there are more.
MOST_VALUES = 8
DOT = b"."
ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

# What a value is for. The same secret signs all of them.
ENDPOINT = "endpoint"
VERSION = "version"


class Seal:
    """Makes the values of cookies, and knows them again."""

    def __init__(self, secret: str, purpose: str, owner: str) -> None:
        key = blake2b(secret.encode(), digest_size=32, person=b"hivemesh cookie").digest()
        self._names = blake2b(key=key, digest_size=PART, person=b"hivemesh name")
        self._seals = blake2b(key=key, digest_size=PART, person=b"hivemesh seal")
        for part in (purpose, owner):
            for hashing in (self._names, self._seals):
                hashing.update(_framed(part))

    def value(self, *parts: str) -> bytes:
        """The value that names what `parts` identify."""
        hashing = self._names.copy()
        for part in parts:
            hashing.update(_framed(part))
        name = hashing.digest()
        return urlsafe_b64encode(name + self._seal(name))

    def is_ours(self, value: bytes) -> bool:
        """Whether we made this value, whatever it names."""
        if len(value) != VALUE_SIZE:
            return False
        try:
            raw = urlsafe_b64decode(value)
        except ValueError:
            return False
        return len(raw) == 2 * PART and compare_digest(raw[PART:], self._seal(raw[:PART]))

    def _seal(self, name: bytes) -> bytes:
        hashing = self._seals.copy()
        hashing.update(name)
        return hashing.digest()


def _framed(part: str) -> bytes:
    """Two lists of parts are the same bytes only when they are the same lists."""
    data = part.encode()
    return len(data).to_bytes(4) + data


def cookie_name(affinity: Affinity, purpose: str, owner: str) -> str:
    """The configured name, or one that no other service or split of the same site has (GEP-1619, Name)."""
    if affinity.name:
        return affinity.name
    suffix = blake2b(_framed(purpose) + _framed(owner), digest_size=4).hexdigest()
    return f"hm-{suffix}"


class Cookie:
    """One cookie of ours: its values in a request, and its Set-Cookie lines (RFC 6265 section 4.1)."""

    def __init__(self, name: str, affinity: Affinity) -> None:
        attributes = [f"Path={affinity.path}"]
        if affinity.ttl > 0:
            attributes.append(f"Max-Age={max(1, int(affinity.ttl))}")
        attributes.append("HttpOnly")
        if affinity.secure:
            attributes.append("Secure")
        attributes.append(f"SameSite={affinity.same_site}")
        self.name = name.encode()
        self.before = f"Set-Cookie: {name}=".encode()
        self.after = ("; " + "; ".join(attributes) + "\r\n").encode()
        self.end = f"{name}=; Path={affinity.path}; Max-Age=0".encode()

    def with_values(self, values: Sequence[bytes]) -> bytes:
        return self.before + DOT.join(values[:MOST_VALUES]) + self.after

    def values(self, request: RequestView) -> tuple[bytes, ...]:
        """What the request has in this cookie and may be of us, not more than belongs there."""
        field = request.header(COOKIE)
        if field is None:
            return ()
        found = [value for cookie in cookie_values(field, self.name) for value in cookie.split(DOT, MOST_VALUES)]
        return tuple(value for value in found if len(value) == VALUE_SIZE and not value.translate(None, ALPHABET))[
            :MOST_VALUES
        ]


def hash_key(request: RequestView, key: RequestKey, seed: int) -> int | None:
    """A hash of what tells clients apart; None for a request that does not have it."""
    text = key_of(request, key)
    return hash_of(text, seed) if text else None


# --- endpoints ----------------------------------------------------------------------------------------------------


class Affinities:
    """The affinity of one service: makes the bond of a request. `spots` are the hashes of candidates, as far as they
    were asked for."""

    def __init__(self, service: str, affinity: Affinity) -> None:
        self.service = service
        self.affinity = affinity
        self.key = RequestKey(kind=affinity.kind, name=affinity.name.lower())
        self.said_by = words_for(self.key)  # what tells where a client belongs
        self.is_strict = affinity.broken is BrokenAffinity.FAIL
        self.seed = hash_of(service.encode(), 0)
        self.spots: dict[Candidate, int] = {}

    def is_of(self, affinity: Affinity, secret: str) -> bool:
        """Whether they are what would be made of these."""
        return affinity == self.affinity

    def bond(self, request: RequestView) -> Bond | None:
        """None: the request says nothing of where it belongs, and is spread as all others."""
        key = hash_key(request, self.key, self.seed)
        if key is None:
            return None
        bond = Bond(self, self.is_strict)
        bond.key = key
        bond.is_keyed = True
        return bond

    def exchange(self, gone: Iterable[Candidate], new: Iterable[Candidate]) -> None:
        """Endpoints have left the service and others have come."""
        for candidate in gone:
            self.spots.pop(candidate, None)

    def spot_of(self, candidate: Candidate) -> int:
        endpoint = candidate.endpoint
        spot = self.spots[candidate] = hash_of(f"{endpoint.id}\0{endpoint.address}".encode(), self.seed)
        return spot

    def line(self, candidate: Candidate, bond: Bond) -> bytes | None:
        """The Set-Cookie line that binds a client to `candidate`, in place of `bond`; None when that has left."""
        return None

    def farewell(self, bond: Bond) -> bytes:
        """The value of a Set-Cookie field that ends the bond of a client."""
        raise NotImplementedError


class CookieBond(Bond):
    """A bond by cookie. `others` are the values in it that are not about this bond."""

    others: tuple[bytes, ...] = ()


def _others(bond: Bond) -> tuple[bytes, ...]:
    return bond.others if isinstance(bond, CookieBond) else ()


class CookieAffinities(Affinities):
    """Those by a cookie of ours."""

    def __init__(self, service: str, affinity: Affinity, secret: str) -> None:
        super().__init__(service, affinity)
        self.secret = secret.encode()
        self.seal = Seal(secret, ENDPOINT, service)
        name = cookie_name(affinity, ENDPOINT, service)
        self.said_by = f"cookie {name}"
        self.cookie = Cookie(name, affinity)
        self.named: dict[bytes, Candidate] = {}
        self.values: dict[Candidate, bytes] = {}

    def is_of(self, affinity: Affinity, secret: str) -> bool:
        return affinity == self.affinity and compare_digest(secret.encode(), self.secret)

    def bond(self, request: RequestView) -> CookieBond:
        bond = CookieBond(self, self.is_strict)
        values = self.cookie.values(request)
        for value in values:
            candidate = self.named.get(value)
            if candidate is not None:
                bond.candidate = candidate
                bond.key = hash_of(value, self.seed)
                bond.others = tuple(other for other in values if other is not value)
                return bond
        lost = [value for value in values if self.seal.is_ours(value)]
        bond.others = tuple(value for value in values if value not in lost)
        bond.is_lost = bool(lost)
        bond.is_new = not lost
        return bond

    def exchange(self, gone: Iterable[Candidate], new: Iterable[Candidate]) -> None:
        super().exchange(gone, new)
        for candidate in gone:
            value = self.values.pop(candidate, None)
            # The same endpoint may have come back as another candidate already.
            if value is not None and self.named.get(value) is candidate:
                del self.named[value]
        for candidate in new:
            value = self.seal.value(candidate.endpoint.id, candidate.endpoint.address)
            self.values[candidate] = value
            self.named[value] = candidate

    def line(self, candidate: Candidate, bond: Bond) -> bytes | None:
        value = self.values.get(candidate)
        return None if value is None else self.cookie.with_values((value, *_others(bond)))

    def farewell(self, bond: Bond) -> bytes:
        others = _others(bond)
        if not others:
            return self.cookie.end
        return self.cookie.with_values(others).removeprefix(b"Set-Cookie: ").removesuffix(b"\r\n")


def affinities_for(service: str, affinity: Affinity, secret: str, candidates: Iterable[Candidate]) -> Affinities:
    """What makes the bonds of a service's requests."""
    is_cookie = affinity.kind is KeyKind.COOKIE
    made = CookieAffinities(service, affinity, secret) if is_cookie else Affinities(service, affinity)
    made.exchange((), candidates)
    return made


# --- splits -------------------------------------------------------------------------------------------------------


class Stickiness:
    """What makes a split draw a client alike each time. `owner` is what the split belongs to: two splits that use the
    same header draw independently of each other."""

    def __init__(self, owner: str, affinity: Affinity) -> None:
        self.key = RequestKey(kind=affinity.kind, name=affinity.name.lower())
        self.said_by = words_for(self.key)  # what tells how a client is drawn
        self.seed = hash_of(owner.encode(), 1)

    def draw(self, request: RequestView) -> float | None:
        """The number, from [0, 1), that is drawn for this client; None when it is as good as any."""
        key = hash_key(request, self.key, self.seed)
        return None if key is None else unit_of(key)

    def share(self, request: RequestView) -> TrafficSplit | None:
        """The share that the client had before, where it says so."""
        return None

    def line(self, share: TrafficSplit, request: RequestView) -> bytes | None:
        """The Set-Cookie line that keeps the client with `share`."""
        return None


class CookieStickiness(Stickiness):
    """By a cookie of ours that names the share."""

    def __init__(self, owner: str, affinity: Affinity, secret: str, shares: Sequence[TrafficSplit]) -> None:
        super().__init__(owner, affinity)
        self.seal = Seal(secret, VERSION, owner)
        name = cookie_name(affinity, VERSION, owner)
        self.said_by = f"cookie {name}"
        self.cookie = Cookie(name, affinity)
        self.shares = {share: self.seal.value(share.service, share.version) for share in shares}
        self.named = {value: share for share, value in self.shares.items()}

    def draw(self, request: RequestView) -> float | None:
        return None

    def share(self, request: RequestView) -> TrafficSplit | None:
        for value in self.cookie.values(request):
            share = self.named.get(value)
            if share is not None:
                return share
        return None

    def line(self, share: TrafficSplit, request: RequestView) -> bytes | None:
        others = [value for value in self.cookie.values(request) if not self.seal.is_ours(value)]
        return self.cookie.with_values([self.shares[share], *others])


def stickiness_for(owner: str, affinity: Affinity, secret: str, shares: Sequence[TrafficSplit]) -> Stickiness:
    """What makes the split of `owner` sticky."""
    if affinity.kind is KeyKind.COOKIE:
        return CookieStickiness(owner, affinity, secret, shares)
    return Stickiness(owner, affinity)


# --- both at once -------------------------------------------------------------------------------------------------


def joined(lines: bytes, line: bytes) -> bytes:
    """Set-Cookie lines with one more. What would set the same cookie twice becomes one line with the values of both:
    a browser keeps the last."""
    start = line[: line.index(b"=") + 1]
    kept = []
    for each in lines.splitlines(keepends=True):
        if each.startswith(start):
            value, end, attributes = line.removeprefix(start).partition(b";")
            mine = value.split(DOT)
            theirs = [part for part in each.removeprefix(start).partition(b";")[0].split(DOT) if part not in mine]
            line = start + DOT.join([*mine[:1], *theirs, *mine[1:]][:MOST_VALUES]) + end + attributes
        else:
            kept.append(each)
    return b"".join(kept) + line
