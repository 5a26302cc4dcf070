"""Who may ask the admin API: rules over a request's method, path and headers.

The API is made for programs on this machine, and a browser on this machine runs the programs of strangers. Three
ways in are closed. DNS rebinding (a stranger's name that resolves to 127.0.0.1) shows in Host, so Host must be an
address or name of ours. A form or script of another site shows in Origin or Sec-Fetch-Site, so nothing that has them
from elsewhere may change anything. Whoever else reaches the address needs the token, if there is one.
Pure: never reads the request itself, never waits.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

UNIX_PREFIX = "unix:"
READING = frozenset({"GET", "HEAD"})

# Probes of orchestrators carry no token, and the answer is one word about this program.
PROBES = frozenset({"/livez", "/readyz"})

# How Consul's clients send a token. A page of another site cannot set it without being asked first.
CONSUL_TOKEN = "X-Consul-Token"


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    detail: str


class Access:
    def __init__(self, address: str, token: str = "", any_host: bool = False) -> None:
        """`address` as the configuration has it. `any_host` is for an address that is meant to be reached by names
        of others' choice (a scraper's); it must be given out only where nothing can be changed."""
        self.token = token.encode()
        self.host = None if any_host or address.startswith(UNIX_PREFIX) else host_of(address)

    def refusal(self, method: str, path: str, headers: Mapping[str, str]) -> Refusal | None:
        """Why this request is not served; None if it is. `headers` must find names in any case."""
        if self.host is not None and not self._is_ours(headers.get("Host")):
            return Refusal(421, "the Host header is neither a loopback name nor the configured admin address")
        if method not in READING and is_from_elsewhere(headers):
            return Refusal(403, "a page of another site may not change anything here")
        if self.token and path not in PROBES and not self._has_token(headers):
            return Refusal(401, "this address needs the configured token: Authorization: Bearer TOKEN")
        return None

    def _is_ours(self, header: str | None) -> bool:
        name = host_of(header or "")
        if name == "localhost" or name == self.host:
            return True
        try:
            asked = ipaddress.ip_address(name)
            configured = ipaddress.ip_address(self.host or "")
        except ValueError:
            return False
        # 0.0.0.0 and [::] stand for every address of the machine. An address is never a rebound name.
        return asked.is_loopback or asked == configured or configured.is_unspecified

    def _has_token(self, headers: Mapping[str, str]) -> bool:
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        return (scheme.lower() == "bearer" and self._is_token(token)) or self._is_token(headers.get(CONSUL_TOKEN, ""))

    def _is_token(self, text: str) -> bool:
        # compare_digest takes as long for a wrong token as for the right one.
        return hmac.compare_digest(text.strip().encode("utf-8", "surrogateescape"), self.token)


def host_of(authority: str) -> str:
    """The host of `host`, `host:port`, `[v6]` or `[v6]:port`, without brackets and in lower case."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0].lower()
    return authority.partition(":")[0].lower().removesuffix(".")


def is_from_elsewhere(headers: Mapping[str, str]) -> bool:
    """Whether a page of another site made a browser send this."""
    site = headers.get("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        return True
    origin = headers.get("Origin")
    return origin is not None and origin.partition("://")[2] != headers.get("Host", "")
