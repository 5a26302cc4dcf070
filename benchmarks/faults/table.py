"""Which calls fail, and how, under which scripts."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.faults import scripts
from benchmarks.faults.control import NOBODY, Call, Fault, Role, Sort
from benchmarks.faults.scripts import Script

SHORT: Final = 0

LAST: Final = 400  # no script makes so many calls of a kind: above it something repeats itself
FEW: Final = 4

READS: Final = (SHORT, errno.EAGAIN, errno.EINTR, errno.ECONNRESET, errno.ETIMEDOUT, errno.ENOMEM, errno.ENOBUFS)
WRITES: Final = (*READS, errno.EPIPE)
CONNECTS: Final = (
    errno.ECONNREFUSED,
    errno.ETIMEDOUT,
    errno.ENETUNREACH,
    errno.EADDRNOTAVAIL,
    errno.ENOMEM,
    errno.EAGAIN,
    errno.EINTR,
)
ACCEPTS: Final = (
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOBUFS,
    errno.ECONNABORTED,
    errno.EINTR,
    errno.EAGAIN,
    errno.EPROTO,
)
NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
PIPES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
SPLICES: Final = (SHORT, errno.EAGAIN, errno.EINTR, errno.ENOMEM, errno.ECONNRESET, errno.EPIPE)
WATCHES: Final = (errno.ENOMEM, errno.ENOSPC)
DATAGRAM_READS: Final = (SHORT, errno.EAGAIN, errno.EINTR, errno.ECONNREFUSED, errno.ENOMEM)
DATAGRAM_WRITES: Final = (
    SHORT,
    errno.EAGAIN,
    errno.EINTR,
    errno.ENOBUFS,
    errno.EPERM,
    errno.ENETUNREACH,
    errno.ECONNREFUSED,
    errno.ENOMEM,
)
FILES: Final = (SHORT, errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EINTR)
CHANNELS: Final = (SHORT, errno.EAGAIN, errno.EINTR, errno.ENOMEM, errno.ENOBUFS)

WORKER: Final = Role.WORKER
AGENT: Final = Role.AGENT
OURS: Final = Role.WORKER | Role.AGENT | Role.SUPERVISOR


@dataclass(frozen=True, slots=True)
class Loop:
    """A script and the fault that it is run under for n = 1, 2, 3 ... `may_die`: processes whose end is an answer; that
    takes seconds each time, since who dies often is started again later and later, so that a few n have to do."""

    script: Script
    fault: Fault
    may_die: Role = NOBODY

    @property
    def last(self) -> int:
        return FEW if self.may_die else LAST

    def __str__(self) -> str:
        return f"{self.script.__name__}: {self.fault}"


def _each(
    script: Script,
    call: Call,
    errors: tuple[int, ...],
    roles: Role,
    sorts: Sort = Sort.ANY,
    path: str = "",
    may_die: Role = NOBODY,
) -> Iterator[Loop]:
    for error in errors:
        yield Loop(script, Fault(call, error, roles, sorts, path=path), may_die)


def _streams(script: Script) -> Iterator[Loop]:
    """What can fail of connections in a worker."""
    yield from _each(script, Call.ACCEPT, ACCEPTS, WORKER, Sort.TCP)
    yield from _each(script, Call.READ, READS, WORKER, Sort.TCP)
    yield from _each(script, Call.WRITE, WRITES, WORKER, Sort.TCP)
    yield from _each(script, Call.CONNECT, CONNECTS, WORKER, Sort.TCP)
    yield from _each(script, Call.SOCKET, NO_ROOM, WORKER)
    yield from _each(script, Call.EPOLL, WATCHES, WORKER, Sort.TCP)
    yield from _each(script, Call.WAIT, (errno.EINTR,), WORKER)
    yield from _each(script, Call.MEMORY, (errno.ENOMEM,), WORKER)
    yield from _each(script, Call.MMAP, (errno.ENOMEM,), WORKER)


def _datagrams(script: Script) -> Iterator[Loop]:
    yield from _each(script, Call.READ, DATAGRAM_READS, WORKER, Sort.UDP)
    yield from _each(script, Call.WRITE, DATAGRAM_WRITES, WORKER, Sort.UDP)
    yield from _each(script, Call.CONNECT, CONNECTS, WORKER, Sort.UDP)
    yield from _each(script, Call.SOCKET, NO_ROOM, WORKER)
    yield from _each(script, Call.EPOLL, WATCHES, WORKER, Sort.UDP)
    yield from _each(script, Call.MEMORY, (errno.ENOMEM,), WORKER)


def loops() -> Iterator[Loop]:
    """All of them, script by script."""
    for script in (
        scripts.get,
        scripts.cold_get,
        scripts.post,
        scripts.kept_post,
        scripts.patient_get,
        scripts.patient_post,
        scripts.chunked,
        scripts.until_close,
        scripts.old_client,
        scripts.pipelined,
        scripts.large,
        scripts.upload,
        scripts.websocket,
        scripts.tcp,
    ):
        yield from _streams(script)
    yield from _streams(scripts.bulk)
    yield from _each(scripts.bulk, Call.SPLICE, SPLICES, WORKER, Sort.TCP)
    yield from _datagrams(scripts.udp)
    yield from _datagrams(scripts.dns)
    yield from _datagrams(scripts.dns_forwarded)
    yield from _streams(scripts.dns_tcp)
    # Lines of the access log that are lost are counted, and nothing else.
    yield from _each(scripts.logged, Call.WRITE, FILES, WORKER, Sort.REGULAR, "access.log")
    for script in (scripts.register, scripts.admin):
        yield from _each(script, Call.ACCEPT, ACCEPTS, AGENT, Sort.TCP)
        yield from _each(script, Call.READ, READS, AGENT, Sort.TCP)
        yield from _each(script, Call.WRITE, WRITES, AGENT, Sort.TCP)
        yield from _each(script, Call.EPOLL, WATCHES, AGENT, Sort.TCP)
        yield from _each(script, Call.WAIT, (errno.EINTR,), AGENT)
    for script in (scripts.register, scripts.reload):
        yield from _each(script, Call.READ, CHANNELS, OURS, Sort.UNIX)
        yield from _each(script, Call.WRITE, CHANNELS, OURS, Sort.UNIX)
    for call in (Call.WRITE, Call.SYNC, Call.READ, Call.OPEN):
        errors = FILES if call in (Call.WRITE, Call.READ) else FILES[1:]
        yield from _each(scripts.register, call, errors, AGENT, path="registry.db")
    yield from _each(scripts.reload, Call.SPAWN, (errno.EAGAIN, errno.ENOMEM), AGENT)
    yield from _each(scripts.reload, Call.PIPE, PIPES, AGENT)
    yield from _each(scripts.reload, Call.SOCKET, NO_ROOM, AGENT)
    opening = (errno.EMFILE, errno.ENFILE, errno.EIO)
    yield from _each(scripts.reload, Call.OPEN, opening, AGENT | Role.CHILD, path="hivemesh.yaml")
    # A worker that is killed has a successor, whatever fails on the way to it.
    restart = scripts.restart_worker
    yield from _each(restart, Call.SPAWN, (errno.EAGAIN, errno.ENOMEM), Role.SUPERVISOR, may_die=WORKER)
    yield from _each(restart, Call.SOCKET, NO_ROOM[::2], Role.SUPERVISOR | WORKER, may_die=WORKER)
    yield from _each(restart, Call.EPOLL, WATCHES[:1], WORKER, may_die=WORKER)
    yield from _each(restart, Call.MMAP, (errno.ENOMEM,), WORKER, may_die=WORKER)
    yield from _each(scripts.first_bulk, Call.PIPE, PIPES[:1], WORKER, may_die=WORKER)
    yield from _each(restart, Call.READ, CHANNELS[:4], OURS, Sort.UNIX, may_die=WORKER)
    yield from _each(restart, Call.WRITE, CHANNELS[:4], OURS, Sort.UNIX, may_die=WORKER)
