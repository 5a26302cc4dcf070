"""Networks of access lists that change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from discovery.config import Config
from discovery.policies import Access
from mesh.matching import Network
from proxy.config.places import Steps
from proxy.config.warnings.finding import Finding
from proxy.config.warnings.guarded import guarded


def findings(config: Config) -> Iterator[Finding]:
    for policies, places in guarded(config):
        access = policies.access
        if access is not None and len(access.allow) + len(access.deny) > 1:
            yield from _of_access(access, places["access"])


def _of_access(access: Access, at: Steps) -> Iterator[Finding]:
    denied = Holders(access.deny)
    for name, texts in (("allow", access.allow), ("deny", access.deny)):
        holders = Holders(texts) if name == "allow" else denied
        for index, text in enumerate(texts):
            by = denied.of(text) if name == "allow" else None
            wider = holders.of(text)
            if by is not None:
                yield Finding(
                    f"nobody of {text} passes, because all of it is in {by}, which is denied, and deny wins; take "
                    "one of "
                    "them out",
                    ((*at, name, index),),
                )
            elif wider is not None and wider != text:
                yield Finding(
                    f"{text} changes nothing, because all of it is in {wider}, which stands there, too; take one "
                    "of them "
                    "out",
                    ((*at, name, index),),
                )


class Holders:
    """Networks, found by those that are in them; looking one up costs as much as there are lengths of prefixes."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts: dict[Network, str] = {}
        for text in texts:
            self.texts.setdefault(Network.of(text), text)
        self.lengths = sorted({(network.bits, network.length) for network in self.texts})

    def of(self, text: str) -> str | None:
        """The widest that has all of it."""
        network = Network.of(text)
        for bits, length in self.lengths:
            if bits == network.bits and length <= network.length:
                found = self.texts.get(network.within(length))
                if found is not None:
                    return found
        return None
