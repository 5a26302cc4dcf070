"""What time it is for people: moments of the monotonic clock as moments of the wall clock.

One offset for a whole process, whoever asks, so that the access log, records and taps say the same of a request to the
millisecond. It is taken once: what the wall clock is set to later does not tear the order of lines apart.
"""

from __future__ import annotations

import time
from functools import cache


@cache
def wall_offset() -> int:
    """From the monotonic clock to the wall clock, in microseconds."""
    return time.time_ns() // 1000 - time.monotonic_ns() // 1000
