"""The values of health checks: what a configuration or the API says of how endpoints are checked.

Services and endpoints hold them (discovery/model.py); only the agent looks at them (discovery/health/). Frozen structs
as all values; durations are seconds.
"""

from __future__ import annotations

from enum import StrEnum

from discovery.values import Struct


class CheckProtocol(StrEnum):
    """How an endpoint is asked whether it is healthy."""

    TCP = "tcp"  # a connection is accepted
    HTTP = "http"
    HTTPS = "https"
    COMMAND = "command"  # a program exits with 0
    GRPC = "grpc"  # grpc.health.v1.Health/Check answers SERVING
    TTL = "ttl"  # the endpoint says so itself, at least every `ttl` seconds


class HealthCheck(Struct):
    """How the endpoints of a service are checked. The first five are the source document's, with its defaults.

    A new endpoint is CHECKING until its first success; from then on it takes `unhealthy_threshold` failures in a row
    to become UNHEALTHY and `healthy_threshold` successes in a row to become HEALTHY again.
    """

    protocol: CheckProtocol = CheckProtocol.TCP
    path: str = "/health"  # of HTTP and HTTPS
    interval: float = 30.0  # from the begin of a check to the begin of the next
    timeout: float = 5.0  # of the whole check
    healthy_threshold: int = 2
    unhealthy_threshold: int = 3
    transition_interval: float = 0.0  # in place of `interval` between two thresholds; 0 = `interval`
    address: str = ""  # IP address asked instead of the endpoint's
    port: int = 0  # port asked instead of the endpoint's
    method: str = "GET"
    host: str = ""  # Host and SNI; "" = the service's domain, or else the address
    headers: dict[str, str] = {}
    expected_status: tuple[tuple[int, int], ...] = ((200, 299),)  # ranges, both ends included
    expected_body: str = ""  # must be contained in the first 64 KiB of the answer's body
    verify: bool = True  # HTTPS, GRPC over TLS: is the certificate checked?
    ca_file: str = ""  # PEM file of the authorities trusted instead of the system's
    tls: bool = False  # of GRPC; HTTPS always, the others never
    command: tuple[str, ...] = ()  # argv; no shell
    grpc_service: str = ""  # "" = the server as a whole
    ttl: float = 0.0  # seconds that one report of TTL counts
