"""One request that is over, with everything that was decided about it: what the ring of decision records keeps, what
`tap` shows, what a capture file holds (one JSON object a line) and what `simulate` reads.

Names and units are those of the access log (docs/protocol.md): times of phases and `duration_ms` are milliseconds, `ts`
is RFC 3339. What is not known of a request is left out.
"""

from __future__ import annotations

from discovery.model import Struct


class Record(Struct):
    """headers: only those that were asked for, in the order in which they came, redacted unless asked otherwise.
    kept: why it is in the ring: sample or error. tried: addresses of endpoints that failed it, as far as there is room.
    body_bytes: of the request, without framing."""

    ts: str = ""
    duration_ms: float = 0.0
    request_id: str = ""
    trace_id: str = ""
    method: str = ""
    scheme: str = "http"
    host: str = ""
    path: str = ""  # as sent, with the query
    protocol: str = "HTTP/1.1"
    status: int = 0
    upstream_status: int = 0
    flags: str = ""
    flag_details: str = ""
    route: str = ""
    rule_source: str = ""
    service: str = ""
    version: str = ""
    endpoint: str = ""
    drawn: str = ""  # what a split drew that had no usable endpoint
    attempts: int = 0
    retries: int = 0
    retry_denied: str = ""
    probe: bool = False
    bytes_in: int = 0
    bytes_out: int = 0
    body_bytes: int = 0
    client: str = ""
    user_agent: str = ""
    t_recv: float = 0.0
    t_queue: float = 0.0
    t_connect: float = 0.0
    t_first_byte: float = 0.0
    t_total: float = 0.0
    # Beyond the access log.
    listener: str = ""
    peer: str = ""
    worker: int = 0
    config_version: int = 0
    tried: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    kept: str = ""
