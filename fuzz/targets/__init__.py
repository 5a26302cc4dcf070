"""What is fuzzed, the most exposed to strangers first.

A target is a module here with `check(data)`, which raises when the program does something that it should not
(fuzz.support.Finding, or whatever came out of the program), with SEEDS, inputs to begin with, and WORDS, pieces of
input that chance alone would hardly hit upon.
"""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """`python`: modules without a compiled form whose branches are counted as well, by atheris' instrumentation.
    `largest`: bytes of an input. `in_ci`: inputs by chance in every test run."""

    name: str
    says: str
    python: tuple[str, ...] = ()
    largest: int = 2048
    in_ci: int = 2000


TARGETS = (
    Target("request_head", "request heads of clients; beside h11", in_ci=6000),
    Target("body", "bodies and trailers, cut anyhow; beside h11"),
    Target("response_head", "response heads of origins; beside h11", in_ci=4000),
    Target("dns_query", "questions to the DNS server; beside dnslib and dnspython", largest=768),
    Target("proxy_header", "PROXY headers, versions 1 and 2; read twice, written and read again", largest=512),
    Target("client_hello", "TLS ClientHellos; read twice", largest=1024),
    Target("detect", "the first bytes of a connection; beside the request scanner", largest=128),
    Target(
        "dns_answer",
        "answers of resolvers, kept and passed on; beside dnspython",
        python=("discovery.dns.messages", "discovery.dns.cache", "discovery.dns.forwarding"),
        largest=512,
    ),
)

BY_NAME = {target.name: target for target in TARGETS}
