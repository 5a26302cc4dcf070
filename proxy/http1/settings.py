"""The settings of the HTTP path, unpacked once so that a request reads typed fields and no nested values."""

from __future__ import annotations

from discovery.model import EscapePolicy, Settings
from mesh.networks import Networks
from proxy.kernel.scan import HeadLimits


class HttpSettings:
    """Seconds and bytes, as in discovery.model.Settings."""

    request_limits: HeadLimits
    response_limits: HeadLimits
    trailer_limits: HeadLimits
    body: int
    chunk_extension: int
    interim_responses: int
    replay_body: int
    requests_per_connection: int
    request_head: float
    keep_alive: float
    stream_idle: float
    connect: float
    response_header: float
    linger: float
    has_trusted: bool
    trusted: Networks
    escapes: EscapePolicy
    merge_slashes: bool
    name: str
    via: bytes
    pseudonym: bytes

    def __init__(self, settings: Settings) -> None:
        limits = settings.limits
        timeouts = settings.timeouts
        self.request_limits = HeadLimits(
            limits.request_head, min(limits.request_line, limits.request_head), limits.headers
        )
        self.response_limits = HeadLimits(limits.response_head, limits.response_head, limits.headers)
        self.trailer_limits = HeadLimits(limits.trailers, limits.trailers, limits.headers)
        self.body = limits.body
        self.chunk_extension = limits.chunk_extension
        self.interim_responses = limits.interim_responses
        self.replay_body = limits.replay_body
        self.requests_per_connection = limits.requests_per_connection
        self.request_head = timeouts.request_head
        self.keep_alive = timeouts.keep_alive
        self.stream_idle = timeouts.stream_idle
        self.connect = timeouts.connect
        self.response_header = timeouts.response_header
        self.linger = timeouts.linger
        self.has_trusted = bool(settings.trusted_proxies)
        self.trusted = Networks(settings.trusted_proxies)
        self.escapes = settings.path_escapes
        self.merge_slashes = settings.merge_slashes
        self.name = settings.instance
        self.pseudonym = settings.instance.encode()
        self.via = b"1.1 " + self.pseudonym
