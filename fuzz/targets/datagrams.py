"""proxy.kernel.datagrams over real sockets: clients, sessions and an endpoint in any order of events, beside queues.

Each datagram arrives once, whole, in order and at whom it was for, or nowhere when its session had ended; whatever is
done meanwhile to sessions and the server.
"""

from __future__ import annotations

import socket
from collections import defaultdict

from fuzz.support import expect
from fuzz.targets.limits import MEMORY
from proxy.kernel.datagrams import Batch, DatagramServer, DatagramSession
from proxy.kernel.netio import Address, Reactor

CLIENTS = 3
LARGEST = 256  # of the batch: what is larger is dropped
SIZES = (0, 1, 7, 100, LARGEST - 1, LARGEST, LARGEST + 1, 1000)
TURNS = 8

SEEDS = (
    b"\0\1\0\2\1\1\6\0\7\0\6\0",
    b"\0\3" * 70 + b"\6\0\7\3\6\0",
    b"\0\1\6\0\1\2\6\0\7\1\3\0\6\0\2\2\6\0",
    b"\0\4\0\5\0\6\4\0\0\1\6\0\5\0\0\1\6\0",
)
WORDS = (b"\6\0", b"\0\1\6\0", b"\7\2\6\0", b"\3\0", b"\4\0", b"\5\0", b"\0\7" * 20)


def bound() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.setblocking(False)
    return made


class Server(DatagramServer):
    def __init__(self, endpoint: str) -> None:
        self.endpoint = Address(endpoint)
        self.is_open = True

    def open_session(self, key: bytes) -> DatagramSession | None:
        if not self.is_open:
            return None
        session = DatagramSession()
        expect(session.open(self, key, self.endpoint, 60.0) == 0, "no session")
        return session


class Scene:
    def __init__(self) -> None:
        self.reactor = Reactor()
        self.sockets = [bound() for _ in range(CLIENTS + 1)]
        self.endpoint, self.clients = self.sockets[0], self.sockets[1:]
        self.server = Server(f"127.0.0.1:{self.endpoint.getsockname()[1]}")
        ours = bound()
        for client in self.clients:
            client.connect(ours.getsockname())
        self.table = MEMORY.fresh()
        self.batch = Batch(LARGEST)
        self.server.serve(self.batch, self.reactor, ours.detach(), self.table.slot(0, 1))
        self.seen: dict[int, list[bytes]] = defaultdict(list)  # of the endpoint, by the client's number
        self.sources: dict[int, tuple[str, int]] = {}  # of a client's session, by its number
        self.sent: dict[int, list[bytes]] = defaultdict(list)
        self.answered: dict[int, list[bytes]] = defaultdict(list)
        self.got: dict[int, list[bytes]] = defaultdict(list)

    def turn(self) -> None:
        for _ in range(TURNS):
            self.reactor.poll()
        while True:
            try:
                data, source = self.endpoint.recvfrom(4096)
            except BlockingIOError:
                break
            number = data[0] if data else 0
            self.seen[number].append(data)
            self.sources[number] = source
        for number, client in enumerate(self.clients):
            while True:
                try:
                    self.got[number].append(client.recv(4096))
                except (BlockingIOError, ConnectionRefusedError):
                    break

    def session(self, number: int) -> DatagramSession | None:
        port = self.clients[number].getsockname()[1]
        return next((each for each in self.server.sessions.values() if each.client_port() == port), None)

    def close(self) -> None:
        for session in list(self.server.sessions.values()):
            session.close()
        if self.server.fd >= 0:
            self.server.close()
        for each in self.sockets:
            each.close()
        self.reactor.close()


def is_part(part: list[bytes], whole: list[bytes]) -> bool:
    """Whether `part` is `whole` with some left out."""
    left = iter(whole)
    return all(each in left for each in part)


def check(data: bytes) -> None:
    scene = Scene()
    try:
        play(scene, data)
    finally:
        scene.close()


def play(scene: Scene, data: bytes) -> None:
    lossless = True
    for at in range(0, len(data) - 1, 2):
        what, size = data[at] & 7, SIZES[data[at + 1] & 7]
        number = (data[at] >> 3) % CLIENTS
        if what <= 2:
            number = what
            # The first byte names the client, the second is of no meaning, and an empty one is the first client's.
            datagram = bytes((number, at & 0xFF)).ljust(size, b"x")[:size]
            if size == 0 and number:
                continue
            scene.clients[number].send(datagram)
            if size <= LARGEST:
                scene.sent[number].append(datagram)
        elif what == 3:
            session = scene.session(number)
            if session is not None:
                session.close()
                lossless = False
        elif what == 4:
            scene.server.is_open = not scene.server.is_open
            lossless = False
        elif what == 5:
            scene.server.stop_reading()
            lossless = False
        elif what == 6:
            scene.turn()
        elif number in scene.sources:
            answer = bytes((number, at & 0xFF)).ljust(size, b"y")[:size]
            scene.endpoint.sendto(answer, scene.sources[number])
            if size <= LARGEST:
                scene.answered[number].append(answer)
            if scene.session(number) is None:
                lossless = False
    for _ in range(len(data) // 64 + 2):
        scene.turn()
    for number in range(CLIENTS):
        seen, sent = scene.seen[number], scene.sent[number]
        got, answered = scene.got[number], scene.answered[number]
        expect(is_part(seen, sent), "the endpoint got something else", seen, sent)
        expect(is_part(got, answered), "a client got something else", got, answered)
        if lossless:
            expect(seen == sent, "a datagram is lost", len(seen), len(sent))
            expect(got == answered, "an answer is lost", len(got), len(answered))
