"""proxy.config.load: whatever the text of a file is, there are problems with their places or a configuration, and never
an exception; what was read is what is shown, and the other way."""

from __future__ import annotations

from fuzz.support import expect
from proxy.config.load import load_text

SMALL = b"""listeners:
  - name: web
    address: 127.0.0.1:8080
    routes:
      - { name: a, match: { host: "*.x", path_prefix: /a, methods: [GET] }, service: web, version: v1 }
services:
  web:
    domain: web.local
    load_balancing: least_connections
    endpoints: [ { id: a, address: "10.0.0.1:80", weight: 2, version: v1 } ]
    health_check: { protocol: http, path: /h, interval: 30s, timeout: 5s }
    mesh: { retry: { max_retries: 3, retry_on: [ 5xx ] }, circuit_breaker: { max_requests: 10 } }
"""
SEEDS = (
    SMALL,
    b"workers: 1\ntimeouts: { keep_alive: 75s }\nlimits: { request_head: 60KiB }\ntrusted_proxies: [ 10.0.0.0/8 ]\n",
    b"a: &x [1]\nb: *x\n<<: { c: 1 }\n",
    b"services: { a: { rate_limit: { requests: 1, per: 1s, key: client_ip } } }\n",
    b"services: { a: { fault: { abort: { status: 503, percent: 1 } } } }\n",
    b"tests:\n  - { request: GET http://a/, service: web }\n",
)
WORDS = (
    b": ",
    b"- ",
    b"\n",
    b"{ ",
    b" }",
    b"[ ",
    b"]",
    b"&a ",
    b"*a",
    b"!!int ",
    b"!x ",
    b"|\n",
    b"? ",
    b"${X}",
    b"~",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"listeners:",
    b"services:",
    b"routes:",
    b"match:",
    b"endpoints:",
    b"address:",
    b"health_check:",
    b"mesh:",
    b"split:",
    b"path_regex: ",
    b"(((",
    b"[::1]:80",
    b"0.0.0.0:0",
    b"99999",
    b"99999999999999999999",
    b"5%",
    b"\t",
    b"\xef\xbb\xbf",
    b"---\n",
)


def check(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    loaded = load_text(text, "file.yaml", {"X": "value"})
    expect((loaded.config is None) == bool(loaded.problems), "neither problems nor a configuration, or both")
    for problem in loaded.problems:
        expect(str(problem).startswith("file.yaml"), "a problem without its place", str(problem))
