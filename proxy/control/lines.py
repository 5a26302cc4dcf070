"""The supervisor's language: one JSON object per line, `op` says which, descriptors beside it.

agent -> supervisor
    bind     {id, name, address, count}   answered by `bound`; the same name and address give the same sockets again,
                                          and more if they are fewer than `count`
    bind_alone {id, name, address}        the same for one socket that nobody shares; it stays until the program ends
    close    {name, address}              forget these sockets; the address is free once the workers let go too
    workers  {id, count}                  run this many; each is announced by `worker`, then `announced` answers. Those
                                          beyond are not started again; the agent makes them end
    reloaded {}                           the answer to `reload`, whatever came of it
    held     {}                           the answer to `hold`
    ready    {drain, hang}                in service; the drain deadline and timeouts.worker_hang in force, sent again
                                          if they change
    keep     {} + 1 descriptor            opaque state that a successor of this agent receives in `start`
supervisor -> agent
    start    {generation, state, upgrade} first message; `state`: 1 descriptor or 0. `upgrade`: another agent serves the
                                          admin addresses until this one is in service
    bound    {id, address, error} + descriptors: the address as bound (port 0 resolved), or one sentence
    announced {id}                        every worker that runs has been announced
    worker   {worker, pid} + 1 descriptor: the agent's end of a new channel to that worker
    gone     {worker, pid, status}        reaped; `status` is the exit code or minus the signal
    failing  {worker, deaths, status}     it keeps ending soon after its start; `deaths` is 0 when it no longer does
    reload, reopen_logs, drain {}
    hold     {}                           a new program comes: finish the reload that runs, begin no other
    resume   {}                           it did not come: everything as before
    retire   {}                           it is in service: leave the admin addresses to it, then as `drain`
supervisor -> worker
    channel  {} + 1 descriptor            the worker's end of a new channel to the agent

An address is host:port, [v6]:port, unix:PATH, or one of the first two after `udp:`.
Messages are between our own processes of one version, so an unknown `op` is a bug and raises. What is said to the
children of a former program is part of the hand-over's format (proxy/control/handover.py).
Standard library only.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

from proxy.control.stream import DescriptorStream

Message = dict[str, Any]


class Lines:
    """Both ends of the protocol. `sock` is owned by this object from now on; `unread` and `descriptors` are what came
    over it before, see `unread`."""

    def __init__(self, sock: socket.socket, unread: bytes = b"", descriptors: Sequence[int] = ()) -> None:
        self.stream = DescriptorStream(sock, descriptors)
        self._buffer = unread

    def fileno(self) -> int:
        return self.stream.fileno()

    def send(self, op: str, descriptors: Sequence[int] = (), **fields: object) -> None:
        """Queue one message; the descriptors stay the caller's."""
        message = {"op": op, **fields}
        if descriptors:
            message["fds"] = len(descriptors)
        self.stream.write(json.dumps(message).encode() + b"\n", descriptors)

    def receive(self) -> list[tuple[Message, list[int]]]:
        """Every complete message that has come, each with its descriptors. Raises EOFError when the peer is gone."""
        self._buffer += self.stream.read()
        *complete, self._buffer = self._buffer.split(b"\n")
        messages = [json.loads(line) for line in complete]
        return [(message, self.stream.take(message.pop("fds", 0))) for message in messages]

    def unread(self) -> tuple[bytes, list[int]]:
        """The part of a message that has come, and its descriptors: for whoever goes on reading from the socket."""
        return self._buffer, self.stream.waiting()

    def close(self) -> None:
        self.stream.close()
