"""One question to several resolvers, some of them hostile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from fake_resolver import Answerer, FakeResolver, reply, truncated

from discovery.sources.messages import A, Reply, question
from discovery.sources.stub import NoAnswer, StubResolver

GOOD = "www.test. 60 IN A 10.0.0.1"
EVIL = "www.test. 60 IN A 6.6.6.6"


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario()

    asyncio.run(main())


def good(query: bytes, is_tcp: bool) -> Sequence[bytes]:
    return [reply(query, GOOD)]


def silent(query: bytes, is_tcp: bool) -> Sequence[bytes]:
    return []


async def ask(*answerers: Answerer, timeout: float = 5.0) -> tuple[Reply | str, list[FakeResolver]]:
    """What `www.test` is, or why nobody knows; and the resolvers that were there to be asked."""
    resolvers = [FakeResolver(answer) for answer in answerers]
    for resolver in resolvers:
        await resolver.__aenter__()
    try:
        stub = StubResolver(lambda: [resolver.address for resolver in resolvers], timeout=timeout)
        try:
            return await stub.ask("www.test", A), resolvers
        except NoAnswer as error:
            return str(error), resolvers
    finally:
        for resolver in resolvers:
            await resolver.__aexit__(None, None, None)


def addresses(found: Reply | str) -> list[str]:
    assert isinstance(found, Reply), found
    return [str(record.value) for record in found.answers]


def test_the_first_that_answers_is_enough() -> None:
    async def scenario() -> None:
        found, (first, second) = await ask(good, good)
        assert addresses(found) == ["10.0.0.1"]
        assert (first.asked(), second.asked()) == (["www.test A"], [])

    run(scenario)


@pytest.mark.parametrize("rcode", [1, 2, 4, 5])
def test_one_that_fails_is_passed_over(rcode: int) -> None:
    async def scenario() -> None:
        found, _ = await ask(lambda query, _: [reply(query, rcode=rcode)], good)
        assert addresses(found) == ["10.0.0.1"]

    run(scenario)


def test_one_that_is_silent_is_passed_over() -> None:
    async def scenario() -> None:
        found, (first, _) = await ask(silent, good, timeout=0.05)
        assert addresses(found) == ["10.0.0.1"]
        assert len(first.queries) == 1

    run(scenario)


def test_that_there_is_no_such_name_is_an_answer() -> None:
    async def scenario() -> None:
        found, (_, second) = await ask(lambda query, _: [reply(query, rcode=3)], good)
        assert found == Reply(3, False)
        assert second.queries == []

    run(scenario)


def test_when_nobody_answers_everybody_is_named() -> None:
    async def scenario() -> None:
        refusing, garbling = (
            (lambda query, _: [reply(query, rcode=5)]),
            (lambda query, _: [reply(query) + b"more"]),
        )
        found, resolvers = await ask(refusing, garbling, silent, timeout=0.05)
        a, b, c = (resolver.address for resolver in resolvers)
        assert isinstance(found, str)
        assert found.startswith(f"www.test: {a} answered REFUSED, {b} gave no message of DNS")
        assert found.endswith(f"{c} gave no answer within 0.05 s")
        assert [len(resolver.queries) for resolver in resolvers] == [2, 2, 2]

    run(scenario)


def test_a_port_where_nobody_listens_does_not_take_the_whole_timeout() -> None:
    async def scenario() -> None:
        async with FakeResolver(good) as resolver:
            address = resolver.address
        stub = StubResolver(lambda: [address], timeout=30.0)
        with pytest.raises(NoAnswer, match=f"{address} cannot be asked: "):
            await stub.ask("www.test", A)
        with pytest.raises(NoAnswer, match="there is no resolver to ask"):
            await StubResolver(tuple).ask("www.test", A)

    run(scenario)


def wrong_id(query: bytes, is_tcp: bool) -> Sequence[bytes]:
    message = reply(query, EVIL)
    return [bytes((message[0] ^ 1,)) + message[1:]]


def another_name(query: bytes, is_tcp: bool) -> Sequence[bytes]:
    id = int.from_bytes(query[:2], "big")
    return [reply(question(id, "www.evil", A), EVIL)]


def another_kind(query: bytes, is_tcp: bool) -> Sequence[bytes]:
    id = int.from_bytes(query[:2], "big")
    return [reply(question(id, "www.test", 28), EVIL)]


def noise(query: bytes, is_tcp: bool) -> Sequence[bytes]:
    return [b"", b"\0", query, query[:2] + bytes(100), bytes(range(256))]


@pytest.mark.parametrize("forged", [wrong_id, another_name, another_kind, noise])
def test_what_does_not_fit_the_question_is_passed_over(forged: Answerer) -> None:
    async def scenario() -> None:
        found, (resolver,) = await ask(lambda query, is_tcp: [*forged(query, is_tcp), reply(query, GOOD)])
        assert addresses(found) == ["10.0.0.1"]
        assert len(resolver.queries) == 1

    run(scenario)


def test_nobody_else_is_heard() -> None:
    """The socket is connected, so the kernel drops what other addresses send."""

    async def scenario() -> None:
        async with FakeResolver(silent) as stranger:

            def answer(query: bytes, is_tcp: bool) -> Sequence[bytes]:
                stranger._transport.sendto(reply(query, EVIL), resolver.peers[-1])
                return [reply(query, GOOD)]

            async with FakeResolver(answer) as resolver:
                found = await StubResolver(lambda: [resolver.address]).ask("www.test", A)
                assert addresses(found) == ["10.0.0.1"]

    run(scenario)


def test_ids_and_ports_are_drawn_for_every_question() -> None:
    async def scenario() -> None:
        async with FakeResolver(good) as resolver:
            stub = StubResolver(lambda: [resolver.address])
            for _ in range(20):
                await stub.ask("www.test", A)
            assert len({query[:2] for query in resolver.queries}) > 10
            assert len({port for _, port in resolver.peers}) > 10

    run(scenario)


def test_what_was_cut_off_is_asked_for_over_tcp() -> None:
    async def scenario() -> None:
        found, (resolver,) = await ask(lambda query, is_tcp: [reply(query, GOOD) if is_tcp else truncated(query)])
        assert addresses(found) == ["10.0.0.1"]
        assert len(resolver.queries) == 2

    run(scenario)


@pytest.mark.parametrize(
    ("over_tcp", "why"),
    [
        (lambda query: [truncated(query)], "an answer over TCP that is cut off"),
        (lambda query: [query], "an answer to another question over TCP"),
        (lambda query: [], "half an answer over TCP"),
        (lambda query: [b"\0"], "an answer to another question over TCP"),
    ],
)
def test_what_is_wrong_over_tcp(over_tcp: Callable[[bytes], Sequence[bytes]], why: str) -> None:
    async def scenario() -> None:
        found, _ = await ask(lambda query, is_tcp: over_tcp(query) if is_tcp else [truncated(query)])
        assert isinstance(found, str)
        assert why in found

    run(scenario)
