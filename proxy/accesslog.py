"""The access log: one line for each finished exchange, as JSON with stable names or as text people know from Envoy.
Streams and sessions of datagrams have lines of their own (proxy/streamlog.py) in the same log.

Lines are formatted here, into a buffer that is used again, and handed to a `LogSink`. What does not change between the
requests of a route or an endpoint is formatted once. Fields are described in docs/protocol.md. Times of the
monotonic clock become wall-clock times by the one offset of the process (proxy/wallclock.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from discovery.model import AccessLog as AccessLogSettings
from discovery.model import LogFormat
from proxy.http1.codes import USER_AGENT, X_FORWARDED_FOR
from proxy.http1.parties import Exchange, RouteRuntime
from proxy.kernel.buffer import Buffer
from proxy.kernel.cells import Slot
from proxy.log import LogSink
from proxy.logfilter import LineFilter, filters_of
from proxy.streamlog import StreamRecord, write_stream_json, write_stream_text
from proxy.upstream.endpoint import EndpointRuntime
from proxy.wallclock import wall_offset

MICROS = 1_000_000

# Lines are handed over in blocks of about this size (bytes), and whenever somebody flushes.
BLOCK = 16 * 1024


def route_part(route: RouteRuntime) -> bytes:
    """Its name and its place in the configuration, to stand after a value."""
    part = b',"route":' + msgspec.json.encode(route.route.name)
    if route.route.position is not None:
        part += b',"rule_source":' + msgspec.json.encode(str(route.route.position))
    return part


def endpoint_part(endpoint: EndpointRuntime) -> bytes:
    """Version and address, to stand after a string that is still open; its own last string stays open too."""
    part = b'"'
    if endpoint.endpoint.version:
        part += b',"version":' + msgspec.json.encode(endpoint.endpoint.version)
    return part + b',"endpoint":' + msgspec.json.encode(endpoint.address.text)[:-1]


class AccessLog:
    """Writes the exchanges that pass the filters of `settings`."""

    sink: LogSink
    as_json: bool
    filters: tuple[LineFilter, ...]  # of requests; a line passes one of them, or there is none
    stream_filters: tuple[LineFilter, ...]
    lines: Buffer
    wall_offset: int  # from the monotonic clock to the wall clock, microseconds
    second: int  # the one that `second_text` is of
    second_text: bytes

    def __init__(self, settings: AccessLogSettings, row: Slot, on_loss: Callable[[str], None]) -> None:
        """Raises OSError when the file cannot be opened."""
        self.sink = LogSink(settings.path, row, on_loss)
        self.as_json = settings.format == LogFormat.JSON
        self.filters = filters_of(settings, settings.filters)
        self.stream_filters = tuple(each for each in self.filters if each.is_for_streams)
        self.lines = Buffer(2 * BLOCK)
        self.wall_offset = wall_offset()
        self.second = -1
        self.second_text = b""

    def write(self, exchange: Exchange) -> None:
        if self.filters and not self.keeps(exchange):
            return
        if self.as_json:
            self.write_json(exchange)
        else:
            self.write_text(exchange)
        if self.lines.length() >= BLOCK:
            self.hand_over()

    def keeps(self, exchange: Exchange) -> bool:
        for line_filter in self.filters:  # noqa: SIM110 - compiled, a generator costs more than the loop
            if line_filter.keeps(exchange):
                return True
        return False

    def keeps_stream(self, record: StreamRecord) -> bool:
        return any(line_filter.keeps_stream(record) for line_filter in self.stream_filters)

    def write_stream(self, record: StreamRecord) -> None:
        if self.stream_filters and not self.keeps_stream(record):
            return
        if self.as_json:
            self.lines.append(b'{"ts":"')
            self.write_time(record.started)
            self.lines.append(b'"')
            write_stream_json(self.lines, record)
        else:
            self.lines.append(b"[")
            self.write_time(record.started)
            write_stream_text(self.lines, record)
        if self.lines.length() >= BLOCK:
            self.hand_over()

    def hand_over(self) -> None:
        """Give the sink what has been formatted, many lines at a time: one object less for each."""
        if self.lines.length():
            self.sink.append(self.lines.take())

    def flush(self) -> None:
        self.hand_over()
        self.sink.flush()

    def reopen(self) -> None:
        self.hand_over()
        self.sink.reopen()

    def close(self) -> None:
        self.flush()
        self.sink.close()

    def write_time(self, micros: int) -> None:
        """UTC with milliseconds, RFC 3339."""
        wall = micros + self.wall_offset
        if wall // MICROS != self.second:
            self.second = wall // MICROS
            self.second_text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(self.second)).encode()
        self.lines.append(self.second_text)
        self.lines.append_padded(wall % MICROS // 1000, 3)
        self.lines.append(b"Z")

    def write_json(self, exchange: Exchange) -> None:
        out = self.lines
        head = exchange.head
        out.append(b'{"ts":"')
        self.write_time(exchange.started)
        out.append(b'","duration_ms":')
        out.append_millis(exchange.finished - exchange.started)
        out.append(b',"request_id":"')
        out.append_json(exchange.request_id)
        if exchange.traceparent:
            out.append(b'","trace_id":"')
            out.append(exchange.traceparent[3:35])
        out.append(b'","method":"')
        out.append_json(exchange.method)
        out.append(b'","scheme":"http","host":"')
        out.append_json(exchange.host)
        out.append(b'","path":"')
        out.append_json(head.target())
        out.append(b'","protocol":"HTTP/1.1","status":' if head.minor else b'","protocol":"HTTP/1.0","status":')
        out.append_decimal(exchange.status)
        if exchange.upstream_status:
            out.append(b',"upstream_status":')
            out.append_decimal(exchange.upstream_status)
        elif exchange.discarded:
            out.append(b',"upstream_status":')
            out.append_decimal(exchange.discarded)
        out.append(b',"flags":"')
        if exchange.flags:
            out.append(exchange.flags.encode())
        if exchange.detail:
            out.append(b'","flag_details":"')
            out.append_json(exchange.detail.encode())
        route = exchange.route
        if route is not None:
            out.append(b'"')
            if route.log_part is None:
                route.log_part = route_part(route)
            out.append(route.log_part)
            if exchange.service is not None:
                out.append(b',"service":"')
                out.append_json(exchange.service.name.encode())
            else:
                out.append(b',"service":"')
        endpoint = exchange.endpoint
        if endpoint is not None:
            if endpoint.log_part is None:
                endpoint.log_part = endpoint_part(endpoint)
            out.append(endpoint.log_part)
        elif exchange.version:
            out.append(b'","version":"')
            out.append_json(exchange.version.encode())
        if exchange.wanted:
            out.append(b'","drawn":"')
            out.append_json(exchange.wanted.encode())
        out.append(b'","attempts":')
        out.append_decimal(exchange.attempts)
        if exchange.retries:
            out.append(b',"retries":')
            out.append_decimal(exchange.retries)
        if exchange.denied:
            out.append(b',"retry_denied":"')
            out.append(exchange.denied.encode())
            out.append(b'"')
        if exchange.probing:
            out.append(b',"probe":true')
        out.append(b',"bytes_in":')
        out.append_decimal(exchange.bytes_in)
        out.append(b',"bytes_out":')
        out.append_decimal(exchange.bytes_out)
        out.append(b',"client":"')
        out.append_json(exchange.client)
        out.append(b'","t_recv":')
        out.append_millis(exchange.received - exchange.started)
        if exchange.assigned:
            out.append(b',"t_queue":')
            out.append_millis(exchange.assigned - exchange.received)
            out.append(b',"t_connect":')
            out.append_millis(exchange.connected - exchange.assigned)
            if exchange.first_byte:
                out.append(b',"t_first_byte":')
                out.append_millis(exchange.first_byte - exchange.connected)
        out.append(b',"t_total":')
        out.append_millis(exchange.finished - exchange.started)
        agent = head.get_id(USER_AGENT)
        if agent is not None:
            out.append(b',"user_agent":"')
            out.append_json(agent)
            out.append(b'"}\n')
        else:
            out.append(b"}\n")

    def write_quoted(self, value: bytes | None) -> None:
        self.lines.append(b' "')
        if value:
            self.lines.append_json(value)
        else:
            self.lines.append(b"-")
        self.lines.append(b'"')

    def write_text(self, exchange: Exchange) -> None:
        out = self.lines
        head = exchange.head
        out.append(b"[")
        self.write_time(exchange.started)
        out.append(b'] "')
        out.append_json(exchange.method)
        out.append(b" ")
        out.append_json(head.target())
        out.append(b' HTTP/1.1" ' if head.minor else b' HTTP/1.0" ')
        out.append_decimal(exchange.status)
        out.append(b" ")
        out.append(exchange.flags.encode() if exchange.flags else b"-")
        out.append(b" ")
        out.append_decimal(exchange.bytes_in)
        out.append(b" ")
        out.append_decimal(exchange.bytes_out)
        out.append(b" ")
        out.append_decimal((exchange.finished - exchange.started) // 1000)
        out.append(b" ")
        if exchange.first_byte:
            out.append_decimal((exchange.first_byte - exchange.connected) // 1000)
        else:
            out.append(b"-")
        self.write_quoted(head.get_id(X_FORWARDED_FOR))
        self.write_quoted(head.get_id(USER_AGENT))
        self.write_quoted(exchange.request_id)
        self.write_quoted(exchange.authority or head.raw_host())
        self.write_quoted(exchange.endpoint.address.text.encode() if exchange.endpoint is not None else None)
        # Behind what Envoy's line has, and only where there is something to say.
        if exchange.wanted:
            out.append(b' drawn="')
            out.append_json(exchange.wanted.encode())
            out.append(b'"')
        if exchange.retries:
            out.append(b" retries=")
            out.append_decimal(exchange.retries)
        if exchange.denied:
            out.append(b" retry_denied=")
            out.append(exchange.denied.encode())
        if exchange.probing:
            out.append(b" probe=true")
        out.append(b"\n")
