"""The layout of the statistics table: which cell of a row means what, and how rows are named.

A row ("slot") is 64 cells of 8 bytes. Every worker has its own block of rows and is its only writer, so a cell is
incremented without locks; the sum over the blocks is the value. Cells count up and are never zeroed.
The compiled writer (proxy/kernel/cells) has the same numbers; a test compares the two.
"""

from __future__ import annotations

CELLS = 64
CELL_SIZE = 8
SLOT_SIZE = CELLS * CELL_SIZE
SLOTS_PER_WORKER = 65_536  # 32 MiB of address space per worker; pages never written cost nothing
MAX_WORKERS = 62  # with their blocks and the two shared ones the memory has 64

# Behind the blocks of the workers lie two of the same size that any process may write to, with atomic operations only:
# one with a row of shared words for each row of statistics, and one of rate limits by key (proxy/kernel/limits).
SHARED_BLOCKS = 2

# Gauges and counters.
ACTIVE = 0  # gauge: requests in flight
CONNECTIONS_TOTAL = 1
CONNECTIONS_ACTIVE = 2  # gauge: open connections; of an endpoint the idle ones too
BYTES_IN = 3  # listener: from clients; service and endpoint: from upstreams
BYTES_OUT = 4
CONNECT_FAILURES = 5
CONNECT_TIMEOUTS = 6
REPLAYS = 7  # requests sent again to another endpoint or connection
PENDING = 8  # gauge: requests that wait for a connection
POOL_IDLE = 9  # gauge
OVERFLOWS = 10  # refused because a limit was reached
CONNECT_MICROSECONDS = 11
CONNECTS = 12
REQUESTS = 13
DURATION_MICROSECONDS = 14
PROXY_HEADER_FAILURES = 15  # of a listener: connections closed because no valid PROXY header came

# A listener connects to nobody, so in its row these cells, which are otherwise of endpoints, count datagrams.
DATAGRAMS_IN = 5
DATAGRAMS_OUT = 6
DATAGRAMS_OVERSIZE = 7  # dropped: larger than a datagram of UDP can be
DATAGRAMS_UNROUTED = 11  # dropped: no route, no usable endpoint, or none that could be connected to
DATAGRAMS_NOT_SENT = 12  # dropped: the kernel did not take them

# The rows of the DNS server, one for each protocol, use the cells above that fit: ACTIVE for questions that wait for a
# resolver, CONNECTIONS of TCP, BYTES, OVERFLOWS, REQUESTS and their durations. The rest of a row:
DNS_TRUNCATED = 5  # answers that did not fit
DNS_MALFORMED = 6  # messages that are no questions; those that could be answered were answered FORMERR
DNS_RATE_LIMITED = 7  # answers dropped, or shortened, because of dns.rate_limit
DNS_NOT_SENT = 11  # answers that the kernel did not take
DNS_UNCACHED = 12  # questions whose answer had to be composed
DNS_TYPES = 32  # questions by type, in the order of DNS_TYPE_NUMBERS, then all others
DNS_RCODES = 48  # answers by code, in the order of DNS_RCODE_NUMBERS, then all others
DNS_TYPE_NUMBERS = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    64: "SVCB",
    65: "HTTPS",
    255: "ANY",
}
DNS_RCODE_NUMBERS = {
    0: "NOERROR",
    1: "FORMERR",
    2: "SERVFAIL",
    3: "NXDOMAIN",
    4: "NOTIMP",
    5: "REFUSED",
    16: "BADVERS",
}

# The row of forwarded questions uses ACTIVE, OVERFLOWS, REQUESTS and their durations (of questions that resolvers were
# asked), the pairs of codes for what came of them, and:
DNS_CACHE_ENTRIES = 2  # gauge
DNS_CACHE_HITS = 5
DNS_CACHE_MISSES = 6
DNS_CACHE_STALE = 7  # answers that had ended and were given because no resolver answered
DNS_CACHE_BYTES = 8  # gauge
DNS_RESOLVERS_DOWN = 9  # gauge: resolvers that did not answer lately and are asked last
DNS_RESOLVER_FAILURES = 11  # times that one did not answer
DNS_FORWARD_OVER_TCP = 12  # questions asked again over TCP because the answer was truncated
# Codes of REQUESTS.
DNS_FORWARD_ANSWERED = 1
DNS_FORWARD_STALE = 2
DNS_FORWARD_FAILED = 3

# What describes the moment. The process that moved these is the only one that moves them back, so when a worker dies
# the agent sets them to 0 in its block.
GAUGES = (ACTIVE, CONNECTIONS_ACTIVE, PENDING, POOL_IDLE)

# Durations: one cell per bucket and one for what is above the last bound.
BUCKETS = 16
BUCKET_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)  # seconds

# Status codes: pairs (code, count), taken in the order of first use; when all are taken, the last counts as code 0.
CODES = 32
CODE_PAIRS = 16

# In an endpoint's row these cells, which are otherwise of services or listeners, are about its attempts.
ATTEMPTS = 7  # attempts whose outcome is known
PROBES = 8  # gauge: half-open probes under way
ATTEMPT_FAILURES = 10  # ... that count as errors of the endpoint

# In a service's row:
RETRIES_ACTIVE = 9  # gauge: requests that are being sent again because of a retry policy


def table_size(workers: int, rows: int = SLOTS_PER_WORKER) -> int:
    """Bytes of a table for this many workers with this many rows each."""
    return (workers + SHARED_BLOCKS) * rows * SLOT_SIZE


# Slot 0 of a block belongs to the worker itself.
WORKER_SLOT = 0
WORKER_PID = 48
WORKER_HEARTBEAT = 49  # milliseconds of the monotonic clock
WORKER_VERSION = 50  # snapshot version in force
WORKER_LOG_DROPPED = 51  # access log lines given up because the sink was too slow
WORKER_CONNECTIONS = 52  # gauge: client connections
TABLE_BLOCKS = 53  # of block 0 only, for the whole table: blocks that are or were in use; never falls
WORKER_UDP_SESSIONS = 54  # gauge: sessions of datagrams
WORKER_RESTARTS = 55  # times its process ended without being told to; written by the supervisor
WORKER_HANGS = 56  # ... of which it was killed because it hung
AGENT_RESTARTS = 57  # of block 0 only; written by the supervisor
AGENT_HEARTBEAT = 58  # of block 0 only: the agent's, as a worker's
WORKER_GC_PASSES = 59  # passes of the garbage collector, and what they took
WORKER_GC_MICROSECONDS = 60
WORKER_GC_LONGEST = 61  # gauge: microseconds of the longest of this process
WORKER_CROWDED = 62  # times that accepting paused for want of descriptors or memory
WORKER_GAUGES = (WORKER_CONNECTIONS, WORKER_UDP_SESSIONS)


def dns_key(part: str) -> str:
    """Of the DNS server: "udp", "tcp" or "forward"."""
    return f"dns/{part}"


def listener_key(name: str) -> str:
    return f"listener/{name}"


def route_key(listener: str, name: str) -> str:
    return f"route/{listener}/{name}"


def service_key(name: str) -> str:
    return f"service/{name}"


def endpoint_key(service: str, endpoint_id: str, address: str) -> str:
    return f"endpoint/{service}/{endpoint_id}/{address}"
