"""Listening sockets: an address of the configuration becomes sockets, one per worker.

TCP: one SO_REUSEPORT socket per worker, so that the kernel spreads connections and no worker wakes for another's.
Any second program of the same user could join such a group unnoticed and take half of the traffic, so a probe
without SO_REUSEPORT goes first and reports a port in use. Options that accepted sockets inherit (TCP_NODELAY) are
set here, once per listener. An IPv6 address listens for IPv6 only: `[::]:80` and `0.0.0.0:80` do not collide.
UDP, written `udp:host:port` here: the same, and none of what is TCP's. Ports of TCP and UDP are apart, so listeners of
both may have one address.
Unix: one socket for all workers; the file of a process that died is replaced, anything else is an error.
Standard library only. `BindError` is one sentence for the user.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import NamedTuple

from proxy.control.occupant import occupant

UNIX_PREFIX = "unix:"
UDP_PREFIX = "udp:"
_DEFAULT_BACKLOG = 4096  # of Linux since 5.4, where somaxconn cannot be read
# Datagrams that wait for a worker, in bytes as the kernel counts them (a small one takes about 800). The default of
# Linux, 208 KiB, is full after 270 of them: 3 ms at 100,000 datagrams per second. Only what waits takes memory.
_RECEIVE_BUFFER = 4 * 1024 * 1024
_SO_RCVBUFFORCE = 33  # Linux, <asm-generic/socket.h>: as SO_RCVBUF, and net.core.rmem_max does not bound it


class BindError(Exception):
    """Message: what is wrong with the address, and what to do where that is known."""


class Bound(NamedTuple):
    address: str  # as bound: port 0 has become the port, and nothing says that it is UDP
    sockets: list[socket.socket]
    path: str  # file of a unix socket, "" for TCP and UDP


def socket_key(name: str, address: str) -> str:
    """Listeners with the same key share sockets. A port of 0 is another port for everyone who asks."""
    return f"{address} {name}" if address.endswith(":0") else address


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`. Raises BindError."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise BindError(f"{address} is not an address: IPv6 is written [address]:port")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise BindError(f"{address} is not an address: expected host:port, [v6]:port or unix:PATH")
    return host, int(port)


def bind(address: str, count: int) -> Bound:
    """`count` sockets that listen on `address`, or one if it is a unix socket. Raises BindError; then nothing stays
    bound."""
    if address.startswith(UNIX_PREFIX):
        return _bind_unix(address.removeprefix(UNIX_PREFIX))
    kind = socket.SOCK_DGRAM if address.startswith(UDP_PREFIX) else socket.SOCK_STREAM
    address = address.removeprefix(UDP_PREFIX)
    host, port = split_address(address)
    try:
        family, _, _, _, target = _resolve(host, port)
    except socket.gaierror as error:
        raise BindError(f"cannot listen on {address}: {error.strerror}") from None
    try:
        if port:
            _probe(family, kind, target, port)
        sockets = _listening(family, kind, target, count)
    except OSError as error:
        raise BindError(_explain(address, kind, port, error)) from None
    target = sockets[0].getsockname()
    actual = f"[{target[0]}]:{target[1]}" if family == socket.AF_INET6 else f"{target[0]}:{target[1]}"
    return Bound(actual, sockets, "")


def bind_alone(address: str) -> Bound:
    """One socket that nobody shares, not even a listener of ours: for the admin API. A unix socket is for the user we
    run as alone, from its first moment. Raises BindError."""
    if address.startswith(UNIX_PREFIX):
        before = os.umask(0o177)
        try:
            return _bind_unix(address.removeprefix(UNIX_PREFIX))
        finally:
            os.umask(before)
    host, port = split_address(address)
    try:
        family, _, _, _, target = _resolve(host, port)
    except socket.gaierror as error:
        raise BindError(f"cannot listen on {address}: {error.strerror}") from None
    sock = None
    try:
        sock = _socket(family, socket.SOCK_STREAM)
        sock.bind(target)
        sock.listen(_backlog())
    except OSError as error:
        if sock is not None:
            sock.close()
        raise BindError(_explain(address, socket.SOCK_STREAM, port, error)) from None
    return Bound(f"{address.rpartition(':')[0]}:{sock.getsockname()[1]}", [sock], "")


def widen(bound: Bound, count: int) -> None:
    """Sockets for more workers, beside those that listen already. A unix socket has as many as anybody needs. Raises
    BindError; then nothing has changed."""
    missing = count - len(bound.sockets)
    if bound.path or missing <= 0:
        return
    first = bound.sockets[0]
    try:
        bound.sockets.extend(_listening(first.family, first.type, first.getsockname(), missing))
    except OSError as error:
        raise BindError(_explain(bound.address, first.type, first.getsockname()[1], error)) from None


def give(bound: Bound, uid: int, gid: int) -> None:
    """The file of a unix socket belongs to this user from now on."""
    if bound.path:
        os.chown(bound.path, uid, gid)


def release(bound: Bound) -> None:
    """Close the sockets; remove the file of a unix socket."""
    _close(bound.sockets)
    if bound.path:
        with contextlib.suppress(OSError):
            os.unlink(bound.path)


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, int, int, str, tuple[str, int]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)  # localhost is 127.0.0.1 for most who write it
    return found[0]  # type: ignore[return-value]


def _listening(family: int, kind: int, target: tuple[str, int], count: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sock = _socket(family, kind)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(target)
            target = sock.getsockname()  # with port 0 the first one chooses for all
        if kind == socket.SOCK_STREAM:
            for sock in sockets:
                sock.listen(_backlog())
    except OSError:
        _close(sockets)
        raise
    return sockets


def _socket(family: int, kind: int) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.setblocking(False)  # several processes accept on it, and whoever comes late would wait
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # with UDP it would be what SO_REUSEPORT is
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        _raise_receive_buffer(sock)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _raise_receive_buffer(sock: socket.socket) -> None:
    """As far as we may: privileged to what we want, others to what net.core.rmem_max allows."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)


def _probe(family: socket.AddressFamily, kind: socket.SocketKind, target: tuple[str, int], port: int) -> None:
    with _socket(family, kind) as sock:
        try:
            sock.bind(target)
        except OSError as error:
            holder = occupant(port, kind) if error.errno == errno.EADDRINUSE else None
            if holder is None or holder.pid != os.getpid():  # an overlapping address of our own is fine
                raise


def _bind_unix(path: str) -> Bound:
    address = UNIX_PREFIX + path
    if not path:
        raise BindError("unix: is not an address: expected unix:PATH")
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        sock.bind(path)
        sock.listen(_backlog())
    except OSError as error:
        sock.close()
        raise BindError(f"cannot listen on {address}: {error.strerror or error}") from None
    return Bound(address, [sock], path)


def _remove_stale(path: str) -> None:
    """A socket file nobody answers on was left behind by a process that died."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise BindError(f"cannot listen on unix:{path}: the file exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            raise BindError(f"cannot listen on unix:{path}: {error.strerror or error}") from None
    raise BindError(f"cannot listen on unix:{path}: another process listens there")


def _explain(address: str, kind: socket.SocketKind, port: int, error: OSError) -> str:
    if kind == socket.SOCK_DGRAM:
        address += " (UDP)"
    if error.errno == errno.EADDRINUSE:
        holder = occupant(port, kind)
        by = f" by {holder.name} (pid {holder.pid})" if holder else ""
        if holder and holder.pid == os.getpid():
            by = " by another address of this program"
        return f"cannot listen on {address}: the port is in use{by}"
    if error.errno == errno.EACCES and port < 1024:
        return (
            f"cannot listen on {address}: ports below 1024 need root, CAP_NET_BIND_SERVICE, or a lower "
            "net.ipv4.ip_unprivileged_port_start"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {address}: this machine does not have the address"
    return f"cannot listen on {address}: {error.strerror or error}"


def _backlog() -> int:
    """What the kernel allows; it cuts a larger number down to this anyway."""
    try:
        with open("/proc/sys/net/core/somaxconn", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return _DEFAULT_BACKLOG


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
