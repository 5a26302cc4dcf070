"""Messages between agent and worker: whole, in order, with their sockets, and never blocking the sender."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.model import Service, Snapshot
from proxy.control.channel import Channel, Message, local_pair
from proxy.control.messages import Applied, Apply, Drain, Hello, Listen, Released, ReopenLogs, Unlisten

Got = asyncio.Queue[tuple[Message, socket.socket | None]]

numbers = st.integers(0, 65_535)
messages = st.one_of(
    st.builds(Unlisten, name=st.text(max_size=20)),
    st.builds(Drain, deadline=st.floats(0, 100), streams=st.floats(0, 100)),
    st.builds(ReopenLogs),
    st.builds(Hello, worker=st.integers(0, 9), pid=st.integers(1, 9), slots=st.dictionaries(st.text(), numbers)),
    st.builds(Released, slots=st.lists(st.integers(0, 99)).map(tuple), version=numbers),
    st.builds(
        Apply,
        snapshot=st.builds(Snapshot, services=st.lists(st.builds(Service, name=st.text()), max_size=3).map(tuple)),
        slots=st.just({}),
    ),
)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Channel, Channel, Got, asyncio.Event]]:
    """Two ends; what arrives at the second one; set when the second one has closed."""
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    got: Got = asyncio.Queue()
    closed = asyncio.Event()
    sender = Channel(loop, here, lambda *_: None, lambda: None)
    receiver = Channel(loop, there, lambda message, sock: got.put_nowait((message, sock)), closed.set)
    yield sender, receiver, got, closed
    sender.close()
    receiver.close()


def within_a_moment(test: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(10):
            await test()

    asyncio.run(run())


@given(st.lists(messages, max_size=5))
def test_messages_arrive_as_they_were_sent_and_in_order(sent: list[Message]) -> None:
    async def scenario() -> None:
        async with connected() as (sender, _, got, _):
            for message in sent:
                sender.send(message)
            assert [(await got.get())[0] for _ in sent] == sent

    within_a_moment(scenario)


@given(st.lists(messages, min_size=1, max_size=3), st.integers(1, 7))
def test_any_fragmentation_gives_the_same_messages(sent: list[Message], size: int) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        wire, tap = socket.socketpair()
        recorder = Channel(loop, wire, lambda *_: None, lambda: None)
        for message in sent:
            recorder.send(message)
        data = tap.recv(1 << 20)
        recorder.close()
        tap.close()
        got: list[Message] = []
        receiver = Channel(loop, there, lambda message, _: got.append(message), lambda: None)
        for start in range(0, len(data), size):
            here.send(data[start : start + size])
            await asyncio.sleep(0)
        while len(got) < len(sent):
            await asyncio.sleep(0)
        assert got == sent
        receiver.close()
        here.close()

    within_a_moment(scenario)


def test_sockets_arrive_with_their_messages() -> None:
    async def scenario() -> None:
        async with connected() as (sender, _, got, _):
            with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
                sender.send(ReopenLogs())
                sender.send(Listen(name="one"), one)
                sender.send(Listen(name="two"), two)
                sender.send(ReopenLogs())
                ports = [server.getsockname()[1] for server in (one, two)]
                assert (await got.get())[1] is None
                for name, port in zip(("one", "two"), ports, strict=True):
                    message, sock = await got.get()
                    assert sock is not None
                    assert (message, sock.getsockname()[1]) == (Listen(name=name), port)
                    sock.close()
                assert await got.get() == (ReopenLogs(), None)

    within_a_moment(scenario)


def test_a_full_socket_makes_messages_wait_and_says_when_they_have_gone() -> None:
    async def scenario() -> None:
        async with connected() as (sender, _, got, _):
            drained = asyncio.Event()
            sender.drained = drained.set
            large = Apply(snapshot=Snapshot(services=(Service(name="x" * 3_000_000),)), slots={})
            with socket.create_server(("127.0.0.1", 0)) as server:
                sender.send(large)
                assert sender.backlog > 0
                sender.send(Listen(name="web"), server)  # may be closed here before it is sent
            assert (await got.get())[0] == large
            message, sock = await got.get()
            assert message == Listen(name="web")
            assert sock is not None
            sock.close()
            await drained.wait()
            assert sender.backlog == 0

    within_a_moment(scenario)


def test_the_end_of_the_peer_is_told_once_and_sending_to_it_is_harmless() -> None:
    async def scenario() -> None:
        async with connected() as (sender, receiver, _, closed):
            sender.close()
            await closed.wait()
            receiver.send(Applied(version=1))

    within_a_moment(scenario)


def test_what_is_no_message_closes_the_channel() -> None:
    async def scenario() -> None:
        here, there = socket.socketpair()
        closed = asyncio.Event()
        got: list[Message] = []
        Channel(asyncio.get_running_loop(), there, lambda message, _: got.append(message), closed.set)
        here.sendall(b"\x00\x00\x00\x02\x81\xa4")
        await closed.wait()
        assert got == []
        here.close()

    within_a_moment(scenario)


def test_within_a_process_messages_are_handed_over_later_and_as_they_are() -> None:
    async def scenario() -> None:
        got: Got = asyncio.Queue()
        here, there = local_pair(
            asyncio.get_running_loop(), lambda *_: None, lambda message, sock: got.put_nowait((message, sock))
        )
        message = Apply(snapshot=Snapshot(), slots={})
        here.send(message)
        assert got.empty()
        assert (await got.get())[0] is message
        there.close()
        here.send(message)
        await asyncio.sleep(0)
        assert got.empty()

    within_a_moment(scenario)


def test_a_socket_that_is_handed_over_within_a_process_does_not_begin_to_block() -> None:
    async def scenario() -> None:
        got: Got = asyncio.Queue()
        here, _there = local_pair(
            asyncio.get_running_loop(), lambda *_: None, lambda message, sock: got.put_nowait((message, sock))
        )
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            received = socket.socket(fileno=os.dup(listening.fileno()))  # as one that came from another process
            here.send(Listen(name="web"), received)
            _, sock = await got.get()
            assert sock is not None
            with received, sock, pytest.raises(BlockingIOError):
                listening.accept()

    within_a_moment(scenario)


def test_others_get_their_turn_while_many_messages_are_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.control.channel._SLICE", 0.0)
    monkeypatch.setattr("proxy.control.channel._DECODED_AT_ONCE", 1)

    async def scenario() -> None:
        async with connected() as (sender, _, got, closed):
            sent = [Applied(version=number) for number in range(50)]
            for message in sent:
                sender.send(message)
            first, _ = await got.get()
            assert got.qsize() < len(sent) - 1
            assert [first, *[(await got.get())[0] for _ in sent[1:]]] == sent
            sender.send(Applied(version=99))
            sender.close()
            assert (await got.get())[0] == Applied(version=99)
            await closed.wait()

    within_a_moment(scenario)
