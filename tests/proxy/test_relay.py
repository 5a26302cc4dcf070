"""Two sockets tied together: every byte arrives, each direction ends by itself, and a reset is passed on, whatever way
the bytes go just then: copied, waiting in `out`, or spliced and waiting in a pipe."""

from __future__ import annotations

import hashlib
import random
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from streams import reset
from turning import Turning, open_descriptors

from proxy.kernel.netio import Reactor
from proxy.kernel.splice import Pipe, give_pipe, pipes_used, take_pipe
from proxy.relay import RelayStream

# As in proxy/relay.py: reads that turn a direction to splicing and back.
BULK = 32 * 1024
SMALL = 8 * 1024

# More than everything between two sockets holds, and no more than a moment's work.
MUCH = 40_000_000

PIECE = bytes(range(256)) * 4096


class Side(RelayStream):
    """A driver that does nothing but relay."""

    def __init__(self, tunnel: Tunnel) -> None:
        super().__init__()
        self.tunnel = tunnel

    def on_readable(self) -> None:
        self.tunnel.see(self)
        self.relay()
        self.tunnel.see(self)

    def on_drained(self) -> None:
        self.relay_drained()

    def relay_over(self, broken: bool) -> None:
        tunnel = self.tunnel
        tunnel.over.append(broken)
        # The only references that hold the two: docs/design/0005.
        left, right = tunnel.left, tunnel.right
        left.other = None
        right.other = None
        left.end_relay(broken)
        right.end_relay(broken)

    def count_relayed(self, count: int) -> None:
        self.tunnel.counted[self is self.tunnel.right] += count


class Tunnel:
    """`near` - left | right - `far`; the outer two are the test's sockets."""

    def __init__(self, reactor: Reactor, connect: Callable[[], tuple[socket.socket, socket.socket]]) -> None:
        self.turning = Turning(reactor)
        self.over: list[bool] = []
        self.counted = [0, 0]
        self.modes: set[str] = set()
        self.left, self.right = Side(self), Side(self)
        self.near, ours = connect()
        self.far, theirs = connect()
        for side, sock in ((self.left, ours), (self.right, theirs)):
            sock.setblocking(False)
            side.attach(reactor, sock.detach())
            side.watch()
        for sock in (self.near, self.far):
            sock.setblocking(False)
        self.left.start_relay(self.right)
        self.right.start_relay(self.left)

    def see(self, side: Side) -> None:
        self.modes.add("splice" if side.bulk else "copy")
        if side.pipe is not None:
            self.modes.add("pipe")
        elif side.held:
            self.modes.add("out")

    def side(self, name: str) -> tuple[Side, socket.socket, socket.socket]:
        """The inner side of this end, its outer socket, and the outer socket of the other."""
        if name == "near":
            return self.left, self.near, self.far
        return self.right, self.far, self.near

    def send(self, sock: socket.socket, data: bytes) -> None:
        sent = 0
        while sent < len(data):
            with suppress(BlockingIOError):
                sent += sock.send(data[sent : sent + 1_000_000])
            self.turning.once()

    def carry(self, source: socket.socket, target: socket.socket, data: bytes) -> None:
        """Send and receive at the same time, as much as there may be."""
        sent, received = 0, bytearray()
        while len(received) < len(data):
            with suppress(BlockingIOError):
                sent += source.send(data[sent:])
            self.turning.once(0.001)
            with suppress(BlockingIOError):
                received += target.recv(1_000_000)
        assert received == data

    def fill(self, sock: socket.socket, side: Side) -> int:
        """Send until nothing more is taken, however long it is tried; how much that was."""
        total = idle = 0
        while idle < 30 and total < MUCH:
            try:
                total += sock.send(PIECE[total % 256 :])
                idle = 0
            except BlockingIOError:
                idle += 1
            self.turning.once()
        self.turning.settle()
        assert side.held
        return total

    def receive(self, sock: socket.socket, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                piece = sock.recv(min(1_000_000, count - len(data)))
            except BlockingIOError:
                self.turning.once(0.01, (sock.fileno(),))
                continue
            assert piece, f"an end after {len(data)} of {count} bytes"
            data += piece
        return bytes(data)

    def rest(self, sock: socket.socket) -> tuple[bytes, str]:
        """All that still comes, and whether an "end" or a "reset" comes then."""
        data = bytearray()
        for _ in range(5000):
            try:
                piece = sock.recv(1_000_000)
            except BlockingIOError:
                self.turning.once(0.01, (sock.fileno(),))
                continue
            except ConnectionResetError:
                return bytes(data), "reset"
            if not piece:
                return bytes(data), "end"
            data += piece
        raise AssertionError(f"neither an end nor a reset after {len(data)} bytes")

    def close(self) -> None:
        for sock in (self.near, self.far):
            sock.close()
        self.left.abort()
        self.right.abort()
        self.left.pipe = self.right.pipe = None
        self.left.other = self.right.other = None


def tcp_sockets() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        outer = socket.create_connection(server.getsockname())
        inner, _ = server.accept()
    return outer, inner


def small_tcp_sockets() -> tuple[socket.socket, socket.socket]:
    """With little room in every buffer, so that everything comes in small pieces."""
    outer, inner = tcp_sockets()
    for sock in (outer, inner):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return outer, inner


def unix_sockets() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def leave_idle_pipes() -> None:
    """As many as stay open when they are not used, so that those a test takes are not new ones. After the system has
    refused one it is asked again only after a while."""
    pipes: list[Pipe] = []
    for _ in range(1100):
        pipe = take_pipe() if len(pipes) < 32 else None
        if pipe is not None:
            pipes.append(pipe)
    del pipe
    while pipes:
        give_pipe(pipes.pop())


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    leave_idle_pipes()
    before = open_descriptors()
    reactor = Reactor()
    bugs: list[BaseException] = []
    reactor.on_bug = lambda stream, bug: bugs.append(bug)
    yield reactor
    assert bugs == []
    assert reactor.all_streams() == []
    assert reactor.open_streams == 0
    assert pipes_used() == 0
    own = f"{reactor.fileno()} "
    assert {entry for entry in open_descriptors() - before if not entry.startswith(own)} == set()


@pytest.fixture(params=["tcp", "unix"])
def tunnel(request: pytest.FixtureRequest, reactor: Reactor) -> Iterator[Tunnel]:
    tunnel = Tunnel(reactor, {"tcp": tcp_sockets, "unix": unix_sockets}[request.param])
    yield tunnel
    tunnel.close()


@pytest.fixture
def tcp(reactor: Reactor) -> Iterator[Tunnel]:
    tunnel = Tunnel(reactor, tcp_sockets)
    yield tunnel
    tunnel.close()


# --- every byte arrives -------------------------------------------------------------------------------------------


def test_small_pieces_are_copied(tunnel: Tunnel) -> None:
    for number in range(50):
        tunnel.send(tunnel.near, b"%d" % number)
        assert tunnel.receive(tunnel.far, len(b"%d" % number)) == b"%d" % number
        tunnel.send(tunnel.far, b"pong")
        assert tunnel.receive(tunnel.near, 4) == b"pong"
    assert tunnel.modes == {"copy"}


def test_a_direction_turns_to_splicing_and_back_with_what_comes(tunnel: Tunnel) -> None:
    left = tunnel.left
    for _ in range(3):
        tunnel.carry(tunnel.near, tunnel.far, PIECE)
        assert left.bulk
        tunnel.carry(tunnel.near, tunnel.far, b"x" * (BULK + SMALL))
        tunnel.carry(tunnel.near, tunnel.far, b"few")
        assert not left.bulk
    # The other direction is one of its own.
    assert {"copy", "splice"} <= tunnel.modes
    assert not tunnel.right.bulk
    assert tunnel.counted == [3 * (len(PIECE) + BULK + SMALL + 3), 0]


@pytest.mark.parametrize("sockets", [tcp_sockets, unix_sockets, small_tcp_sockets])
@pytest.mark.parametrize("seed", range(4))
def test_random_sizes_both_ways_at_once_arrive_whole(
    seed: int, sockets: Callable[[], tuple[socket.socket, socket.socket]], reactor: Reactor
) -> None:
    """Readers that stop and go, writers of single bytes and of megabytes, an end after the last byte."""
    chance = random.Random(seed)
    tunnel = Tunnel(reactor, sockets)
    size = 100_000 if sockets is small_tcp_sockets else 6_000_000
    pairs = [(tunnel.near, tunnel.far), (tunnel.far, tunnel.near)]
    data = [chance.randbytes(size), chance.randbytes(size)]
    sent, received = [0, 0], [hashlib.sha256(), hashlib.sha256()]
    count, ended, got_end = [0, 0], [False, False], [False, False]
    resting = [0, 0]
    while not all(got_end):
        for way, (source, target) in enumerate(pairs):
            piece = chance.choice([1, 100, SMALL - 1, BULK, 65_536, 300_000, 1_000_000])
            if sent[way] < size:
                with suppress(BlockingIOError):
                    sent[way] += source.send(data[way][sent[way] : sent[way] + piece])
            elif not ended[way]:
                source.shutdown(socket.SHUT_WR)
                ended[way] = True
            if resting[way]:
                resting[way] -= 1
            elif chance.random() < 0.05:
                resting[way] = chance.randrange(20)
            elif not got_end[way]:
                with suppress(BlockingIOError):
                    read = target.recv(chance.choice([1000, 70_000, 1_000_000]))
                    received[way].update(read)
                    count[way] += len(read)
                    got_end[way] = not read
        tunnel.turning.once()
    assert count == [size, size] == tunnel.counted
    assert [each.digest() for each in received] == [hashlib.sha256(each).digest() for each in data]
    tunnel.turning.until(lambda: tunnel.over, "the end")
    assert tunnel.over == [False]
    tunnel.close()


def test_a_reader_that_stops_holds_up_its_sender_only(tunnel: Tunnel) -> None:
    total = tunnel.fill(tunnel.near, tunnel.left)
    assert total < MUCH
    # The other way is free.
    tunnel.send(tunnel.far, b"free")
    assert tunnel.receive(tunnel.near, 4) == b"free"
    assert not tunnel.right.held
    received = tunnel.receive(tunnel.far, total)
    assert received == (PIECE * (total // len(PIECE) + 1))[:total]
    tunnel.send(tunnel.near, b"again")
    assert tunnel.receive(tunnel.far, 5) == b"again"
    assert not tunnel.left.held and tunnel.left.pipe is None


def test_without_a_pipe_bytes_are_copied(tunnel: Tunnel) -> None:
    pipes: list[Pipe] = []
    while (pipe := take_pipe()) is not None:
        pipes.append(pipe)
    try:
        tunnel.carry(tunnel.near, tunnel.far, PIECE)
        total = tunnel.fill(tunnel.near, tunnel.left)
        assert tunnel.left.pipe is None and tunnel.right.pending() > 0
        assert len(tunnel.receive(tunnel.far, total)) == total
        # One comes back while a direction is in full flow.
        give_pipe(pipes.pop(0))
        total = tunnel.fill(tunnel.near, tunnel.left)
        assert len(tunnel.receive(tunnel.far, total)) == total
    finally:
        for each in pipes:
            give_pipe(each)
        del pipes[:]


def test_a_pipe_is_held_only_while_bytes_are_in_it(tunnel: Tunnel) -> None:
    tunnel.carry(tunnel.near, tunnel.far, PIECE)
    assert pipes_used() == 0
    total = tunnel.fill(tunnel.near, tunnel.left)
    assert pipes_used() == 1 and tunnel.left.pipe is not None and tunnel.left.pipe.held
    tunnel.receive(tunnel.far, total)
    assert pipes_used() == 0


# --- ends ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["idle", "much", "waiting"])
@pytest.mark.parametrize("first", ["near", "far"])
def test_each_direction_ends_by_itself(first: str, state: str, tunnel: Tunnel) -> None:
    side, one, two = tunnel.side(first)
    other = tunnel.right if first == "near" else tunnel.left
    expected = 0
    if state == "much":
        tunnel.carry(one, two, PIECE)
    elif state == "waiting":
        expected = tunnel.fill(one, side)
    one.shutdown(socket.SHUT_WR)
    tunnel.turning.settle()
    data, how = tunnel.rest(two)
    assert (len(data), how) == (expected, "end")
    assert tunnel.over == []
    # The other direction goes on, in bulk too.
    tunnel.send(two, b"still here")
    assert tunnel.receive(one, 10) == b"still here"
    total = tunnel.fill(two, other)
    two.shutdown(socket.SHUT_WR)
    data, how = tunnel.rest(one)
    assert (len(data), how) == (total, "end")
    tunnel.turning.until(lambda: tunnel.over, "both ends")
    assert tunnel.over == [False]


@pytest.mark.parametrize("waits", ["neither", "first", "both"])
def test_both_ends_at_once_lose_nothing(waits: str, tunnel: Tunnel) -> None:
    totals = [0, 0]
    if waits != "neither":
        totals[0] = tunnel.fill(tunnel.near, tunnel.left)
    if waits == "both":
        totals[1] = tunnel.fill(tunnel.far, tunnel.right)
    tunnel.near.shutdown(socket.SHUT_WR)
    tunnel.far.shutdown(socket.SHUT_WR)
    tunnel.turning.settle()
    assert [(len(data), how) for data, how in (tunnel.rest(tunnel.far), tunnel.rest(tunnel.near))] == [
        (totals[0], "end"),
        (totals[1], "end"),
    ]
    tunnel.turning.until(lambda: tunnel.over, "both ends")
    assert tunnel.over == [False]


# --- resets -------------------------------------------------------------------------------------------------------


def put(tunnel: Tunnel, state: str, first: str) -> None:
    """Bring the tunnel into a state, as seen from `first`."""
    side, one, two = tunnel.side(first)
    other = tunnel.right if side is tunnel.left else tunnel.left
    if state == "after bytes":
        tunnel.send(one, b"hello")
        tunnel.receive(two, 5)
    elif state == "after bulk":
        tunnel.carry(one, two, PIECE)
    elif state == "holds a pipe":
        tunnel.fill(one, side)
    elif state == "is waited for":
        tunnel.fill(two, other)
    elif state == "both wait":
        tunnel.fill(one, side)
        tunnel.fill(two, other)
    elif state == "has ended":
        one.shutdown(socket.SHUT_WR)
        tunnel.turning.until(lambda: side.ended, "the end")
    elif state == "the other has ended":
        two.shutdown(socket.SHUT_WR)
        tunnel.turning.until(lambda: other.ended, "the end")
    elif state == "has ended behind bytes that wait":
        tunnel.fill(one, side)
        one.shutdown(socket.SHUT_WR)
        tunnel.turning.settle()


def overfill(side: Side) -> int:
    """Send from here until some of it waits; how much that was."""
    total = len(PIECE)
    while side.send_bytes(PIECE) == 0:
        total += len(PIECE)
    return total


def was_reset(sock: socket.socket) -> bool:
    """A read does not tell of a reset that came behind an end."""
    poll = select.poll()
    poll.register(sock, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


STATES = [
    "new",
    "after bytes",
    "after bulk",
    "holds a pipe",
    "is waited for",
    "both wait",
    "has ended",
    "the other has ended",
    "has ended behind bytes that wait",
]


@pytest.mark.parametrize("copying", [False, True])
@pytest.mark.parametrize("first", ["near", "far"])
@pytest.mark.parametrize("state", STATES)
def test_a_reset_is_passed_on_in_every_state(state: str, first: str, copying: bool, tcp: Tunnel) -> None:
    _, one, two = tcp.side(first)
    pipes: list[Pipe] = []
    while copying and (pipe := take_pipe()) is not None:
        pipes.append(pipe)
    try:
        put(tcp, state, first)
        reset(one)
        if tcp.rest(two)[1] == "end":
            tcp.turning.until(lambda: was_reset(two), "the reset")
        assert tcp.over == [True]
        assert tcp.left.fd == tcp.right.fd == -1
    finally:
        for pipe in pipes:
            give_pipe(pipe)
        del pipes[:]


@pytest.mark.parametrize("first", ["near", "far"])
def test_a_reset_that_comes_together_with_the_end_is_a_reset(first: str, tcp: Tunnel) -> None:
    """Both are there before the tunnel looks: the read says end, and only the event knew of the reset."""
    _, one, two = tcp.side(first)
    one.send(b"bye")
    one.shutdown(socket.SHUT_WR)
    reset(one)
    assert tcp.rest(two) == (b"bye", "reset")
    assert tcp.over == [True]


@pytest.mark.parametrize("waits", ["in a pipe", "in out"])
@pytest.mark.parametrize("first", ["near", "far"])
def test_a_reset_by_who_cannot_take_what_waits_is_one_for_the_sender(first: str, waits: str, tcp: Tunnel) -> None:
    """Both have ended, and what one has sent still waits for the other, which then resets."""
    side, one, two = tcp.side(first)
    other = tcp.right if side is tcp.left else tcp.left
    two.shutdown(socket.SHUT_WR)
    tcp.turning.until(lambda: other.ended, "the end")
    if waits == "in a pipe":
        tcp.fill(one, side)
    else:
        overfill(other)
    one.shutdown(socket.SHUT_WR)
    tcp.turning.settle()
    reset(two)
    tcp.turning.until(lambda: tcp.over, "the reset")
    assert tcp.over == [True]


@pytest.mark.parametrize("first", ["near", "far"])
def test_a_reset_behind_an_end_is_passed_on_when_all_before_it_has_been(first: str, tcp: Tunnel) -> None:
    """Something was waiting before the first byte came, as an answer or a header may when the relay begins."""
    side, one, two = tcp.side(first)
    other = tcp.right if side is tcp.left else tcp.left
    total = overfill(other)
    one.shutdown(socket.SHUT_WR)
    tcp.turning.until(lambda: side.ended, "the end")
    reset(one)
    tcp.turning.until(lambda: side.failed, "the reset")
    assert tcp.over == []
    data, how = tcp.rest(two)
    assert (len(data), how) == (total, "reset")


@pytest.mark.parametrize("amount", [10, len(PIECE)])
@pytest.mark.parametrize("first", ["near", "far"])
def test_what_was_said_before_bytes_were_refused_arrives(first: str, amount: int, tcp: Tunnel) -> None:
    """A server answers and closes on what it has not read, which makes its close a reset; the client sends on."""
    side, one, two = tcp.side(first)
    tcp.send(one, b"unread")
    tcp.turning.until(lambda: two.recv(1, socket.MSG_PEEK), "bytes")
    two.send(b"too many connections")
    two.close()
    # The sender's bytes are looked at first.
    one.send(b"x" * amount)
    side.readable = True
    side.on_readable()
    assert tcp.over == [True]
    assert tcp.rest(one) == (b"too many connections", "reset")


def test_a_peer_of_a_unix_socket_that_closes_on_unread_bytes_is_a_reset(reactor: Reactor) -> None:
    tunnel = Tunnel(reactor, unix_sockets)
    tunnel.send(tunnel.near, b"unread")
    tunnel.turning.until(lambda: tunnel.far.recv(1, socket.MSG_PEEK), "bytes")
    tunnel.far.close()
    tunnel.turning.until(lambda: tunnel.over, "the reset")
    assert tunnel.over == [True]
    tunnel.close()


def test_whoever_closes_while_bytes_are_on_their_way_leaves_nothing(tunnel: Tunnel) -> None:
    tunnel.fill(tunnel.near, tunnel.left)
    tunnel.fill(tunnel.far, tunnel.right)
    assert tunnel.left.in_transit() and tunnel.right.in_transit()
    tunnel.left.relay_over(True)
    assert tunnel.over == [True]
    assert pipes_used() == 0


# --- anything at all ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_any_script_ends_both_sides_once_and_invents_no_byte(seed: int, reactor: Reactor) -> None:
    """What arrives is always what was sent, from its beginning; all of it where both directions ended in order."""
    chance = random.Random(seed)
    sockets = chance.choice([tcp_sockets, small_tcp_sockets, unix_sockets])
    tunnel = Tunnel(reactor, sockets)
    outer = [tunnel.near, tunnel.far]
    data = [chance.randbytes(1 << 20), chance.randbytes(1 << 20)]
    sent, got = [0, 0], [0, 0]
    ended, closed, finished = [False, False], [False, False], [False, False]

    def read(way: int, size: int) -> None:
        """What was sent from `way` arrives at the other."""
        target = outer[1 - way]
        if closed[1 - way] or finished[way]:
            return
        try:
            piece = target.recv(size)
        except BlockingIOError:
            return
        except ConnectionResetError:
            finished[way] = True
            return
        assert piece == data[way][got[way] : got[way] + len(piece)]
        got[way] += len(piece)
        finished[way] = not piece

    for _ in range(chance.randrange(10, 120)):
        way = chance.randrange(2)
        act = chance.choice(["send", "send", "send", "read", "read", "turn", "turn", "end", "close", "reset"])
        if closed[way]:
            continue
        if act == "send" and not ended[way]:
            piece = data[way][sent[way] : sent[way] + chance.choice([1, 5000, 70_000, 400_000])]
            with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                sent[way] += outer[way].send(piece)
        elif act == "read":
            read(1 - way, chance.choice([1, 10_000, 1_000_000]))
        elif act == "turn":
            tunnel.turning.once()
        elif act == "end" and chance.random() < 0.3:
            with suppress(OSError):
                outer[way].shutdown(socket.SHUT_WR)
            ended[way] = True
        elif act in ("close", "reset") and chance.random() < 0.1:
            (outer[way].close if act == "close" else lambda way=way: reset(outer[way]))()
            closed[way] = True
    orderly = not any(closed)
    for way in (0, 1):
        if not closed[way]:
            with suppress(OSError):
                outer[way].shutdown(socket.SHUT_WR)
    for _ in range(3000):
        if tunnel.over:
            break
        tunnel.turning.once(0.005)
        for way in (0, 1):
            read(way, 1_000_000)
    assert len(tunnel.over) == 1
    assert tunnel.left.fd == tunnel.right.fd == -1
    if orderly:
        for way in (0, 1):
            while not finished[way]:
                read(way, 1_000_000)
        assert tunnel.over == [False]
        assert got == sent
    assert got[0] <= sent[0] and got[1] <= sent[1]
    tunnel.close()


def test_urgent_data_in_the_middle_of_much_stops_nothing(reactor: Reactor) -> None:
    """splice(2) says that nothing is there when the next byte is urgent. That one byte is lost, as it is to any reader
    that does not ask for it."""
    tunnel = Tunnel(reactor, tcp_sockets)
    data = PIECE[:300_000]
    tunnel.send(tunnel.near, data)
    tunnel.near.send(b"!", socket.MSG_OOB)
    tunnel.send(tunnel.near, data)
    assert tunnel.receive(tunnel.far, 2 * len(data)) == 2 * data
    tunnel.near.shutdown(socket.SHUT_WR)
    assert tunnel.rest(tunnel.far) == (b"", "end")
    tunnel.close()
