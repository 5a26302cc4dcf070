"""Times of DNS that do not do what they say, and a resolver for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from discovery.config import Config
from proxy.config.places import Steps
from proxy.config.warnings.finding import Finding, span

# Most clients wait so long for an answer before they ask again, or somebody else (resolv.conf: timeout).
PATIENCE = 5.0
# Longer than this an endpoint that is gone is asked by everybody who knows it.
LONG = 600.0


def is_public(address: str) -> bool:
    """Can machines of other networks ask there, as far as the address tells? `address`: host:port."""
    host = ip_address(address.rpartition(":")[0].strip("[]").partition("%")[0])
    return host.is_unspecified or host.is_global


def findings(config: Config) -> Iterator[Finding]:
    dns = config.snapshot.settings.dns
    if not dns.addresses:
        return
    ttls: list[tuple[float, Steps]] = [(dns.ttl, ("dns", "ttl"))]
    ttls += [
        (service.dns.ttl, ("services", service.name, "dns", "ttl"))
        for service in config.snapshot.services
        if service.dns.ttl is not None
    ]
    for ttl, at in ttls:
        if 0 < ttl < 1:
            yield Finding(
                f"{span(ttl)} is 0 in an answer, which has whole seconds, so nothing is kept; say 1s, or 0", (at,)
            )
        elif ttl > LONG:
            yield Finding(
                f"clients keep asking an endpoint for up to {span(ttl)} after it has failed or gone; some seconds are "
                "enough to spare the server",
                (at,),
            )
    if dns.forward and not dns.rate_limit:
        for address in dns.addresses:
            if is_public(address):
                yield Finding(
                    f"whoever reaches {address} has all other names resolved, and a forged sender has the answers sent "
                    "to somebody else; listen on addresses of your network, or set rate_limit",
                    (("dns", "address"), ("dns", "forward")),
                )
    if dns.forward and dns.forward_timeout >= PATIENCE:
        yield Finding(
            f"a resolver is waited for {span(dns.forward_timeout)}, and most clients give up after {span(PATIENCE)}, "
            "before another resolver is asked; make it shorter",
            (("dns", "forward_timeout"), ("dns", "forward")),
        )
