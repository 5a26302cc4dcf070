"""Those who ask the admin address: registrations and heartbeats, scrapes, explain, a tap now and then.

The registrar knows what it has said and was acknowledged. What it says is dead must not be in an answer of DNS that is
asked for afterwards, and what it has registered must be there whatever died meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, Final

import dns.message
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.proofs.hive import HOST
from benchmarks.soak.names import over_udp
from benchmarks.soak.scene import ADDRESSES, Scene
from benchmarks.soak.tally import Oops, Walk
from benchmarks.soak.web import Connection, Into

ADMIN_LIMIT: Final = 60.0

# Until every worker goes by what was acknowledged. The promise is 50 ms in 99 of 100 times; this has to hold always,
# also for a worker that gets no processor for a while.
KNOWN_WITHIN: Final = 2.0

TRIES: Final = 20


class Admin:
    """The admin API on one kept connection. Raises Oops, OSError."""

    def __init__(self, port: int) -> None:
        self._connection = Connection(port)

    async def call(self, method: str, path: str, body: Any = None) -> bytes:
        text = b"" if body is None else json.dumps(body).encode()
        taken = bytearray()
        head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        await self._connection.ask(f"{head}Content-Length: {len(text)}\r\n\r\n", (text,), Into(taken))
        return bytes(taken)

    def close(self) -> None:
        self._connection.close()


async def api(walk: Walk, scene: Scene, admin: int) -> None:
    """Registers an endpoint of `dyn`, lets it fail and recover by its own reports, and takes it out; over and over."""
    client = Admin(admin)
    check = {"protocol": "ttl", "ttl": "120s"}
    names = ("e1", "e2", "e3")

    async def say(method: str, path: str, body: Any = None) -> None:
        """Until it is acknowledged: saying the same twice means the same as once."""
        for _ in range(TRIES):
            if await walk.attempt("api", client.call(method, path, body), ADMIN_LIMIT):
                return
            await asyncio.sleep(0.2)

    async def names_it(name: str) -> bool:
        query = dns.message.make_query("dyn.soak", "A")
        answer = dns.message.from_wire(await over_udp(query.to_wire(), scene.ports.dns))
        return any(record.address == ADDRESSES[name] for rrset in answer.answer for record in rrset)

    async def expect(name: str, is_there: bool, what: str) -> None:
        """Asked again until KNOWN_WITHIN is over: then it is a failure."""

        async def known() -> None:
            deadline = time.monotonic() + KNOWN_WITHIN
            asked = time.monotonic()
            while await names_it(name) != is_there:
                if asked > deadline:
                    raise Oops("dead" if not is_there else "unknown", f"{name} {what} {KNOWN_WITHIN:g} s ago")
                await asyncio.sleep(0.02)
                asked = time.monotonic()

        await walk.attempt("known", known(), ADMIN_LIMIT)

    while not walk.over:
        name = names[walk.random.randrange(len(names))]
        path = f"/v1/services/dyn/endpoints/d-{name}"
        body = {"address": f"{ADDRESSES[name]}:{scene.ports.http}", "health_check": check, "ttl": "120s"}
        await say("PUT", path, body)
        await say("PUT", f"{path}/heartbeat", {"state": "healthy"})
        await expect(name, True, "was registered")
        await walk.pause(0.4)
        await say("PUT", f"{path}/heartbeat", {"state": "unhealthy", "reason": "soak"})
        await expect(name, False, "was reported unhealthy")
        await walk.pause(0.4)
        await say("PUT", f"{path}/heartbeat", {"state": "healthy"})
        await expect(name, True, "was reported healthy")
        await walk.pause(0.8)
        await say("DELETE", path)
        await expect(name, False, "was removed")
        await walk.pause(0.4)
    client.close()


async def scrape(walk: Walk, scene: Scene, admin: int) -> None:
    client = Admin(admin)

    async def one() -> None:
        text = (await client.call("GET", "/metrics")).decode()
        families = sum(1 for _ in text_string_to_metric_families(text))
        if families < 20:
            raise Oops("wrong", f"{families} families")

    while not walk.over:
        await walk.attempt("scrape", one(), ADMIN_LIMIT)
        await walk.pause(3.0)
    client.close()


async def explain(walk: Walk, scene: Scene, admin: int) -> None:
    client = Admin(admin)

    async def one() -> None:
        found = json.loads(await client.call("GET", "/v1/explain?url=http://soak/content/1/x&listener=web"))
        if not found["decisions"] and not found["problems"]:
            raise Oops("wrong", f"{found}")
        for decision in found["decisions"]:
            if decision["outcome"] not in ("forward", "wait"):
                raise Oops("wrong", f"{decision['outcome']} {decision.get('detail')}")

    while not walk.over:
        await walk.attempt("explain", one(), ADMIN_LIMIT)
        await walk.pause(2.0)
    client.close()


async def tap(walk: Walk, scene: Scene, admin: int) -> None:
    """Looks at twenty requests, and goes."""

    async def one() -> None:
        reader, writer = await asyncio.open_connection(HOST, admin)
        try:
            writer.write(f"GET /v1/tap?count=20 HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise Oops(head[9:12].decode(), head.split(b"\r\n")[0].decode())
            text = await reader.read()
            while more := await reader.read():
                text += more
        finally:
            writer.close()
        if text.count(b'"method"') != 20:
            raise Oops("cut", f"{text.count(b'method')} of 20 requests were shown")

    while not walk.over:
        await walk.attempt("tap", one(), ADMIN_LIMIT)
        await walk.pause(10.0)


KINDS: Final[dict[str, tuple[int, Any]]] = {
    "api": (1, api),
    "scrape": (1, scrape),
    "explain": (1, explain),
    "tap": (1, tap),
}
