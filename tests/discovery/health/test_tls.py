"""Checks over TLS: whose certificate is accepted, and how everything else is told."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checking import Serve, checked_against, target
from grpc_origin import serving
from tls_origin import make_certificate, openssl_is_installed

from discovery.checks import CheckProtocol, HealthCheck
from discovery.health.dialogue import CannotAsk
from discovery.health.http import HttpDialogue
from discovery.health.result import SUCCESS, Outcome, Result
from discovery.health.tls import TlsDialogue, context

pytestmark = pytest.mark.skipif(not openssl_is_installed(), reason="openssl is not installed")

NAME = "web.local"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp())
    make_certificate(made, NAME, ",IP:127.0.0.1")
    yield made
    shutil.rmtree(made)


def server(folder: Path, *alpn: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(folder / f"{NAME}.crt", folder / f"{NAME}.key")
    if alpn:
        made.set_alpn_protocols(list(alpn))
    return made


def https(**more: Any) -> HealthCheck:
    return HealthCheck(**{"protocol": CheckProtocol.HTTPS, "timeout": 5.0, **more})


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n" + b"x" * 30_000)
    await writer.drain()


def asked(folder: Path, domain: str = "", serve: Serve = answers, **check: Any) -> Result:
    return checked_against(serve, https(**check), tls=server(folder), domain=domain)


def test_a_certificate_of_an_authority_that_is_trusted(folder: Path) -> None:
    ca = str(folder / f"{NAME}.crt")
    assert asked(folder, host=NAME, ca_file=ca) == SUCCESS
    assert asked(folder, domain=NAME, ca_file=ca) == SUCCESS
    assert asked(folder, ca_file=ca) == SUCCESS, "without a name the address is what it must be valid for"


def test_a_certificate_that_nobody_vouches_for_is_refused(folder: Path) -> None:
    assert asked(folder, host=NAME) == (Outcome.FAILURE, "certificate not accepted: self-signed certificate")


def test_a_certificate_of_somebody_else_is_refused(folder: Path) -> None:
    result = asked(folder, host="other.local", ca_file=str(folder / f"{NAME}.crt"))
    assert result.reason == ("certificate not accepted: Hostname mismatch, certificate is not valid for 'other.local'")


def test_whoever_does_not_verify_takes_any(folder: Path) -> None:
    assert asked(folder, host="other.local", verify=False) == SUCCESS


def test_the_endpoint_is_told_whom_is_asked_for(folder: Path) -> None:
    names: list[str | None] = []
    tls = server(folder)
    tls.sni_callback = lambda _, name, __: names.append(name)
    checked_against(answers, https(host=f"{NAME}:443", verify=False), tls=tls)
    assert names == [NAME]


def test_what_is_inside_is_read_as_ever(folder: Path) -> None:
    assert asked(folder, verify=False, expected_body="nothing").reason.endswith("is not in the body")


def test_plain_http_where_tls_is_expected() -> None:
    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    assert checked_against(refuses, https()) == (Outcome.FAILURE, "the endpoint does not speak TLS")


def test_an_end_within_the_handshake() -> None:
    async def leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)

    assert checked_against(leaves, https()) == (Outcome.FAILURE, "connection closed within the TLS handshake")


def test_silence_in_the_handshake_and_after_it(folder: Path) -> None:
    async def is_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    assert checked_against(is_silent, https(timeout=0.1)).reason == "no TLS handshake within 0.1 s"
    assert asked(folder, serve=is_silent, verify=False, timeout=0.3).reason == "no answer within 0.3 s"


def test_an_end_without_a_word(folder: Path) -> None:
    async def leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nup")

    assert asked(folder, serve=leaves, verify=False) == SUCCESS


def test_no_agreement() -> None:
    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"\x15\x03\x03\x00\x02\x02\x28")  # alert, fatal, handshake_failure
        await writer.drain()

    assert checked_against(refuses, https()).reason == "TLS failed: sslv3 alert handshake failure"


@pytest.mark.parametrize("pieces", [1, 7])
def test_records_may_come_in_any_pieces(folder: Path, pieces: int) -> None:
    """Both machines in memory, without sockets."""
    check = https(host=NAME, ca_file=str(folder / f"{NAME}.crt"))
    what = target("127.0.0.1:1", check)
    client = TlsDialogue(HttpDialogue(what), what.server_name, True, check.ca_file)
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = server(folder).wrap_bio(into, out, server_side=True)
    into.write(client.begin())
    result = None
    answered = False
    for _ in range(20_000):
        try:
            if tls.read(65536) and not answered:
                answered = True
                tls.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except ssl.SSLWantReadError:
            pass
        data = out.read(pieces)
        if data and (result := client.receive(data)) is not None:
            break
        into.write(client.to_send())
    assert result == SUCCESS


# --- authorities ----------------------------------------------------------------------------------------------------


def test_a_file_of_authorities_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotAsk, match=r"cannot read ca_file .*/none: no such file or directory"):
        context(True, str(tmp_path / "none"), "")
    (tmp_path / "empty").write_text("nothing\n")
    with pytest.raises(CannotAsk, match="holds no certificate in PEM form"):
        context(True, str(tmp_path / "empty"), "")


def test_what_is_no_file_of_authorities_is_not_read(tmp_path: Path) -> None:
    """A pipe that nobody writes to would stop the whole agent, and anybody may name one in a registration."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(CannotAsk, match="is not a file, expected certificates in PEM form"):
            context(True, str(path), "")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(4 * 1024 * 1024 + 1)
    with pytest.raises(CannotAsk, match="has more than 4 MiB"):
        context(True, str(tmp_path / "large"), "")


def test_contexts_are_made_once_and_again_when_the_file_is_another(folder: Path, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    shutil.copy(folder / f"{NAME}.crt", ca)
    first = context(True, str(ca), "")
    assert context(True, str(ca), "") is first
    assert context(True, str(ca), "h2") is not first
    make_certificate(tmp_path, "new")
    (tmp_path / "new.crt").replace(ca)
    assert context(True, str(ca), "") is not first


# --- gRPC -----------------------------------------------------------------------------------------------------------


def grpcs(folder: Path, **more: Any) -> HealthCheck:
    ca = str(folder / f"{NAME}.crt")
    return HealthCheck(protocol=CheckProtocol.GRPC, tls=True, ca_file=ca, host=NAME, timeout=5.0, **more)


def test_grpc_over_tls(folder: Path) -> None:
    serve = serving(lambda call: call.answer(b"\x08\x01" if call.headers[":scheme"] == "https" else b""))
    assert checked_against(serve, grpcs(folder), tls=server(folder, "h2")) == SUCCESS  # type: ignore[arg-type]


def test_grpc_over_tls_needs_a_server_that_offers_http2(folder: Path) -> None:
    result = checked_against(answers, grpcs(folder), tls=server(folder, "http/1.1"))
    assert result == (Outcome.FAILURE, "the endpoint does not offer h2 over TLS (ALPN)")
