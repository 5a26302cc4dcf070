"""An endpoint that speaks TLS: it answers whatever it reads with its name and what it read."""

from __future__ import annotations

import ssl
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from socket import create_server
from typing import Self

from program import installed


def openssl_is_installed() -> bool:
    return installed("openssl") is not None


def make_certificate(directory: Path, name: str, also: str = "") -> tuple[Path, Path]:
    """A certificate for `name` that nobody has signed but itself, and its key. `also`: more subjectAltNames."""
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    command = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}{also}"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    openssl = installed("openssl")
    assert openssl is not None, "openssl is not installed"
    subprocess.run([openssl, *command], check=True, capture_output=True, timeout=30)
    return certificate, key


class TlsOrigin:
    """`name` is in its certificate, which `trust` believes."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        certificate, key = make_certificate(directory, name)
        self.trust = ssl.create_default_context(cafile=str(certificate))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._socket = create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *unused: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(2)  # wakes the thread that is blocked in accept
        self._socket.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with suppress(OSError), self._context.wrap_socket(connection, server_side=True) as tls:
                while data := tls.recv(65536):
                    tls.sendall(f"{self.name}: ".encode() + data)
