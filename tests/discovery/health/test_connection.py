"""The driver over real sockets: how connections fail, and that peers cost bounded time and memory."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from checking import carry_out, checked, checked_against, on_loop, target
from ports import free_address

from discovery.checks import CheckProtocol, HealthCheck
from discovery.health.attempts import Attempts
from discovery.health.connection import Connection
from discovery.health.result import SUCCESS, Outcome

TCP = HealthCheck(timeout=5.0)
HTTP = HealthCheck(protocol=CheckProtocol.HTTP, timeout=5.0)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def http(timeout: float = 5.0, **more: Any) -> HealthCheck:
    return HealthCheck(protocol=CheckProtocol.HTTP, timeout=timeout, **more)


@pytest.mark.parametrize("check", [TCP, HTTP])
def test_a_port_that_nobody_listens_on(check: HealthCheck) -> None:
    assert checked(free_address(), check) == (Outcome.FAILURE, "connection refused")


@pytest.mark.parametrize("check", [TCP, HTTP])
def test_a_unix_socket_that_is_not_there(check: HealthCheck, tmp_path: Path) -> None:
    assert checked(f"unix:{tmp_path}/none", check) == (Outcome.FAILURE, "no such socket")


def test_an_address_that_is_a_name_is_not_looked_up() -> None:
    assert checked("localhost:80", TCP) == (Outcome.FAILURE, "'localhost' is not an ip address")


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(OK)
    await writer.drain()


async def is_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


def test_a_connection_that_stands_is_all_that_tcp_asks_for() -> None:
    assert checked_against(is_silent, TCP) == SUCCESS


def test_an_answer_over_tcp_and_over_a_unix_socket(tmp_path: Path) -> None:
    assert checked_against(answers, HTTP) == SUCCESS
    assert checked_against(answers, HTTP, str(tmp_path / "s")) == SUCCESS
    assert checked_against(is_silent, TCP, str(tmp_path / "t")) == SUCCESS


def test_ipv6() -> None:
    async def whole() -> Any:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "::1", 0)
        try:
            return await carry_out(target(f"[::1]:{server.sockets[0].getsockname()[1]}", TCP))
        finally:
            server.close()

    assert on_loop(whole()) == SUCCESS


def test_the_endpoint_sees_an_end_and_no_reset() -> None:
    """Also where it speaks first: what it has said is read before the connection is closed."""
    seen: list[bytes] = []
    is_over = asyncio.Event()

    async def greets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        try:
            seen.append(await reader.read())
        finally:
            writer.close()
            is_over.set()

    async def whole() -> Any:
        listening = socket.create_server(("127.0.0.1", 0))
        server = await asyncio.start_server(greets, sock=listening)
        try:
            result = await carry_out(target(address_of(listening), TCP))
            async with asyncio.timeout(5.0):
                await is_over.wait()
            return result
        finally:
            server.close()

    assert on_loop(whole()) == SUCCESS
    assert seen == [b""]


# --- peers that mean no good ----------------------------------------------------------------------------------------


def test_silence_ends_with_the_timeout() -> None:
    began = time.monotonic()
    assert checked_against(is_silent, http(0.1)) == (Outcome.FAILURE, "no answer within 0.1 s")
    assert time.monotonic() - began < 3.0


def test_a_drip_does_not_prolong_it() -> None:
    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.01)

    assert checked_against(drips, http(0.2)) == (Outcome.FAILURE, "no answer within 0.2 s")


def test_a_body_that_does_not_come() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK[:-1])
        await asyncio.sleep(60)

    assert checked_against(half, http(0.2)) == (Outcome.FAILURE, "no complete answer within 0.2 s")


def test_a_body_without_end_is_cut_off() -> None:
    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    assert checked_against(floods, http(5.0)) == SUCCESS
    result = checked_against(floods, http(5.0, expected_body="ready"))
    assert result.reason == "status 200, but 'ready' is not in the first 64 KiB of the body"


def test_headers_without_end_are_cut_off() -> None:
    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-Filler: %b\r\n" % (b"x" * 900) * 50)
            await writer.drain()

    assert checked_against(floods, HTTP).reason == "a head of the answer is larger than 16 KiB"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "connection closed without an answer"),
        (b"\x16\x03\x01\x02\x00\x01", "the endpoint speaks TLS, expected HTTP"),
        (b"\xff" * 50_000, "the answer is not HTTP/1: '" + "\ufffd" * 37 + "...'"),
    ],
)
def test_what_is_no_answer(said: bytes, reason: str) -> None:
    async def speaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(said)

    assert checked_against(speaks, HTTP) == (Outcome.FAILURE, reason)


def test_a_reset() -> None:
    async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        writer.transport.abort()

    assert checked_against(resets, HTTP) == (Outcome.FAILURE, "connection reset")


class Broken:
    """A machine with a bug."""

    awaits = "answer"

    def begin(self) -> bytes:
        return b"hello"

    def receive(self, data: bytes) -> Any:
        raise ZeroDivisionError("oops")

    def to_send(self) -> bytes:
        return b""

    def farewell(self) -> bytes:
        raise ZeroDivisionError("and again")


def test_a_bug_in_a_machine_says_nothing_about_the_endpoint() -> None:
    bugs: list[BaseException] = []

    async def echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(5))
        writer.close()

    async def whole() -> Any:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(echoes, "127.0.0.1", 0)
        found: asyncio.Future[Any] = loop.create_future()
        Connection(loop, address_of(server.sockets[0]), Broken(), found.set_result, bugs.append)
        try:
            async with asyncio.timeout(5.0):
                return await found
        finally:
            server.close()

    result = on_loop(whole())
    assert result.outcome is Outcome.ERROR
    assert "ZeroDivisionError" in result.reason
    assert [str(bug) for bug in bugs] == ["oops", "and again"]


def test_nothing_is_left_of_a_thousand_checks_that_were_given_up() -> None:
    async def whole() -> None:
        attempts = Attempts(asyncio.get_running_loop())
        with socket.create_server(("127.0.0.1", 0), backlog=1000) as listening:  # accepts nobody
            what = target(address_of(listening), HTTP)
            await carry_out(target(address_of(listening), TCP))
            before = descriptors()
            for _ in range(10):
                begun = [attempts.begin(what, _never, lambda: None, _never) for _ in range(100)]
                await asyncio.sleep(0)
                assert descriptors() == before + 100
                for number, attempt in enumerate(begun):
                    if number % 2:
                        attempt.cancel()
                    else:
                        attempt.expire(1.0)
                await asyncio.sleep(0)
                assert descriptors() == before

    on_loop(whole())


def address_of(listening: socket.socket) -> str:
    return f"127.0.0.1:{listening.getsockname()[1]}"


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _never(*_: Any) -> None:
    raise AssertionError("it was given up")
