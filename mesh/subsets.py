"""Subsets: the endpoints of a service that have certain metadata, for a route that asks for it.

The selector of a request is what a `Subset` says, with the values of the request's headers filled in; a header that is
absent asks nothing. An endpoint is of the subset when it has all of that (Envoy: subset load balancer). Only when no
endpoint has, usable or not, does the fallback apply: a subset whose endpoints are ill must not leak into others.

`Subsets` keeps a balancer for each selector in use. Header values are the peer's, so a value that no endpoint has costs
a look-up in an index and leaves nothing behind, and of selectors that are kept the oldest goes when there are too many.
Endpoints that change take the balancers that they belong to with them; those are made anew when they are next asked
for. Never looks at how endpoints are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from discovery.model import Endpoint
from discovery.policies import Subset, SubsetFallback
from mesh.balance import Balancer, Candidate
from mesh.request import RequestView

# Selectors of a service that are kept. Each holds a list of its endpoints.
MOST_SELECTORS = 256

# (metadata key, value), sorted by key: all of it must hold.
Selector = tuple[tuple[str, str], ...]


class SubsetRule:
    """The subset of a route."""

    def __init__(self, subset: Subset) -> None:
        self.subset = subset
        self.fixed: Selector = tuple(sorted(subset.metadata.items()))
        self.headers = tuple((key, name.lower().encode()) for key, name in sorted(subset.headers.items()))
        self.default: Selector = tuple(sorted(subset.default.items()))

    def selector(self, request: RequestView) -> Selector | None:
        """What the endpoints of this request must have; None when a header has a value that metadata cannot have."""
        if not self.headers:
            return self.fixed
        wanted = dict(self.fixed)
        for key, name in self.headers:
            value = request.header(name)
            if value is None:
                continue
            try:
                text = value.decode()
            except UnicodeDecodeError:
                return None
            if wanted.setdefault(key, text) != text:
                return None
        return tuple(sorted(wanted.items()))

    def fallback(self) -> Selector | None:
        """What is used instead when no endpoint has it; nothing at all for ANY."""
        if self.subset.fallback is SubsetFallback.ANY:
            return ()
        return self.default if self.subset.fallback is SubsetFallback.DEFAULT else None

    def members(self, request: RequestView, endpoints: Iterable[Endpoint]) -> list[Endpoint]:
        """Those of `endpoints` that the request may go to: the same answer as that of `Subsets`, for whoever asks but
        once."""
        every = list(endpoints)
        selector = self.selector(request)
        found = [] if selector is None else [each for each in every if has_all(each, selector)]
        fallback = self.fallback()
        if not found and fallback is not None:
            return [each for each in every if has_all(each, fallback)]
        return found


def has_all(endpoint: Endpoint, selector: Selector) -> bool:
    return all(endpoint.metadata.get(key) == value for key, value in selector)


class Postings:
    """Who has which value of one metadata key."""

    def __init__(self, key: str, candidates: Iterable[Candidate]) -> None:
        self.key = key
        self.having: dict[str, dict[Candidate, None]] = {}  # a dict for the order
        self.values: dict[Candidate, str] = {}
        for candidate in candidates:
            self.add(candidate)

    def add(self, candidate: Candidate) -> None:
        value = candidate.endpoint.metadata.get(self.key)
        if value is not None:
            self.values[candidate] = value
            self.having.setdefault(value, {})[candidate] = None

    def remove(self, candidate: Candidate) -> None:
        """Whatever it has now, this is about what it had."""
        value = self.values.pop(candidate, None)
        if value is not None:
            having = self.having[value]
            del having[candidate]
            if not having:
                del self.having[value]


class Kept(NamedTuple):
    """A balancer, and whose it is."""

    balancer: Balancer
    members: frozenset[Candidate]


class Subsets:
    """The subsets of one service that are in use. Nothing is kept until a route asks."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, Selector], Kept] = {}
        self._postings: dict[str, Postings] = {}  # by metadata key, of those that were asked for

    def __len__(self) -> int:
        return len(self._kept)

    def balancer(
        self,
        rule: SubsetRule,
        request: RequestView,
        version: str,
        whole: Balancer,
        every: Balancer | None,
        make: Callable[[Sequence[Candidate]], Balancer],
        *,
        asking: bool = False,
    ) -> Balancer | None:
        """The balancer of the endpoints that have what `rule` wants of `request`, or of its fallback; None when there
        are none. `whole` has all endpoints of the service and `every` those of `version` ("" is any); `make` makes a
        balancer of some. What is only asked for is not kept."""
        selector = rule.selector(request)
        if selector is not None:
            found = every if not selector else self.of(selector, version, whole, make, asking=asking)
            if found is not None:
                return found
        fallback = rule.fallback()
        if fallback is None:
            return None
        return every if not fallback else self.of(fallback, version, whole, make, asking=asking)

    def of(
        self,
        selector: Selector,
        version: str,
        whole: Balancer,
        make: Callable[[Sequence[Candidate]], Balancer],
        *,
        asking: bool = False,
    ) -> Balancer | None:
        """The balancer of the endpoints that have all of `selector`; None when no endpoint has."""
        kept = self._kept.get((version, selector))
        if kept is None:
            members = self._select(selector, version, whole)
            if not members:
                return None
            if asking:
                return make(members)
            if len(self._kept) >= MOST_SELECTORS:
                del self._kept[next(iter(self._kept))]
            kept = self._kept[version, selector] = Kept(make(members), frozenset(members))
        return kept.balancer

    def exchange(self, gone: Iterable[Candidate], new: Iterable[Candidate]) -> None:
        """Candidates have left the service and others have come; one that is both has changed."""
        left, come = list(gone), list(new)
        for postings in self._postings.values():
            for candidate in left:
                postings.remove(candidate)
            for candidate in come:
                postings.add(candidate)
        for of, kept in list(self._kept.items()):
            if not kept.members.isdisjoint(left) or any(_has(candidate, of) for candidate in come):
                del self._kept[of]

    def clear(self) -> None:
        """Endpoints are picked in another way now: the balancers are to be made anew."""
        self._kept.clear()
        self._postings.clear()

    def _select(self, selector: Selector, version: str, whole: Balancer) -> list[Candidate]:
        found: list[dict[Candidate, None]] = []
        for key, value in selector:
            postings = self._postings.get(key)
            if postings is None:
                postings = self._postings[key] = Postings(key, whole.candidates)
            having = postings.having.get(value)
            if having is None:
                return []
            found.append(having)
        fewest = min(found, key=len)
        return [
            candidate
            for candidate in fewest
            if version in ("", candidate.endpoint.version) and all(candidate in having for having in found)
        ]


def _has(candidate: Candidate, of: tuple[str, Selector]) -> bool:
    version, selector = of
    endpoint = candidate.endpoint
    return version in ("", endpoint.version) and has_all(endpoint, selector)
