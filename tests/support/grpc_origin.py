"""A gRPC server for health checks, made with h2's server side: what it answers is up to the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import h2.config
import h2.connection
import h2.events
import h2.exceptions

Headers = list[tuple[str, str]]


class Call:
    """A request that has come whole; answer it with `headers`, `data` and `trailers`."""

    def __init__(self, connection: h2.connection.H2Connection, stream: int, headers: dict[str, str]) -> None:
        self.connection = connection
        self.stream = stream
        self.headers = headers
        self.message = b""

    def answer(self, message: bytes, grpc_status: str = "0") -> None:
        framed = b"\0" + len(message).to_bytes(4, "big") + message
        self.connection.send_headers(self.stream, [(":status", "200"), ("content-type", "application/grpc")])
        self.connection.send_data(self.stream, framed)
        self.connection.send_headers(self.stream, [("grpc-status", grpc_status)], end_stream=True)

    def refuse(self, grpc_status: str, message: str = "", status: str = "200") -> None:
        """Trailers only."""
        headers = [(":status", status), ("content-type", "application/grpc")]
        headers += [("grpc-status", grpc_status)] if grpc_status else []
        headers += [("grpc-message", message)] if message else []
        self.connection.send_headers(self.stream, headers, end_stream=True)


def serving(on_call: Callable[[Call], None]) -> Callable[..., object]:
    """What an asyncio server serves its connections with."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        calls: dict[int, Call] = {}
        try:
            while data := await reader.read(65536):
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        calls[event.stream_id] = Call(connection, event.stream_id, dict(event.headers))
                    elif isinstance(event, h2.events.DataReceived):
                        calls[event.stream_id].message += event.data
                        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, h2.events.StreamEnded):
                        on_call(calls[event.stream_id])
                writer.write(connection.data_to_send())
                await writer.drain()
        except (OSError, h2.exceptions.ProtocolError):
            pass  # a client that speaks something else
        finally:
            writer.close()

    return serve
