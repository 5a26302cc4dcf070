"""Which service has a domain that several claim: the one whose claim is from the higher source.

Within one source it is the one that comes first in the alphabet; sources do not hand over two of one domain, and the
API is told of the conflict instead.
Pure.
"""

from __future__ import annotations


class Domains:
    def __init__(self) -> None:
        self._claims: dict[str, dict[str, int]] = {}  # domain -> service -> rank, 0 the highest
        self._claimed: dict[str, str] = {}  # service -> domain

    def copy(self) -> Domains:
        other = Domains()
        other._claims = {domain: dict(claims) for domain, claims in self._claims.items()}
        other._claimed = dict(self._claimed)
        return other

    def claim(self, service: str, domain: str, rank: int) -> set[str]:
        """`service` wants `domain` and no other, "" none at all. The services that may have won or lost one."""
        concerned: set[str] = set()
        former = self._claimed.pop(service, "")
        if former:
            claims = self._claims[former]
            del claims[service]
            concerned.update(claims)
            if not claims:
                del self._claims[former]
        if domain:
            claims = self._claims.setdefault(domain, {})
            concerned.update(claims)
            claims[service] = rank
            self._claimed[service] = domain
        return concerned

    def owner(self, domain: str) -> str:
        """ "" if nobody wants it."""
        claims = self._claims.get(domain)
        return min(claims, key=lambda service: (claims[service], service)) if claims else ""

    def of(self, service: str) -> str:
        """The domain that `service` has: the one that it claims, or ""."""
        domain = self._claimed.get(service, "")
        return domain if domain and self.owner(domain) == service else ""
