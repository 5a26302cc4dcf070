"""The agent's side of the supervisor: asks for sockets and workers, hears what became of them.

The messages are told in proxy/control/lines.py. Requests are answered in any order, matched by their number. When the
supervisor is gone, nothing the agent could do makes sense any more: `lost` is called, once.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Sequence
from typing import Protocol

from proxy.control.fleet import Place
from proxy.control.lines import Lines, Message
from proxy.control.sockets import BindError


class News(Protocol):
    """What the agent does about the supervisor's news."""

    def worker_started(self, worker: int, pid: int, sock: socket.socket) -> None: ...
    def worker_gone(self, worker: int, pid: int, status: int) -> None: ...
    def worker_failing(self, worker: int, deaths: int, status: int) -> None: ...
    def on_reload(self) -> None: ...
    def on_reopen_logs(self) -> None: ...
    def on_drain(self) -> None: ...
    def on_hold(self) -> None: ...
    def on_resume(self) -> None: ...
    def on_retire(self) -> None: ...
    def on_lost(self) -> None: ...


class Start:
    """What the supervisor tells an agent first. `state` is what its predecessor kept, if it did; with `is_upgrade` that
    may have been another program, and its processes are still in service."""

    def __init__(self, message: Message, descriptors: list[int]) -> None:
        self.generation: int = message["generation"]
        self.is_upgrade: bool = message["upgrade"]
        self.state: bytes | None = None
        if descriptors:
            with os.fdopen(descriptors[0], "rb") as file:
                file.seek(0)
                self.state = file.read()


class Holder:
    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self.started: asyncio.Future[Start] = loop.create_future()
        self.news: News | None = None
        self._loop = loop
        self._lines = Lines(sock)
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[tuple[Message, list[int]]]] = {}
        self._is_writing = False
        loop.add_reader(sock, self._on_readable)

    async def bind(self, name: str, address: str, count: int) -> Place:
        """Sockets that listen on `address`, at least one for each of `count` workers. Raises BindError."""
        return await self._bound("bind", name, address, count=count)

    async def bind_alone(self, name: str, address: str) -> Place:
        """One socket that listens on `address`, for the admin API. Raises BindError."""
        return await self._bound("bind_alone", name, address)

    def close(self, name: str, place: Place) -> None:
        """The listener is gone from the workers: forget its sockets, here and there."""
        for sock in place.sockets:
            sock.close()
        self._send("close", name=name, address=place.address)

    async def want_workers(self, count: int) -> None:
        """Returns when the supervisor has announced every worker that runs."""
        await self._ask("workers", count=count)

    def reloaded(self) -> None:
        self._send("reloaded")

    def held(self) -> None:
        self._send("held")

    def ready(self, drain: float, hang: float) -> None:
        self._send("ready", drain=drain, hang=hang)

    def keep(self, state: bytes) -> None:
        """Give the supervisor `state` for whoever comes after this agent."""
        descriptor = os.memfd_create("hivemesh-state", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(state)
            self._send("keep", [descriptor])
        finally:
            os.close(descriptor)

    async def _bound(self, op: str, name: str, address: str, **fields: int) -> Place:
        message, descriptors = await self._ask(op, name=name, address=address, **fields)
        if message["error"]:
            raise BindError(message["error"])
        return Place(address, message["address"], [socket.socket(fileno=number) for number in descriptors])

    async def _ask(self, op: str, **fields: object) -> tuple[Message, list[int]]:
        number = next(self._numbers)
        answer: asyncio.Future[tuple[Message, list[int]]] = self._loop.create_future()
        self._answers[number] = answer
        self._send(op, id=number, **fields)
        return await answer

    def _send(self, op: str, descriptors: Sequence[int] = (), /, **fields: object) -> None:
        self._lines.send(op, descriptors, **fields)
        if self._lines.stream.backlog and not self._is_writing:
            self._is_writing = True
            self._loop.add_writer(self._lines.stream.sock, self._on_writable)

    def _on_writable(self) -> None:
        if self._lines.stream.flush():
            self._is_writing = False
            self._loop.remove_writer(self._lines.stream.sock)

    def _on_readable(self) -> None:
        try:
            messages = self._lines.receive()
        except EOFError:
            self._loop.remove_reader(self._lines.stream.sock)
            if self.news is not None:
                self.news.on_lost()
            return
        for message, descriptors in messages:
            self._on_message(message, descriptors)

    def _on_message(self, message: Message, descriptors: list[int]) -> None:
        op = message["op"]
        if op == "start":
            self.started.set_result(Start(message, descriptors))
            return
        if op in ("bound", "announced"):
            self._answers.pop(message["id"]).set_result((message, descriptors))
            return
        assert self.news is not None
        match op:
            case "worker":
                sock = socket.socket(fileno=descriptors[0])
                self.news.worker_started(message["worker"], message["pid"], sock)
            case "gone":
                self.news.worker_gone(message["worker"], message["pid"], message["status"])
            case "failing":
                self.news.worker_failing(message["worker"], message["deaths"], message["status"])
            case "reload":
                self.news.on_reload()
            case "reopen_logs":
                self.news.on_reopen_logs()
            case "drain":
                self.news.on_drain()
            case "hold":
                self.news.on_hold()
            case "resume":
                self.news.on_resume()
            case "retire":
                self.news.on_retire()
            case _:
                raise ValueError(f"the supervisor sent {op!r}, which is no message")
