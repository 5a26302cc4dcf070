"""Proof: the programs that people use speak through hivemesh, as clients, as origins and as proxies in front.

Each case is one program doing one thing through hivemesh to an origin that says what it got; a case passes when both
the program and the origin saw what they should. Cases are in client_cases.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from pathlib import Path
from typing import Any, Final

from benchmarks.proofs import client_cases
from benchmarks.proofs.client_cases import Place, Unmet
from benchmarks.proofs.evidence import Evidence, MissingTool
from benchmarks.proofs.hive import HOST, Hive, endpoints, free_port
from benchmarks.proofs.part import Cue, Part
from benchmarks.proofs.peers import Nginx
from benchmarks.proofs.reload import echo_server

PROMISE: Final = "the programs that people use speak through hivemesh: clients, origins, and proxies in front"


def prove(evidence: Evidence, folder: Path) -> None:
    web, aiohttp, h11, nginx, stdlib, chat, front = (free_port() for _ in range(7))
    place = Place(web, front, folder, 1.0 if evidence.short else 5.0)
    place.write_files()
    with (
        Part(aiohttp_origin, aiohttp),
        Part(h11_origin, h11),
        Part(stdlib_origin, stdlib, str(place.files)),
        Part(echo_server, chat),
        Nginx(folder, nginx_servers(nginx, front, web, place.files), (nginx,)),
        Hive(config(web, aiohttp, h11, nginx, stdlib, chat), folder) as hive,
    ):
        for case in client_cases.CASES:
            try:
                program = case.version()
                found = case.run(place)
                holds = True
            except MissingTool as problem:
                evidence.say(f"  without {case.name}: {problem}")
                evidence.note(f"without {case.name}", str(problem))
                continue
            except (Unmet, OSError, AssertionError) as problem:
                holds, found = False, f"{type(problem).__name__}: {problem}"
            evidence.versions[case.program] = program
            evidence.claim(f"{case.program}: {case.name}", holds, found)
        evidence.claim("the log has no bug", not hive.bugs(), hive.bugs()[:3] or "none")


def config(web: int, aiohttp: int, h11: int, nginx: int, stdlib: int, chat: int) -> dict[str, Any]:
    ports = {"aiohttp": aiohttp, "h11": h11, "nginx": nginx, "stdlib": stdlib, "chat": chat}
    return {
        "listeners": [
            {
                "name": "web",
                "address": f"{HOST}:{web}",
                "routes": [{"name": name, "match": {"path_prefix": f"/{name}"}, "service": name} for name in ports],
            }
        ],
        "services": {name: {"endpoints": endpoints(port)} for name, port in ports.items()},
    }


def nginx_servers(origin: int, front: int, web: int, files: Path) -> str:
    """An origin with files, and a proxy in front of hivemesh that keeps connections to it."""
    return f"""
    upstream hivemesh {{ server {HOST}:{web}; keepalive 8; }}
    server {{
        listen {HOST}:{origin};
        location /nginx/ {{ alias {files}/; }}
        location /nginx/empty {{ return 204; }}
    }}
    server {{
        listen {HOST}:{front};
        location / {{
            proxy_pass http://hivemesh;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
        }}
        location /chat {{
            proxy_pass http://hivemesh;
            proxy_http_version 1.1;
            proxy_set_header Connection upgrade;
            proxy_set_header Upgrade $http_upgrade;
        }}
    }}"""


# --- origins ------------------------------------------------------------------------------------------------------


async def aiohttp_origin(cue: Cue, port: int) -> None:
    """Says what it got: "METHOD PATH VERSION LENGTH SHA256"."""
    from aiohttp import web

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        spoken = f"{request.version.major}.{request.version.minor}"
        text = f"{request.method} {request.path} {spoken} {len(body)} {hashlib.sha256(body).hexdigest()}\n"
        if "chunked" in request.query:
            response = web.StreamResponse()
            response.enable_chunked_encoding()
            await response.prepare(request)
            for letter in text:
                await response.write(letter.encode())
            await response.write_eof()
            return response
        return web.Response(text=text)

    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    cue.ready()
    await cue.stop.wait()
    await runner.cleanup()


async def h11_origin(cue: Cue, port: int) -> None:
    """The same, with what came in trailers, and trailers of its own."""
    import h11

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        machine = h11.Connection(h11.SERVER)
        request, body = None, b""
        while True:
            event = machine.next_event()
            if event is h11.NEED_DATA:
                if machine.they_are_waiting_for_100_continue:
                    writer.write(machine.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                machine.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                said = " ".join(f"{name.decode()}={value.decode()}" for name, value in event.headers)
                text = b"%b %b %d %b\n" % (request.method, request.target, len(body), said.encode())
                answer = [
                    h11.Response(status_code=200, headers=[("Transfer-Encoding", "chunked"), ("Trailer", "x-sum")]),
                    h11.Data(data=text),
                    h11.EndOfMessage(headers=[("x-sum", hashlib.sha256(body).hexdigest())]),
                ]
                for piece in answer:
                    writer.write(machine.send(piece) or b"")
                await writer.drain()
                if machine.our_state is h11.MUST_CLOSE:
                    break
                machine.start_next_cycle()
            else:
                break

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, HOST, port)
    cue.ready()
    await cue.stop.wait()
    server.close()


async def stdlib_origin(cue: Cue, port: int, folder: str) -> None:
    """http.server: HTTP/1.0, a connection per answer, its end the end of the body of listings."""
    import functools
    import threading
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

        def translate_path(self, path: str) -> str:
            return super().translate_path(path.removeprefix("/stdlib"))

    server = ThreadingHTTPServer((HOST, port), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cue.ready()
    await cue.stop.wait()
    server.shutdown()
