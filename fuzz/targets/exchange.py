"""The whole HTTP/1 path, its drivers on real sockets, between a client and origins that send anything at any time.

The first byte: bits 0 to 3 how the client's bytes are cut, 4 and 5 the origin's, 6 whether the origin closes when it
has sent all, 7 whether the client ends its side. The next two bytes are how much of the rest the client sends; what is
left are the answers of the origin, one part of it each time that it has received something.

 - what origins receive is, for h11, requests that the client has sent, in their order, with their bodies, and nothing
   else; the same one may come again over another connection
 - what the client receives is, for h11, at most one final answer to each request
 - no exception anywhere, and when both sides have closed nothing is left: no stream, no request under way, no gauge
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys
from pathlib import Path
from typing import NamedTuple

import h11

from fuzz.support import NO_LIMIT, expect, pieces

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from playbook import Origin, Playbook, service

from discovery.model import Limits, Settings
from discovery.policies import CircuitBreaker

MOST_READ = 1 << 16
PLAIN = re.compile(rb"(/[\w-]+)+", re.ASCII)  # what is passed on as it is
CHECKED_EVERY = 64
ROUNDS = 200

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"


def talk(how: int, sent: bytes, answers: bytes) -> bytes:
    return bytes((how,)) + len(sent).to_bytes(2, "big") + sent + answers


SEEDS = (
    talk(0, GET, OK),
    talk(0, GET + GET, OK + OK),
    talk(3, POST + GET, b"HTTP/1.1 100 Continue\r\n\r\n" + OK + OK),
    talk(0x45, b"HEAD / HTTP/1.0\r\n\r\n", b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n"),
    talk(0x41, GET, b"HTTP/1.1 200 OK\r\n\r\nuntil the end"),
    talk(0x20, GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    talk(0x10, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello", OK),
    talk(
        0x40,
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw",
        b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw",
    ),
    talk(0x80, b"\r\nGET /../x HTTP/1.1\r\nHost: a\r\n\r\n" + GET, b"HTTP/1.1 304 N\r\nContent-Length: 5\r\n\r\n"),
    talk(0xC2, GET + b"nonsense", b"nonsense"),
)
WORDS = (
    GET,
    POST,
    OK,
    b"\r\n\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"HTTP/1.1 100 C\r\n\r\n",
    b"0\r\n\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Expect: 100-continue\r\n",
    b"HTTP/1.1 204 N\r\n\r\n",
    b"HTTP/1.1 ",
    b"HTTP/1.0 ",
    b"HEAD ",
    b"Upgrade: x\r\nConnection: upgrade\r\n",
    b"\r\n",
)


class Sent(NamedTuple):
    """A request as h11 reads it. problem: why it stops to read."""

    method: bytes
    target: bytes
    body: bytes
    is_whole: bool
    upgrade: bool
    problem: str = ""


class Stage:
    """One data plane, used again and again, as a worker is."""

    def __init__(self) -> None:
        self.origin = Origin()
        self.origin.socket.setblocking(False)
        app = service("app", self.origin, circuit_breaker=CircuitBreaker(consecutive_errors=0))
        self.book = Playbook(app, origins=(self.origin,), settings=Settings(limits=Limits(request_head=2048)))
        self.host, port = self.book.address.rsplit(":", 1)
        self.port = int(port)
        self.count = 0

    def play(self, how: int, sent: bytes, answers: bytes) -> tuple[bytes, list[bytes]]:
        """What the client received, and each connection to the origin."""
        client = socket.create_connection((self.host, self.port))
        client.setblocking(False)
        upstreams: list[socket.socket] = []
        received: list[bytes] = []
        got = b""
        to_send = list(pieces(sent, how & 15))
        parts = list(pieces(answers, (0, 3, 30, 1)[how >> 4 & 3])) if answers else []
        idle = 0
        for _ in range(ROUNDS):
            moved = False
            if to_send:
                moved = send(client, to_send.pop(0))
                if not to_send and how & 0x80:
                    end(client)
            self.book.settle()
            moved |= self.accept(upstreams, received)
            for number, upstream in enumerate(upstreams):
                data = read(upstream)
                received[number] += data
                if data and parts:
                    moved |= send(upstream, parts.pop(0))
                moved |= bool(data)
            if not moved and parts and upstreams:
                moved = send(upstreams[-1], parts.pop(0))
                if not moved:
                    parts.clear()
            if not parts and answers and how & 0x40 and upstreams:
                end(upstreams[-1])
            data = read(client)
            got += data
            idle = 0 if moved or data else idle + 1
            if idle > 1 and not to_send:
                break
        client.close()
        self.book.settle()
        self.accept(upstreams, received)
        for number, upstream in enumerate(upstreams):
            received[number] += read(upstream)
            upstream.close()
        self.book.settle()
        self.count += 1
        self.check(self.count % CHECKED_EVERY == 0)
        return got, received

    def accept(self, upstreams: list[socket.socket], received: list[bytes]) -> bool:
        try:
            upstream = self.origin.socket.accept()[0]
        except BlockingIOError:
            return False
        upstream.setblocking(False)
        upstreams.append(upstream)
        received.append(b"")
        return True

    def check(self, thoroughly: bool) -> None:
        if self.book.bugs:
            raise self.book.bugs.pop()
        expect(not self.book.downstreams() and not self.book.upstreams(), "a stream is left", self.book.plane.reactor)
        expect(self.book.plane.forwarder.active == 0, "a request is under way")
        if thoroughly:
            gauges = self.book.gauges()
            expect(not gauges, "a gauge is not at rest", gauges)


def send(to: socket.socket, data: bytes) -> bool:
    try:
        to.sendall(data)
    except OSError:
        return False
    return True


def end(of: socket.socket) -> None:
    with contextlib.suppress(OSError):
        of.shutdown(socket.SHUT_WR)


def read(source: socket.socket) -> bytes:
    try:
        return source.recv(MOST_READ)
    except OSError:
        return b""


STAGE: Stage | None = None
OFFERED = [("Host", "a"), ("Upgrade", "x"), ("Connection", "upgrade")]


def check(data: bytes) -> None:
    global STAGE
    if len(data) < 3:
        return
    if STAGE is None:
        STAGE = Stage()
    size = int.from_bytes(data[1:3], "big")
    sent, answers = data[3 : 3 + size], data[3 + size :]
    got, received = STAGE.play(data[0], sent, answers)
    wanted = requests_of(sent)
    check_origins(wanted, received)
    check_client(wanted, got)


def requests_of(sent: bytes) -> list[Sent]:
    """The requests in these bytes, as far as h11 can read them; it stops at the first that it refuses."""
    found = []
    while sent:
        while sent.startswith(b"\r\n"):
            sent = sent[2:]
        request, sent = next_request(sent)
        if request is None or not request.method:
            break
        found.append(request)
        if request.upgrade:
            break
    return found


def next_request(data: bytes) -> tuple[Sent | None, bytes]:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=NO_LIMIT)
    connection.receive_data(data)
    head: h11.Request | None = None
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                upgrade = any(name == b"upgrade" for name, _ in head.headers)
                return Sent(head.method, head.target, body, True, upgrade), connection.trailing_data[0]
            else:
                break
    except h11.RemoteProtocolError as error:
        method, target = (b"", b"") if head is None else (head.method, head.target)
        return Sent(method, target, body, False, False, str(error)), b""
    return (None if head is None else Sent(head.method, head.target, body, False, False)), b""


def check_origins(wanted: list[Sent], received: list[bytes]) -> None:
    for stream in received:
        at = 0
        rest = stream
        while rest:
            request, rest = next_request(rest)
            if request is None:  # a head whose end was not sent, because somebody had left
                break
            expect(not request.problem, "h11 refuses what the origin gets", request, stream)
            place = next((n for n in range(at, len(wanted)) if is_same(wanted[n], request)), None)
            expect(place is not None, "the origin has what the client did not send", request, wanted, stream)
            at = int(place or 0) + 1
            if wanted[at - 1].upgrade:
                break


def is_same(sent: Sent, received: Sent) -> bool:
    if sent.method != received.method or (PLAIN.fullmatch(sent.target) and sent.target != received.target):
        return False
    if received.is_whole:
        return sent.is_whole and sent.body == received.body
    return sent.body.startswith(received.body)


def check_client(wanted: list[Sent], got: bytes) -> None:
    rest = got
    methods = [request.method for request in wanted] + [b"GET"]
    while rest and methods:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=NO_LIMIT)
        connection.send(h11.Request(method=methods.pop(0), target="/", headers=OFFERED))
        connection.send(h11.EndOfMessage())
        connection.receive_data(rest)
        is_done = False
        try:
            while not is_done:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    return
                if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                    return
                is_done = isinstance(event, h11.EndOfMessage)
        except h11.RemoteProtocolError as error:
            expect(False, "h11 refuses what the client gets", error, got)
        rest = connection.trailing_data[0]
    expect(not rest, "more answers than requests", rest, got)
