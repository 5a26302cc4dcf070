"""TLS around the machine of another protocol: what goes in and comes out are records instead of bytes.

The machine below is OpenSSL's (an SSLObject between two memory buffers), so this is a Dialogue like those it wraps,
and the driver does not know of it. Contexts are made once for each (verify, file, ALPN), and again when the file is
another one: a certificate authority that is rotated counts from the next check on.
"""

from __future__ import annotations

import os
import ssl
import stat
from functools import lru_cache
from typing import Final

from discovery.health.dialogue import CannotAsk, Dialogue
from discovery.health.result import Result, failure, quoted

_PIECE: Final = 16 * 1024
_CONTEXTS: Final = 64  # kept at a time
_MAX_CA_FILE: Final = 4 * 1024 * 1024  # bytes; all authorities that browsers trust are 0.2 MiB

# What OpenSSL finds where somebody speaks another protocol.
_NOT_TLS: Final = (
    *("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL"),
    *("RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE", "BAD_RECORD_TYPE", "INVALID_RECORD_TYPE"),
)


class TlsDialogue:
    """`name` is what the certificate must be valid for. `alpn`: the protocol that must be agreed on, "" for none.
    Raises CannotAsk."""

    def __init__(self, inner: Dialogue, name: str, verify: bool, ca_file: str, alpn: str = "") -> None:
        self._inner = inner
        self._alpn = alpn
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = context(verify, ca_file, alpn).wrap_bio(self._in, self._out, server_hostname=name)
        self._is_open = False

    @property
    def awaits(self) -> str:
        return self._inner.awaits if self._is_open else "TLS handshake"

    def begin(self) -> bytes:
        self._shake()
        return self._out.read()

    def receive(self, data: bytes) -> Result | None:
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()
        if not self._is_open:
            result = self._shake()
            if result is not None or not self._is_open:
                return result
            if self._alpn and self._tls.selected_alpn_protocol() != self._alpn:
                return failure(f"the endpoint does not offer {self._alpn} over TLS (ALPN)")
            self._tls.write(self._inner.begin())
        return self._read()

    def to_send(self) -> bytes:
        return self._out.read()

    def farewell(self) -> bytes:
        if self._is_open:
            try:
                if last := self._inner.farewell():
                    self._tls.write(last)
                self._tls.unwrap()
            except (ssl.SSLError, OSError):
                pass  # it wants an answer, and nobody waits for that
        return self._out.read()

    def _shake(self) -> Result | None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLError as problem:
            return failure(why(problem))
        self._is_open = True
        return None

    def _read(self) -> Result | None:
        while True:
            try:
                data = self._tls.read(_PIECE)
            except ssl.SSLWantReadError:
                return None
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                data = b""
            except ssl.SSLError as problem:
                return failure(why(problem))
            result = self._inner.receive(data)
            if result is not None or not data:
                return result
            if reply := self._inner.to_send():
                self._tls.write(reply)


def context(verify: bool, ca_file: str, alpn: str) -> ssl.SSLContext:
    """Raises CannotAsk."""
    if not ca_file:
        return _context(verify, "", alpn, 0)
    try:
        found = os.stat(ca_file)
        # Reading a pipe or a device may never end, and the loop would wait for it.
        if not stat.S_ISREG(found.st_mode):
            raise CannotAsk(f"ca_file {ca_file} is not a file, expected certificates in PEM form")
        if found.st_size > _MAX_CA_FILE:
            raise CannotAsk(f"ca_file {ca_file} has more than {_MAX_CA_FILE // 1024 // 1024} MiB, expected less")
        return _context(verify, ca_file, alpn, found.st_mtime_ns)
    except OSError as problem:
        raise CannotAsk(f"cannot read ca_file {ca_file}: {(problem.strerror or str(problem)).lower()}") from None


@lru_cache(_CONTEXTS)
def _context(verify: bool, ca_file: str, alpn: str, modified: int) -> ssl.SSLContext:
    if verify:
        try:
            made = ssl.create_default_context(cafile=ca_file or None)
        except ssl.SSLError:
            raise CannotAsk(f"ca_file {ca_file} holds no certificate in PEM form") from None
    else:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if alpn:
        made.set_alpn_protocols([alpn])
    return made


def why(problem: ssl.SSLError) -> str:
    """One sentence for a user."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {quoted(problem.verify_message).rstrip('.')}"
    if isinstance(problem, ssl.SSLEOFError):
        return "connection closed within the TLS handshake"
    reason = problem.reason or ""
    if reason in _NOT_TLS:
        return "the endpoint does not speak TLS"
    return f"TLS failed: {reason.lower().replace('_', ' ') or quoted(str(problem))}"
