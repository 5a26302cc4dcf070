"""Addresses become listening sockets, or one sentence that says why not."""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.control import sockets
from proxy.control.occupant import occupant
from proxy.control.sockets import BindError, Bound, bind, bind_alone, release, socket_key, widen

HOLD_A_PORT = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0), reuse_port=True)
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""


HOLD_A_UDP_PORT = """
import socket, sys
holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for option in (socket.SO_REUSEPORT, socket.SO_REUSEADDR):
    holder.setsockopt(socket.SOL_SOCKET, option, 1)
holder.bind(("127.0.0.1", 0))
print(holder.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other_process() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that listens on a port and would share it with whoever sets SO_REUSEPORT."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_A_PORT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())


def bound(address: str, count: int = 1) -> Bound:
    return bind(address, count)


def test_every_worker_gets_a_socket_of_the_same_port() -> None:
    made = bound("127.0.0.1:0", 3)

    ports = {sock.getsockname()[1] for sock in made.sockets}

    assert len(made.sockets) == 3
    assert made.address == f"127.0.0.1:{ports.pop()}"
    assert not ports
    release(made)


def test_accepted_connections_do_not_delay_small_writes() -> None:
    made = bound("127.0.0.1:0")
    with socket.create_connection(made.sockets[0].getsockname()):
        connection, _ = made.sockets[0].accept()
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        connection.close()
    release(made)


def test_a_port_in_use_is_told_with_the_process_that_has_it(other_process: tuple[subprocess.Popen[str], int]) -> None:
    process, port = other_process

    with pytest.raises(BindError) as error:
        bind(f"127.0.0.1:{port}", 2)

    message = str(error.value)
    assert message.startswith(f"cannot listen on 127.0.0.1:{port}: the port is in use by ")
    assert message.endswith(f"(pid {process.pid})")


def test_nobody_has_a_port_that_is_not_listened_on() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert occupant(unused.getsockname()[1]) is None


def test_an_overlapping_address_of_our_own_is_allowed() -> None:
    wide = bound("0.0.0.0:0")
    port = wide.sockets[0].getsockname()[1]

    narrow = bound(f"127.0.0.1:{port}")

    release(narrow)
    release(wide)


def test_nothing_stays_bound_after_a_failure(other_process: tuple[subprocess.Popen[str], int]) -> None:
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(BindError):
        bind(f"127.0.0.1:{other_process[1]}", 4)

    assert len(os.listdir("/proc/self/fd")) == before


def test_a_privileged_port_says_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sockets, "_probe", refuse)

    with pytest.raises(BindError, match="ports below 1024 need root, CAP_NET_BIND_SERVICE"):
        bind("127.0.0.1:80", 1)


def test_an_address_of_another_machine_is_told_as_such() -> None:
    with pytest.raises(BindError, match="this machine does not have the address"):
        bind("192.0.2.1:8080", 1)


@pytest.mark.parametrize("address", ["", "8080", ":8080", "127.0.0.1:", "::1:80", "127.0.0.1:99999", "unix:"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(BindError, match="is not an address"):
        bind(address, 1)


def test_ipv6_listens_for_ipv6_only() -> None:
    made = bound("[::1]:0")

    assert made.address.startswith("[::1]:")
    assert made.sockets[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    release(made)


def test_more_workers_get_sockets_beside_those_that_listen() -> None:
    made = bind("127.0.0.1:0", 1)
    first = made.sockets[0]

    widen(made, 3)
    widen(made, 2)

    assert made.sockets[0] is first
    assert [sock.getsockname() for sock in made.sockets] == [first.getsockname()] * 3
    assert all(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for sock in made.sockets)
    release(made)


def test_workers_share_one_unix_socket_and_its_file_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    made = bound(f"unix:{path}", 2)
    widen(made, 3)
    assert len(made.sockets) == 1

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        connection, _ = made.sockets[0].accept()
        connection.close()

    release(made)
    assert not path.exists()


def test_the_socket_file_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    release(bound(f"unix:{path}"))


def test_a_unix_socket_that_answers_is_in_use(tmp_path: Path) -> None:
    made = bound(f"unix:{tmp_path}/web.sock")

    with pytest.raises(BindError, match="another process listens there"):
        bind(f"unix:{tmp_path}/web.sock", 1)
    release(made)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("mine")

    with pytest.raises(BindError, match="exists and is not a socket"):
        bind(f"unix:{path}", 1)
    assert path.read_text() == "mine"


def test_listeners_share_sockets_by_address_but_not_a_port_that_is_yet_to_be_chosen() -> None:
    assert socket_key("a", "127.0.0.1:80") == socket_key("b", "127.0.0.1:80")
    assert socket_key("a", "127.0.0.1:0") != socket_key("b", "127.0.0.1:0")


def test_datagrams_have_a_socket_of_the_same_port_for_every_worker() -> None:
    made = bound("udp:127.0.0.1:0", 2)
    one, two = made.sockets

    assert one.type == two.type == socket.SOCK_DGRAM
    assert one.getsockname() == two.getsockname()
    assert made.address == f"127.0.0.1:{one.getsockname()[1]}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", one.getsockname())
        assert len(select.select([one, two], [], [], 5)[0]) == 1
    release(made)


def test_many_datagrams_may_wait_for_a_worker() -> None:
    made = bound("udp:127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        usual = plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    allowed = 2 * int(Path("/proc/sys/net/core/rmem_max").read_text())

    raised = made.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    assert raised >= min(2 * 4 * 1024 * 1024, allowed)
    assert raised >= usual
    release(made)


def test_tcp_and_udp_may_have_one_address() -> None:
    tcp = bound("127.0.0.1:0")

    udp = bound(f"udp:{tcp.address}")

    assert udp.address == tcp.address
    assert socket_key("a", f"udp:{tcp.address}") != socket_key("a", tcp.address)
    release(tcp)
    release(udp)


def test_a_udp_port_in_use_is_told_with_the_process_that_has_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_A_UDP_PORT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with pytest.raises(BindError) as error:
            bind(f"udp:127.0.0.1:{port}", 2)
        assert process.stdin is not None
        process.stdin.close()

    assert str(error.value).startswith(f"cannot listen on 127.0.0.1:{port} (UDP): the port is in use by ")
    assert str(error.value).endswith(f"(pid {process.pid})")


def test_an_overlapping_udp_address_of_our_own_is_allowed() -> None:
    wide = bound("udp:0.0.0.0:0")

    narrow = bound(f"udp:127.0.0.1:{wide.sockets[0].getsockname()[1]}")

    release(narrow)
    release(wide)


def test_datagrams_over_ipv6_leave_ipv4_to_others() -> None:
    made = bound("udp:[::1]:0")

    assert made.address.startswith("[::1]:")
    assert made.sockets[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    release(made)


@pytest.mark.parametrize("address", ["udp:", "udp:53", "udp:unix:x"])
def test_what_is_no_address_of_datagrams_is_refused(address: str) -> None:
    with pytest.raises(BindError, match="is not an address"):
        bind(address, 1)


# --- an address that nobody shares --------------------------------------------------------------------------------


def test_the_admin_address_is_shared_with_no_listener() -> None:
    alone = bind_alone("127.0.0.1:0")
    listening = bind("127.0.0.1:0", 2)
    try:
        with pytest.raises(BindError, match="the port is in use by another address of this program"):
            bind(alone.address, 2)
        with pytest.raises(BindError, match="the port is in use by another address of this program"):
            bind_alone(listening.address)
    finally:
        release(alone)
        release(listening)


def test_an_admin_address_in_use_is_told_with_the_process_that_has_it(
    other_process: tuple[subprocess.Popen[str], int],
) -> None:
    process, port = other_process

    with pytest.raises(BindError, match=rf"127.0.0.1:{port}: the port is in use by .* \(pid {process.pid}\)"):
        bind_alone(f"127.0.0.1:{port}")


def test_an_admin_socket_is_for_its_user_alone_and_its_file_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    bound = bind_alone(f"unix:{path}")
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(BindError, match="another process listens there"):
            bind_alone(f"unix:{path}")
    finally:
        release(bound)
    assert not path.exists()


def test_listening_sockets_never_block(tmp_path: Path) -> None:
    for bound in (bind("127.0.0.1:0", 2), bind_alone("127.0.0.1:0"), bind(f"unix:{tmp_path / 'x'}", 1)):
        try:
            for sock in bound.sockets:
                with pytest.raises(BlockingIOError):  # several processes accept on it
                    sock.accept()
        finally:
            release(bound)


def test_a_want_of_descriptors_for_an_address_of_its_own_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor ended with it."""

    def refuse(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(sockets, "_socket", refuse)
    with pytest.raises(sockets.BindError, match="Too many open files"):
        sockets.bind_alone("127.0.0.1:0")
