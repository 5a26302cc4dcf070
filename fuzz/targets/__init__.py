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
    Target("emit", "heads and bodies as they are written; read by h11", in_ci=3000),
    Target(
        "exchange", "clients and origins at both ends of the whole HTTP/1 path; beside h11", largest=1024, in_ci=150
    ),
    Target(
        "dns_answer",
        "answers of resolvers, kept and passed on; beside dnspython",
        python=("discovery.dns.messages", "discovery.dns.cache", "discovery.dns.forwarding"),
        largest=512,
    ),
    Target("paths", "request targets and paths; read twice", largest=256),
    Target("cookies", "Cookie and traceparent; read twice", python=("mesh.cookies",), largest=256),
    Target("ledger", "lines of records in any order of writing; beside a model", largest=1024),
    Target("expression", "filters of tap", python=("mesh.expression", "mesh.tokens"), largest=512, in_ci=1000),
    Target("units", "numbers, durations and sizes", python=("proxy.config.scalars",), largest=64),
    Target("capture", "files of captured requests", python=("mesh.capture",), largest=1024),
    Target("limits", "rate limits by key of two workers; beside a model", largest=1024, in_ci=1000),
    Target(
        "datagrams",
        "datagrams of clients and an endpoint in any order of events; beside queues",
        largest=256,
        in_ci=150,
    ),
    Target("consul", "registrations as Consul's clients send them", python=("proxy.admin.consul",), in_ci=1000),
    Target("control", "messages between agent and worker", largest=512),
    Target("config", "configuration files", python=("proxy.config",), largest=2048, in_ci=500),
)

BY_NAME = {target.name: target for target in TARGETS}
