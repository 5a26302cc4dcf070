"""/etc/hosts and /etc/resolv.conf."""

from __future__ import annotations

from discovery.sources.hosts import known_here, parse_hosts, parse_resolvers


def test_hosts() -> None:
    text = "# none\n127.0.0.1\tlocalhost\n10.0.0.1 Web.corp web # and web2\n::1 web.corp.\n"
    text += "10.0.0.1 web\nnonsense web\n\n9.9.9.9\n"
    assert parse_hosts(text) == {
        "localhost": ("127.0.0.1",),
        "web.corp": ("10.0.0.1", "::1"),
        "web": ("10.0.0.1",),
    }


def test_localhost_is_here_whatever_the_file_says() -> None:
    assert known_here("localhost", {}) == known_here("a.localhost", {}) == ("127.0.0.1", "::1")
    assert known_here("localhost", {"localhost": ("127.0.0.2",)}) == ("127.0.0.2",)
    assert known_here("localhost.corp", {}) == ()


def test_resolvers() -> None:
    text = "search corp.example\nnameserver 10.0.0.2\nnameserver 2001:DB8::1\n#nameserver 1.1.1.1\nnameserver here\n"
    assert parse_resolvers(text) == ("10.0.0.2:53", "[2001:db8::1]:53")
    assert parse_resolvers(text + "nameserver 10.0.0.3\nnameserver 10.0.0.4")[2:] == ("10.0.0.3:53",)
    assert parse_resolvers("") == ("127.0.0.1:53",)
