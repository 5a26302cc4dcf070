"""Bytes and descriptors over a socket pair."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest

from proxy.control.lines import Lines
from proxy.control.stream import DescriptorStream


def test_descriptors_come_out_in_the_order_they_were_written() -> None:
    here, there = (DescriptorStream(sock) for sock in socket.socketpair())
    files = [os.memfd_create(name) for name in ("a", "b", "c")]
    for number, file in enumerate(files):
        os.write(file, str(number).encode())
        here.write(b"x", [file])
        os.close(file)

    while there.read() and len(there._descriptors) < len(files):
        pass
    received = there.take(3)

    assert [os.pread(file, 1, 0) for file in received] == [b"0", b"1", b"2"]
    for file in received:
        os.close(file)
    here.close()
    there.close()


def test_a_peer_that_is_gone_is_an_eof_and_writing_to_it_is_lost() -> None:
    here, there = (DescriptorStream(sock) for sock in socket.socketpair())
    there.close()

    here.write(b"x")

    assert here.flush()
    with pytest.raises(EOFError):
        here.read()
    here.close()


def test_nothing_to_read_is_no_bytes() -> None:
    here, there = (DescriptorStream(sock) for sock in socket.socketpair())

    assert here.read() == b""
    here.close()
    there.close()


def test_what_the_peer_does_not_take_waits() -> None:
    here, there = (DescriptorStream(sock) for sock in socket.socketpair())
    data = bytes(5_000_000)

    here.write(data)
    assert here.backlog > 0
    received = 0
    while received < len(data):
        received += len(there.read())
        here.flush()

    assert here.backlog == 0
    here.close()
    there.close()


def test_a_message_that_names_more_descriptors_than_came_is_refused() -> None:
    here, there = socket.socketpair()
    lines = Lines(there)
    here.sendall(b'{"op": "keep", "fds": 1}\n')

    with pytest.raises(ValueError, match="names 1 descriptors and 0 came"):
        lines.receive()
    lines.close()
    here.close()


def test_lines_arrive_whole_however_they_are_cut() -> None:
    here, there = socket.socketpair()
    lines = Lines(there)

    here.sendall(b'{"op": "rel')
    assert lines.receive() == []
    here.sendall(b'oad"}\n{"op": "drain"}\n{')
    assert lines.receive() == [({"op": "reload"}, []), ({"op": "drain"}, [])]

    lines.close()
    here.close()


class Short(socket.socket):
    """A socket of a machine that is short of something, until `error` is 0."""

    error = 0

    def recvmsg(self, *arguments: Any) -> Any:
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        return super().recvmsg(*arguments)

    def sendmsg(self, *arguments: Any) -> Any:
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        return super().sendmsg(*arguments)


@pytest.mark.parametrize("error", [errno.ENOBUFS, errno.ENOMEM])
def test_a_want_of_memory_is_no_end(error: int) -> None:
    """The supervisor would end with it, and an agent or a worker lose the other."""
    near, far = socket.socketpair()
    short = Short(fileno=near.detach())
    here, there = DescriptorStream(short), DescriptorStream(far)
    there.write(b"question")
    short.error = error

    assert here.read() == b""
    here.write(b"answer")
    assert not here.flush()
    short.error = 0

    assert here.read() == b"question"
    assert here.flush()
    assert there.read() == b"answer"
    here.close()
    there.close()
