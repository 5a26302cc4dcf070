"""The test tools themselves, proved on a proxy that is not ours: nginx between the raw client and the origins."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from http_origin import HttpOrigin
from nginx_origin import Nginx, nginx_is_installed
from raw_client import RawClient
from raw_origin import RawOrigin
from websocket_origin import WebSocketOrigin
from websockets.sync.client import connect

pytestmark = pytest.mark.skipif(not nginx_is_installed(), reason="nginx is not installed")


def test_one_thread_plays_client_and_origin(tmp_path: Path, origin: RawOrigin) -> None:
    with Nginx(tmp_path, origin.address) as nginx, RawClient(nginx.address) as client:
        client.ask("POST", "/x?y=1", {"X-A": "1"}, b"hello")
        upstream = origin.accept()
        request = upstream.request()
        assert (request.method, request.target, request.body) == ("POST", "/x?y=1", b"hello")
        assert request.header("x-a") == "1"
        upstream.send(b"HTTP/1.1 201 Made\r\nContent-Length: 2\r\nX-B: 2\r\n\r\n", b"o", b"k")
        response = client.response()
        assert (response.status, response.body, response.header("x-b")) == (201, b"ok", "2")


def test_client_reads_pipelined_responses_in_order(tmp_path: Path) -> None:
    with HttpOrigin() as origin, Nginx(tmp_path, origin.address) as nginx, RawClient(nginx.address) as client:
        client.send(b"GET /bytes/3 HTTP/1.1\r\nHost: a\r\n\r\nGET /chunked/2500 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response().body == bytes(3)
        assert client.response().body == b"x" * 2500
        client.ask("HEAD", "/bytes/7")
        assert client.response(to="HEAD").header("content-length") == "7"
        assert client.get("/status/204").status == 204
        assert client.get("/echo?a=1").json["target"] == "/echo?a=1"


def test_a_body_cut_short_is_seen(tmp_path: Path, origin: RawOrigin) -> None:
    with Nginx(tmp_path, origin.address) as nginx, RawClient(nginx.address) as client:
        client.ask()
        upstream = origin.accept()
        upstream.request()
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        upstream.close()
        response = client.response()
        assert not response.complete
        assert response.body == b"half"


def test_origin_sees_that_the_client_went_away(tmp_path: Path, origin: RawOrigin) -> None:
    with Nginx(tmp_path, origin.address) as nginx:
        client = RawClient(nginx.address)
        client.ask()
        upstream = origin.accept()
        upstream.request()
        client.reset()
        assert upstream.is_ended_by_peer()
        assert not origin.has_connection_waiting()


def test_origin_answers_100_continue_and_trailers() -> None:
    with HttpOrigin() as origin, RawClient(origin.address) as client:
        client.ask("POST", "/echo", {"Expect": "100-continue", "Content-Length": "2"})
        assert client.interim_response().status == 100
        client.send(b"hi")
        assert client.response().json["body"] == "hi"
        assert client.get("/trailers").trailers == [("x-sum", "7")]
        assert client.get("/sse").body.count(b"data:") == 3


def test_delayed_answers_are_released(tmp_path: Path) -> None:
    with HttpOrigin() as origin, RawClient(origin.address) as client:
        client.ask(target="/delay/60")
        origin.release()
        assert client.response().status == 200


def test_websocket_origin_echoes() -> None:
    with WebSocketOrigin() as origin, connect(f"ws://{origin.address}/") as websocket:
        websocket.send("hello")
        assert websocket.recv() == "hello"


def test_nginx_serves_as_an_origin(tmp_path: Path) -> None:
    with Nginx(tmp_path) as nginx, RawClient(nginx.address) as client:
        (tmp_path / "files" / "a.txt").write_text("from a file")
        assert client.get("/").text == "nginx\n"
        assert client.get("/files/a.txt").text == "from a file"


def test_addresses_that_refuse_and_that_stay_silent(refused_address: str, silent_address: str) -> None:
    with pytest.raises(ConnectionRefusedError):
        RawClient(refused_address)
    with socket.socket() as probe, pytest.raises(TimeoutError):
        probe.settimeout(0.2)
        host, port = silent_address.split(":")
        probe.connect((host, int(port)))
