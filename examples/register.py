"""A service that registers itself, serves, and deregisters: python examples/register.py SERVICE PORT

HIVEMESH_ADMIN says where the agent is.
"""

import asyncio
import contextlib
import os
import signal
import sys

from discovery import ServiceConfig, ServiceDiscovery

TTL = 15  # seconds that the registration outlives this program


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nhi\n")
    await writer.drain()
    writer.close()


async def main(name: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    admin = os.environ.get("HIVEMESH_ADMIN", "http://127.0.0.1:9900")
    place = (os.uname().nodename, "127.0.0.1", port)
    async with await asyncio.start_server(serve, "127.0.0.1", port), ServiceDiscovery.connect(admin) as sd:
        await sd.register_service(ServiceConfig(name=name, version="v1", ttl=TTL), *place)
        while not stop.is_set():
            await sd.heartbeat(name, *place)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TTL / 3)
        await sd.deregister_service(name, *place)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
