"""Secrets that are the stars which printed configurations have in their place."""

from __future__ import annotations

from collections.abc import Iterator

from discovery.config import Config
from proxy.config.warnings.finding import Finding


def findings(config: Config) -> Iterator[Finding]:
    for value, at in ((config.admin.token, ("admin", "token")), (config.snapshot.settings.secret, ("secret",))):
        if value and not value.strip("*"):
            yield Finding(
                "anybody can guess this: it is what stands for a hidden value where a configuration is printed; write "
                "the value itself here",
                (at,),
            )
