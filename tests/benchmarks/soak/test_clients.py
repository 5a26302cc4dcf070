"""Clients of the soak notice what is planted: a byte that is wrong, an answer that is cut, a body that was changed."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.proofs.hive import HOST
from benchmarks.soak.origin import is_chunked
from benchmarks.soak.scene import Expected, body_of
from benchmarks.soak.tally import Tally, Walk
from benchmarks.soak.web import Browser

Answering = Callable[[bytes], bytes]


class Cue:
    """Of a part that goes on."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()


def asked(answer: Answering, ask: Callable[[Browser], Any]) -> Tally:
    """What a client brings home that asks a server which answers so."""

    async def whole() -> Tally:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer(await reader.readuntil(b"\r\n\r\n")))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, HOST, 0)
        tally = Tally()
        walk = Walk(Cue(), "w", tally, random.Random(1))  # type: ignore[arg-type]
        browser = Browser(walk, server.sockets[0].getsockname()[1])
        await walk.attempt("get", ask(browser), 10.0)
        browser.close()
        server.close()
        return tally

    return asyncio.run(whole())


def response(body: bytes, generation: str = "4", decided: str = "4", length: int | None = None) -> bytes:
    count = len(body) if length is None else length
    head = f"HTTP/1.1 200 OK\r\nx-generation: {generation}\r\nx-decided: {decided}\r\nContent-Length: {count}\r\n\r\n"
    return head.encode() + body


# By its name framed with a length.
NAME = next(name for name in map(str, range(100)) if not is_chunked(name))
GOOD = body_of(NAME, 5000)


def get(browser: Browser) -> Any:
    return browser.content("content", 5000, NAME)


def kinds(tally: Tally) -> list[str]:
    return [failure.kind for failure in tally.failures]


def test_the_right_answer_is_counted() -> None:
    tally = asked(lambda head: response(GOOD), get)

    assert kinds(tally) == []
    assert (tally.done["get"], tally.body_bytes, list(tally.generations)) == (1, 5000, [4])


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (response(GOOD[:4000] + b"?" + GOOD[4001:]), "wrong"),
        (response(GOOD[1:] + GOOD[:1]), "wrong"),
        (response(GOOD[:4999]), "wrong"),
        (response(GOOD, generation="3"), "wrong"),
        (response(GOOD, generation="3").replace(b"x-decided: 4\r\n", b""), "wrong"),
        (response(GOOD[:3000], length=5000), "cut"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "503"),
        (b"HTTP/1.1 200 OK\r\nx-gener", "broken"),
        (b"", "broken"),
        (b"nonsense\r\n\r\n", "wrong"),
    ],
)
def test_what_is_planted_is_found(answer: bytes, kind: str) -> None:
    tally = asked(lambda head: answer, get)

    assert kinds(tally) == [kind]
    assert not tally.done


def test_an_upload_that_arrived_changed_is_found() -> None:
    body = body_of(NAME, 300)
    found = Expected(NAME)
    found.take(body)
    told = {"name": NAME, "length": 300, "sha256": found.digest, "trailer": "", "wrong": -1}

    def upload(browser: Browser) -> Any:
        return browser.upload(300, NAME, chunked=False)

    assert kinds(asked(lambda head: response(json.dumps(told).encode()), upload)) == []
    for change in ({"sha256": "0" * 64}, {"length": 299}, {"wrong": 0}, {"trailer": "x"}):
        assert kinds(asked(lambda head, change=change: response(json.dumps(told | change).encode()), upload)) == [
            "wrong"
        ]


def test_content_is_known_by_its_position() -> None:
    found = Expected("a")
    found.take(body_of("a", 700_000))
    other = Expected("a")
    other.take(body_of("b", 10))

    assert (found.wrong_at, found.length) == (-1, 700_000)
    assert other.wrong_at == 0
