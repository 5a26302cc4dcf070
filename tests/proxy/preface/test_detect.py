"""What the first bytes of a connection tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.preface.detect import ENOUGH, MAX_METHOD, Kind, detect


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"GET http://a.local/ HTTP/1.1\r\n",
        b"get HTTPS://a.local/ HTTP/1.1\r\n",
        b"CONNECT a.local:443 HTTP/1.1\r\n",
        b"X" * MAX_METHOD + b" /",
        b"X" * MAX_METHOD + b" https://",
        b"PRINT / HTTP/1.1",
    ],
)
def test_http(data: bytes) -> None:
    assert detect(data) is Kind.HTTP
    assert detect(data[:ENOUGH]) is Kind.HTTP


@pytest.mark.parametrize("data", [b"\x16\x03\x01", b"\x16\x03\x03\x02\x00\x01"])
def test_tls(data: bytes) -> None:
    assert detect(data) is Kind.TLS


@pytest.mark.parametrize(
    "data",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n",
        b"\r\nGET / HTTP/1.1\r\n",
        b" GET / HTTP/1.1",
        b"EHLO mail.local\r\n",
        b"SET key value\r\n",
        b"PING\r\n",
        b"INVITE sip:bob@a.local SIP/2.0\r\n",
        b"DESCRIBE rtsp://a.local/ RTSP/1.0\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",  # PostgreSQL asks for TLS
        b"\x16\x02",
        b"\x80\x2e\x01\x03\x01",
        b"X" * (MAX_METHOD + 1),
        b"GE(T / HTTP/1.1",
        b"GET  /",
    ],
)
def test_something_else(data: bytes) -> None:
    assert detect(data) is Kind.OTHER


@pytest.mark.parametrize("data", [b"", b"G", b"GET", b"GET ", b"GET http:", b"\x16", b"PRI", b"X" * MAX_METHOD])
def test_too_little(data: bytes) -> None:
    assert detect(data) is Kind.NEED_MORE


@given(
    st.binary(max_size=80)
    | st.text("GETPRI /*htps:. \r\n", max_size=60).map(str.encode)
    | st.text("GETCONPRI", min_size=1, max_size=8).flatmap(
        lambda method: st.sampled_from(["/", "*", "http://a", "x"]).map(lambda target: f"{method} {target}".encode())
    )
)
def test_a_prefix_needs_more_or_says_what_the_whole_says(data: bytes) -> None:
    whole = detect(data)
    assert all(detect(data[:end]) in (Kind.NEED_MORE, whole) for end in range(len(data)))
    assert len(data) < ENOUGH or whole is not Kind.NEED_MORE
