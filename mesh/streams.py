"""Which route takes a connection or a session of datagrams: by the server name that TLS asks for, and by the client.

Routes are ranked once, when the router is made:

    1. exact server name, then the longest wildcard, then none
    2. with clients before without
    3. position in the list

The first in that order whose conditions hold wins, so a route that fails on its clients lets a less specific name have
the connection. Finding it costs one look-up for each dot of the name, however many names there are.
Never looks at anything but the two.
"""

from __future__ import annotations

from collections.abc import Iterable

from discovery.model import StreamRoute
from mesh.networks import Networks


class StreamRule:
    """A route with the target that `match` returns for it. `networks` is None for a route that takes any client."""

    def __init__(self, route: StreamRoute, target: object) -> None:
        self.route = route
        self.target = target
        self.networks = Networks(route.clients) if route.clients else None


class StreamRouter:
    """Decides by the routes of `pairs`; each comes with its target. `looks_at_sni`: some route names a server."""

    def __init__(self, pairs: Iterable[tuple[StreamRoute, object]]) -> None:
        """NetworkError when a client's network is none."""
        rules = [StreamRule(route, target) for route, target in pairs]
        rules.sort(key=lambda rule: rule.networks is None)  # stable: the order of the list decides the rest
        self.exact: dict[bytes, list[StreamRule]] = {}
        self.wildcards: dict[bytes, list[StreamRule]] = {}  # by what follows the star: ".x"
        self.others: list[StreamRule] = []
        for rule in rules:
            for name in rule.route.sni:
                if name.startswith("*"):
                    self.wildcards.setdefault(name[1:].encode(), []).append(rule)
                else:
                    self.exact.setdefault(name.encode(), []).append(rule)
            if not rule.route.sni:
                self.others.append(rule)
        self.looks_at_sni = len(self.exact) + len(self.wildcards) > 0
        # The common case, a listener with one service, asks nothing.
        is_only = not self.looks_at_sni and self.others and self.others[0].networks is None
        self.only = self.others[0].target if is_only else None

    def match(self, sni: bytes, client: bytes) -> object | None:
        """The target of the route that takes it; None when none does. `sni` is in lower case, b"" for none; `client`
        is the text of an IP address, b"" for a unix socket."""
        if self.only is not None:
            return self.only
        if sni and self.looks_at_sni:
            target = self.first(self.exact.get(sni), client)
            if target is not None:
                return target
            # A star stands for one label at least, so the name itself does not begin with the dot.
            dot = sni.find(b".", 1)
            while dot > 0:
                target = self.first(self.wildcards.get(sni[dot:]), client)
                if target is not None:
                    return target
                dot = sni.find(b".", dot + 1)
        return self.first(self.others, client)

    def first(self, rules: list[StreamRule] | None, client: bytes) -> object | None:
        if rules is None:
            return None
        for rule in rules:
            if rule.networks is None or rule.networks.contains(client):
                return rule.target
        return None
