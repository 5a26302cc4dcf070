"""What the access log says of a stream: a TCP connection that was passed through, or a session of datagrams.

A `StreamRecord` is filled by the driver while the stream lives and written once, when it has ended. It decides nothing.
Names and units are those of a request's line as far as both have them; docs/protocol.md describes the fields.
"""

from __future__ import annotations

import msgspec

from discovery.model import StreamRoute
from mesh.request import RequestView
from proxy.kernel.buffer import Buffer
from proxy.upstream.endpoint import EndpointRuntime

TCP = b"tcp"
UDP = b"udp"


class StreamRecord(RequestView):
    """One stream from its first byte to its end; a balancer is asked with it as with a request.

    Times are microseconds of the monotonic clock, 0 while not reached. Bytes are those of the payload: `bytes_in` from
    the client, `bytes_out` to it.
    """

    protocol: bytes  # TCP or UDP
    listener: str
    route: StreamRoute | None  # None when none matched
    service: str  # "" until the route or a split gave one
    version: str
    endpoint: EndpointRuntime | None  # the last that was tried
    client_port: int  # 0 for a unix socket
    sni: bytes  # b"" when there was none or nobody looked
    attempts: int  # connections to endpoints that were begun
    flags: str  # separated by commas, "" for a stream that ended by itself
    detail: str  # more of it in words
    started: int  # accepted, or the first datagram
    received: int  # all is known that the route depends on (PROXY header, SNI)
    assigned: int  # connection to the endpoint wanted
    connected: int  # and there
    finished: int
    bytes_in: int
    bytes_out: int
    datagrams_in: int
    datagrams_out: int

    def __init__(self, protocol: bytes, listener: str, client: bytes, client_port: int, started: int) -> None:
        self.protocol = protocol
        self.listener = listener
        self.client = client
        self.method = b""
        self.host = b""
        self.path = b""
        self.query = b""
        self.client_port = client_port
        self.started = started
        self.received = started
        self.route = None
        self.service = ""
        self.version = ""
        self.endpoint = None
        self.sni = b""
        self.attempts = 0
        self.flags = ""
        self.detail = ""
        self.assigned = 0
        self.connected = 0
        self.finished = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.datagrams_in = 0
        self.datagrams_out = 0

    def add_flag(self, flag: str) -> None:
        self.flags = f"{self.flags},{flag}" if self.flags else flag


def write_stream_json(out: Buffer, record: StreamRecord) -> None:
    """What follows the opening brace and the time: `,"duration_ms":...}` and a newline."""
    out.append(b',"duration_ms":')
    out.append_millis(record.finished - record.started)
    out.append(b',"protocol":"')
    out.append(record.protocol)
    out.append(b'","listener":')
    out.append(msgspec.json.encode(record.listener))
    if record.sni:
        out.append(b',"sni":"')
        out.append_json(record.sni)
        out.append(b'"')
    out.append(b',"flags":"')
    out.append(record.flags.encode())
    out.append(b'"')
    if record.detail:
        out.append(b',"flag_details":')
        out.append(msgspec.json.encode(record.detail))
    route = record.route
    if route is not None:
        out.append(b',"route":')
        out.append(msgspec.json.encode(route.name))
        if route.position is not None:
            out.append(b',"rule_source":')
            out.append(msgspec.json.encode(str(route.position)))
    if record.service:
        out.append(b',"service":')
        out.append(msgspec.json.encode(record.service))
    endpoint = record.endpoint
    version = record.version if endpoint is None else endpoint.endpoint.version
    if version:
        out.append(b',"version":')
        out.append(msgspec.json.encode(version))
    if endpoint is not None:
        out.append(b',"endpoint":')
        out.append(msgspec.json.encode(endpoint.address.text))
    out.append(b',"attempts":')
    out.append_decimal(record.attempts)
    out.append(b',"bytes_in":')
    out.append_decimal(record.bytes_in)
    out.append(b',"bytes_out":')
    out.append_decimal(record.bytes_out)
    if record.protocol == UDP:
        out.append(b',"datagrams_in":')
        out.append_decimal(record.datagrams_in)
        out.append(b',"datagrams_out":')
        out.append_decimal(record.datagrams_out)
    out.append(b',"client":"')
    out.append_json(record.client)
    out.append(b'"')
    if record.client_port:
        out.append(b',"client_port":')
        out.append_decimal(record.client_port)
    out.append(b',"t_recv":')
    out.append_millis(record.received - record.started)
    if record.assigned:
        out.append(b',"t_queue":')
        out.append_millis(record.assigned - record.received)
        if record.connected:
            out.append(b',"t_connect":')
            out.append_millis(record.connected - record.assigned)
    out.append(b"}\n")


def write_stream_text(out: Buffer, record: StreamRecord) -> None:
    """What follows `[TIME`: the order is that of a request's line, with what a stream has of it."""
    out.append(b"] ")
    out.append(record.protocol)
    write_quoted(out, record.listener.encode())
    out.append(b" ")
    out.append(record.flags.encode() if record.flags else b"-")
    out.append(b" ")
    out.append_decimal(record.bytes_in)
    out.append(b" ")
    out.append_decimal(record.bytes_out)
    out.append(b" ")
    out.append_decimal((record.finished - record.started) // 1000)
    out.append(b" ")
    if record.connected:
        out.append_decimal((record.connected - record.assigned) // 1000)
    else:
        out.append(b"-")
    client = b"[%b]" % record.client if b":" in record.client else record.client
    write_quoted(out, b"%b:%d" % (client, record.client_port) if record.client_port else client)
    write_quoted(out, record.sni)
    write_quoted(out, record.endpoint.address.text.encode() if record.endpoint is not None else b"")
    out.append(b"\n")


def write_quoted(out: Buffer, value: bytes) -> None:
    out.append(b' "')
    if value:
        out.append_json(value)
    else:
        out.append(b"-")
    out.append(b'"')
