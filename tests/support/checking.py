"""One health check carried out for real: on uvloop, over sockets, with a deadline."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop

from discovery.checks import HealthCheck
from discovery.health.attempts import Attempts
from discovery.health.result import Result
from discovery.health.target import Target, target_of
from discovery.model import Endpoint, Service

T = TypeVar("T")


def on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run `work`; a bug that the loop itself would only report fails the test."""
    bugs: list[dict[str, Any]] = []

    async def whole() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context))
        return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(whole())
    assert not bugs, bugs
    return result


def target(address: str, check: HealthCheck, domain: str = "", service: str = "web", id: str = "a") -> Target:
    found = target_of(Service(name=service, domain=domain, health_check=check), Endpoint(id=id, address=address))
    assert found is not None
    return found


async def carry_out(what: Target) -> Result:
    """As the checker does, and until nothing is left of it."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Result] = loop.create_future()
    is_gone = asyncio.Event()
    bugs: list[BaseException] = []
    attempt = Attempts(loop).begin(what, found.set_result, is_gone.set, bugs.append)
    try:
        async with asyncio.timeout(what.check.timeout):
            result = await asyncio.shield(found)
    except TimeoutError:
        result = attempt.expire(what.check.timeout)
    if not attempt.is_gone:
        async with asyncio.timeout(10.0):
            await is_gone.wait()
    assert not bugs, bugs
    return result


def checked(address: str, check: HealthCheck, domain: str = "") -> Result:
    return on_loop(carry_out(target(address, check, domain)))


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def checked_against(
    serve: Serve, check: HealthCheck, path: str = "", tls: ssl.SSLContext | None = None, domain: str = ""
) -> Result:
    """Against an endpoint of the test on loopback (or at the Unix socket `path`), which is cancelled afterwards."""

    async def whole() -> Result:
        tasks: set[asyncio.Task[None]] = set()

        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await serve(reader, writer)
            except (OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        if path:
            server = await asyncio.start_unix_server(served, path)
            address = f"unix:{path}"
        else:
            server = await asyncio.start_server(served, "127.0.0.1", 0, ssl=tls)
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            return await carry_out(target(address, check, domain))
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return on_loop(whole())
