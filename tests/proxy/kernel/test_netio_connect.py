"""Connecting, and the addresses that can be connected to."""

from __future__ import annotations

import errno
import socket

import pytest
from streams import Recorder
from turning import Turning

from proxy.kernel.netio import END, Address, Reactor


def test_connecting(turning: Turning, reactor: Reactor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = Recorder()
        assert stream.connect(reactor, Address(f"127.0.0.1:{server.getsockname()[1]}")) == 0
        assert stream.connecting
        turning.until(lambda: stream.told, "connected")
        assert stream.told == ["connected 0"]
        theirs, _ = server.accept()
        assert stream.send_bytes(b"hello") == 0
        assert theirs.recv(10) == b"hello"
        theirs.sendall(b"you")
        turning.until(lambda: stream.received == b"you", "the answer")
        stream.close()
        theirs.close()


def test_a_connection_that_is_refused(turning: Turning, reactor: Reactor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    stream = Recorder()
    assert stream.connect(reactor, Address(f"127.0.0.1:{port}")) == 0
    stream.then = Recorder.close
    turning.until(lambda: stream.told, "refused")
    assert stream.told == ["connected ECONNREFUSED", "closed"]


def test_what_is_written_while_connecting_goes_out_when_connected(turning: Turning, reactor: Reactor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = Recorder()
        assert stream.connect(reactor, Address(f"127.0.0.1:{server.getsockname()[1]}")) == 0
        assert stream.send_bytes(b"early") == 1
        assert stream.pending() == 5
        turning.until(lambda: stream.pending() == 0, "sent")
        theirs, _ = server.accept()
        theirs.settimeout(10)
        assert theirs.recv(10) == b"early"
        assert "drained" in stream.told
        stream.close()
        theirs.close()


def test_unix_sockets(turning: Turning, reactor: Reactor, tmp_path: object) -> None:
    path = f"{tmp_path}/s"
    missing = Recorder()
    # An error that is known at once is the result, and nothing is open.
    assert missing.connect(reactor, Address(f"unix:{path}")) == errno.ENOENT
    assert missing.fd == -1
    assert reactor.open_streams == 0
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        stream = Recorder()
        assert stream.connect(reactor, Address(f"unix:{path}")) == 0
        turning.until(lambda: stream.told == ["connected 0"], "connected")
        server.accept()[0].close()
        turning.until(lambda: stream.last == END, "the end")
        stream.close()


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("127.0.0.1:80", socket.AF_INET),
        ("localhost:65535", socket.AF_INET),
        ("[::1]:1", socket.AF_INET6),
        ("[2001:db8::1]:8080", socket.AF_INET6),
        ("unix:/run/x.sock", socket.AF_UNIX),
        ("unix:relative", socket.AF_UNIX),
    ],
)
def test_addresses(text: str, family: socket.AddressFamily) -> None:
    address = Address(text)
    assert (address.family, address.text) == (family, text)


@pytest.mark.parametrize(
    "text",
    [
        "", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:8x", ":80", "a:80",
        "::1:80", "[::1]", "[::1:80", "[127.0.0.1]:80", "1.2.3:80", "1.2.3.4.5:80", "127.0.0.1:\u0668\u0660",
        "unix:" + "x" * 108, "unix:", "127.0.0.1\0x:80",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        Address(text)
