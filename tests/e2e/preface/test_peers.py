"""The PROXY protocol with HAProxy and nginx on the other side, in both directions and versions."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from haproxy import Haproxy, haproxy_is_installed
from instance import Instance, endpoints
from nginx_origin import Nginx, nginx_is_installed
from ports import split_address
from raw_client import RawClient
from raw_origin import RawOrigin
from tls_origin import TlsOrigin, openssl_is_installed
from waiting import eventually

from proxy.stats.slots import CONNECTIONS_TOTAL, PROXY_HEADER_FAILURES

Hive = Callable[..., Instance]

needs_haproxy = pytest.mark.skipif(not haproxy_is_installed(), reason="HAProxy is not installed")
needs_nginx = pytest.mark.skipif(not nginx_is_installed(), reason="nginx is not installed")

RECEIVE = {"proxy_protocol": "receive"}
TRUSTED = {"trusted_proxies": ["127.0.0.1"]}
# Who asks is on another address than the proxy in front, which is trusted.
CLIENT = "127.0.0.5"
NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
VERSIONS = pytest.mark.parametrize("version", ["v1", "v2"])
SEND = {"v1": "send-proxy", "v2": "send-proxy-v2"}

Behind = Callable[..., RawClient]


@pytest.fixture
def through(tmp_path: Path) -> Iterator[Behind]:
    """A client behind an HAProxy that sends its connections to an address, with options of that server."""
    started: list[Haproxy] = []
    clients: list[RawClient] = []

    def connect(server: str) -> RawClient:
        haproxy = Haproxy(tmp_path, server)
        started.append(haproxy)
        clients.append(RawClient(haproxy.address, CLIENT))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()
    for haproxy in started:
        haproxy.stop()


# --- received -----------------------------------------------------------------------------------------------------


@needs_haproxy
@pytest.mark.parametrize(
    "options",
    ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id", "send-proxy-v2-ssl-cn"],
)
def test_http_from_haproxy(hive: Hive, origin: RawOrigin, through: Behind, options: str) -> None:
    proxy = hive(origin, listener=RECEIVE, **TRUSTED)
    client = through(f"{proxy.address} {options}")
    client.ask()
    assert origin.accept().answer().header("x-forwarded-for") == CLIENT
    assert client.response().status == 200
    assert proxy.logged(status=200)["client"] == CLIENT


@needs_haproxy
@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
def test_its_checks_are_no_failures(hive: Hive, origin: RawOrigin, through: Behind, send: str) -> None:
    origin.serve()
    proxy = hive(origin, listener=RECEIVE, **TRUSTED)
    through(f"{proxy.address} {send} check check-send-proxy inter 20ms")

    def cells() -> list[int]:
        assert proxy._inside is not None
        return proxy._inside.embedded.stats("listener/web")[0]

    eventually(lambda: cells()[CONNECTIONS_TOTAL] > 3, "some checks")
    assert cells()[PROXY_HEADER_FAILURES] == 0


@needs_haproxy
@VERSIONS
def test_tcp_from_haproxy(hive: Hive, origin: RawOrigin, through: Behind, version: str) -> None:
    proxy = hive(origin, routes=[], listener={"protocol": "tcp", "service": "app", **RECEIVE}, **TRUSTED)
    client = through(f"{proxy.address} {SEND[version]}")
    client.send(b"ping")
    upstream = origin.accept()
    while not upstream.receive_more():  # HAProxy was looked for before
        upstream = origin.accept()
    assert upstream.read_exactly(4) == b"ping"
    upstream.send(b"pong")
    assert client.read_exactly(4) == b"pong"
    port = client.socket.getsockname()[1]
    upstream.close()
    client.close()
    assert proxy.logged(client=CLIENT)["client_port"] == port


@needs_nginx
@pytest.mark.skipif(not NGINX_STREAM.exists(), reason="nginx has no stream module")
def test_http_from_nginx(hive: Hive, origin: RawOrigin, tmp_path: Path) -> None:
    proxy = hive(origin, listener=RECEIVE, **TRUSTED)
    stream = f"stream {{ server {{ listen ADDRESS; proxy_pass {proxy.address}; proxy_protocol on; }} }}"
    with Nginx(tmp_path, blocks=stream, modules=(NGINX_STREAM,)) as nginx, RawClient(nginx.address, CLIENT) as client:
        client.ask()
        assert origin.accept().answer().header("x-forwarded-for") == CLIENT
        assert client.response().status == 200


# --- sent ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def haproxy_in_front_of(tmp_path: Path, origin: RawOrigin) -> Iterator[Callable[[str], str]]:
    """The address of an HAProxy before `origin` that expects a header, in the mode that is given."""
    started: list[Haproxy] = []

    def start(mode: str) -> str:
        rules = ("http-request set-header x-src %[src]:%[src_port]",) if mode == "http" else ()
        started.append(Haproxy(tmp_path, origin.address, mode, "accept-proxy", rules))
        return started[-1].address

    yield start
    for haproxy in started:
        haproxy.stop()


@needs_haproxy
@VERSIONS
def test_http_to_haproxy(
    hive: Hive, origin: RawOrigin, haproxy_in_front_of: Callable[[str], str], version: str
) -> None:
    proxy = hive(haproxy_in_front_of("http"), app={"mesh": {"proxy_protocol": version}})
    client = proxy.client(CLIENT)
    origin.serve()
    for _ in range(2):
        client.ask()
        assert client.response().status == 200
        assert origin.requests[-1].header("x-src") == f"{CLIENT}:{client.socket.getsockname()[1]}"


@needs_haproxy
@VERSIONS
def test_tcp_to_haproxy(hive: Hive, origin: RawOrigin, haproxy_in_front_of: Callable[[str], str], version: str) -> None:
    """HAProxy takes the connection and the header off it, and what the two sides say comes through."""
    listener = {"protocol": "tcp", "service": "app"}
    proxy = hive(haproxy_in_front_of("http"), routes=[], listener=listener, app={"mesh": {"proxy_protocol": version}})
    client = proxy.client(CLIENT)
    client.ask()
    request = origin.accept().answer()
    assert request.header("x-src") == f"{CLIENT}:{client.socket.getsockname()[1]}"
    assert client.response().status == 200


@needs_nginx
@VERSIONS
@pytest.mark.parametrize("protocol", ["http", "tcp"])
def test_to_nginx(hive: Hive, tmp_path: Path, version: str, protocol: str) -> None:
    http = """
        http {
            access_log off;
            server {
                listen ADDRESS proxy_protocol;
                location / { return 200 "$proxy_protocol_addr:$proxy_protocol_port to $proxy_protocol_server_port"; }
            }
        }
    """
    with Nginx(tmp_path, blocks=http) as nginx:
        listener = {"protocol": "tcp", "service": "app"} if protocol == "tcp" else {}
        routes = [] if protocol == "tcp" else None
        proxy = hive(nginx, routes=routes, listener=listener, app={"mesh": {"proxy_protocol": version}})
        client = proxy.client(CLIENT)
        client.ask()
        port = client.socket.getsockname()[1]
        assert client.response().text == f"{CLIENT}:{port} to {proxy.address.rpartition(':')[2]}"


# --- both, and TLS ------------------------------------------------------------------------------------------------


@needs_haproxy
@VERSIONS
def test_what_is_received_is_sent_on(
    hive: Hive,
    origin: RawOrigin,
    haproxy_in_front_of: Callable[[str], str],
    through: Behind,
    version: str,
    tmp_path: Path,
) -> None:
    behind = haproxy_in_front_of("http")
    (tmp_path / "haproxy.cfg").rename(tmp_path / "behind.cfg")
    proxy = hive(behind, listener=RECEIVE, app={"mesh": {"proxy_protocol": version}}, **TRUSTED)
    client = through(f"{proxy.address} send-proxy-v2")
    client.ask()
    assert origin.accept().answer().header("x-src") == f"{CLIENT}:{client.socket.getsockname()[1]}"
    assert client.response().status == 200


@pytest.mark.skipif(not openssl_is_installed(), reason="openssl is not installed")
@pytest.mark.parametrize("protocol", ["tcp", "auto"])
def test_tls_passes_through_by_server_name(hive: Hive, origin: RawOrigin, tmp_path: Path, protocol: str) -> None:
    """The client sees the certificate of the server it asked for, and of it nothing but the name is seen in between."""
    with TlsOrigin(tmp_path, "shop.test") as shop, TlsOrigin(tmp_path, "else.test") as rest:
        services = {"shop": {"endpoints": endpoints(shop)}, "rest": {"endpoints": endpoints(rest)}}
        routes = [{"name": "shop", "match": {"sni": "shop.test"}, "service": "shop"}]
        if protocol == "auto":
            routes.append({"name": "pages", "service": "app"})
        proxy = hive(origin, routes=routes, services=services, listener={"protocol": protocol, "service": "rest"})
        for target in (shop, rest):
            connection = socket.create_connection(split_address(proxy.address), 10)
            with target.trust.wrap_socket(connection, server_hostname=target.name) as tls:
                tls.sendall(b"ping")
                assert tls.recv(100) == f"{target.name}: ping".encode()
        assert proxy.logged(route="shop")["sni"] == "shop.test"
        assert proxy.logged(route="default")["sni"] == "else.test"
