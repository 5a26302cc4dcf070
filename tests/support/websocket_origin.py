"""A WebSocket server that echoes every message, from the `websockets` library: an origin that is not ours."""

from __future__ import annotations

import threading

from websockets.sync.server import Server, ServerConnection, serve


class WebSocketOrigin:
    """Listens on 127.0.0.1 until `close`."""

    def __init__(self) -> None:
        self.server: Server = serve(_echo, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self.server.socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> WebSocketOrigin:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()


def _echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)
