"""Errors of the system that say that this machine, and no peer, has run out of something.

Whoever cannot connect because of one of these must not blame the endpoint: breakers and health checks would take
good endpoints from service when it is we who are in trouble.
"""

from __future__ import annotations

import errno
from typing import Final

# Descriptors, memory, ports, watches of epoll.
OURS: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC, errno.EADDRNOTAVAIL))
# Connecting by IP, EAGAIN means that no port of ours is free; of a Unix socket it means that its queue is full.
OURS_BY_IP: Final = OURS | {errno.EAGAIN}
