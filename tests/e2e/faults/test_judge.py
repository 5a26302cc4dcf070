"""The judges of the fault loops, before what is wrong: each has to say so."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.faults import asking, scripts
from benchmarks.faults.asking import RIGHT, Wrong
from benchmarks.faults.control import Call as Kind
from benchmarks.faults.control import Fault, Role
from benchmarks.faults.loop import Result, once
from benchmarks.faults.origins import Http, content
from benchmarks.faults.stage import Stage
from benchmarks.faults.table import Loop


@contextmanager
def answering(data: bytes, reset: bool = False) -> Iterator[int]:
    """A port that says this to the first client, and ends or resets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(data)
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                else:
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(65536)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def got(data: bytes, name: str = "n1", size: int = 300, reset: bool = False) -> str:
    with answering(data, reset) as port:
        stage: Any = SimpleNamespace(web=port)
        return scripts.http(stage, (b"GET / HTTP/1.1\r\n\r\n", name, size))


def whole(name: str, size: int, length: int | None = None) -> bytes:
    body = content(name, size)
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (size if length is None else length, body)


def test_the_right_answer_is_right() -> None:
    assert got(whole("n1", 300)) == RIGHT


@pytest.mark.parametrize(
    "data",
    [
        whole("n2", 300),  # of another request
        whole("n1", 299),  # whole by its own length
        whole("n1", 300).replace(b" 200 ", b" 204 "),
        b"HTTP/1.1 200 OK\r\n\r\n" + content("n1", 200),  # cut short, and ended in an orderly way
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nno\0",
        content("n1", 50) + b"\r\n",
    ],
    ids=["another", "short", "status", "truncated", "bare LF", "NUL", "no HTTP"],
)
def test_a_wrong_answer_is_wrong(data: bytes) -> None:
    with pytest.raises(Wrong):
        got(data)


def test_a_failure_that_says_so_is_an_outcome() -> None:
    assert got(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno") == "502"
    assert got(whole("n1", 300, length=400)) == "ended within a body"
    assert got(b"HTTP/1.1 200 OK\r\n\r\n" + content("n1", 200), reset=True).startswith("reset")


def test_silence_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LIMIT", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        asking.Client(server.getsockname()[1]) as client,
        pytest.raises(Wrong, match="no byte"),
    ):
        client.answer()


def test_an_orderly_end_of_a_stream_that_is_not_whole_is_wrong() -> None:
    with answering(b"abc") as port, asking.Client(port) as client, pytest.raises(Wrong, match="orderly end"):
        scripts.echoed(client, b"abcdef")


def test_other_bytes_of_a_stream_are_wrong() -> None:
    with answering(b"abcdeX") as port, asking.Client(port) as client, pytest.raises(Wrong, match="other bytes"):
        scripts.echoed(client, b"abcdef")


def test_a_request_that_is_delivered_twice_is_wrong() -> None:
    one, two = Http(), Http()
    try:
        stage: Any = SimpleNamespace(one=one, two=two)
        one.requests["POST", "/a"] = one.bodies["POST", "/a"] = 1
        assert scripts.once(stage, "POST", "/a", RIGHT) == RIGHT
        two.requests["POST", "/a"] = 1
        with pytest.raises(Wrong, match="2 times"):
            scripts.once(stage, "POST", "/a", "502")
        two.wrong.append("another body")
        with pytest.raises(Wrong, match="another body"):
            scripts.once(stage, "POST", "/b", RIGHT)
    finally:
        one.close()
        two.close()


def test_a_datagram_of_another_question_is_wrong() -> None:
    question = asking.query("a.example", 7)
    with pytest.raises(Wrong):
        asking.judge_dns(question, asking.query("a.example", 8), b"\1\2\3\4")


def test_a_planted_wrong_answer_is_a_finding_of_the_loop(stage: Stage) -> None:
    """The whole loop, with an endpoint that answers with a byte of its own when it is asked while a call fails."""
    result = Result()

    def planted(stage: Stage) -> str:
        name = stage.name()
        outcome = scripts.http(stage, (scripts.request("GET", f"/length/{name}/9", "one"), name, 9))
        assert stage.control is not None
        if stage.control.seen().failed:
            raise Wrong("planted")
        return outcome

    # Short reads change nothing, so that all there is to find is what was planted.
    once(stage, Loop(planted, Fault(Kind.READ, 0, Role.WORKER)), 1, result)
    assert len(result.findings) == 1
    assert "planted" in result.findings[0]


def test_what_is_left_behind_is_a_finding(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_connection(("127.0.0.1", stage.web)), monkeypatch.context() as patch:
        patch.setattr("benchmarks.faults.stage.REST_LIMIT", 0.3)
        with pytest.raises(Wrong, match="left behind"):
            stage.rest()
    stage.rest()
