"""Filters of a route: header edits, rewrites, redirects, direct responses."""

from __future__ import annotations

from typing import Any

import pytest
from raw_origin import RawOrigin


def route(*filters: dict[str, Any], prefix: str = "/") -> list[dict[str, Any]]:
    return [{"name": "filtered", "match": {"path_prefix": prefix}, "service": "app", "filters": list(filters)}]


def test_request_headers_are_removed_set_and_added(hive, origin: RawOrigin) -> None:
    edit = {"request_headers": {"set": {"X-Env": "demo"}, "add": {"X-Tag": "b"}, "remove": ["X-Debug"]}}
    client = hive(origin, routes=route(edit)).client()
    client.ask(headers=[("X-Env", "theirs"), ("x-env", "twice"), ("X-Tag", "a"), ("X-Debug", "1"), ("X-Other", "2")])
    request = origin.accept().answer()
    assert request.header("x-env") == "demo"
    assert request.all("x-tag") == ["a", "b"]
    assert request.header("x-debug") is None
    assert request.header("x-other") == "2"
    assert client.response().status == 200


def test_response_headers_are_removed_set_and_added(hive, origin: RawOrigin) -> None:
    edit = {"response_headers": {"set": {"Cache-Control": "no-store"}, "add": {"Vary": "X-A"}, "remove": ["Server"]}}
    client = hive(origin, routes=route(edit)).client()
    client.ask()
    origin.accept().answer(
        b"HTTP/1.1 200 OK\r\nServer: s\r\ncache-control: public\r\nVary: Accept\r\nContent-Length: 0\r\n\r\n"
    )
    response = client.response()
    assert response.header("server") is None
    assert response.header("cache-control") == "no-store"
    assert response.all("vary") == ["Accept", "X-A"]


@pytest.mark.parametrize(
    "prefix, replacement, sent, forwarded",
    [
        ("/foo", "/xyz", "/foo/bar", "/xyz/bar"),
        ("/foo", "/xyz", "/foo", "/xyz"),
        ("/foo", "/xyz", "/foo/", "/xyz/"),
        ("/foo", "/xyz/", "/foo/bar", "/xyz/bar"),
        ("/foo", "/", "/foo/bar", "/bar"),
        ("/foo", "/", "/foo", "/"),
        ("/", "/app", "/x?y=1", "/app/x?y=1"),
    ],
)
def test_prefix_is_rewritten(hive, origin: RawOrigin, prefix: str, replacement: str, sent: str, forwarded: str) -> None:
    client = hive(origin, routes=route({"url_rewrite": {"path_prefix": replacement}}, prefix=prefix)).client()
    client.ask(target=sent)
    assert origin.accept().answer().target == forwarded
    assert client.response().status == 200


def test_full_path_and_host_are_rewritten(hive, origin: RawOrigin) -> None:
    proxy = hive(origin, routes=route({"url_rewrite": {"path": "/one", "host": "inner.test"}}))
    client = proxy.client()
    client.ask(target="/any/thing?kept=1", host="outer.test")
    request = origin.accept().answer()
    assert (request.target, request.header("host")) == ("/one?kept=1", "inner.test")
    assert request.header("x-forwarded-host") == "outer.test"
    client.response()
    assert proxy.logged(status=200)["path"].startswith("/any/thing")  # what the client asked for


@pytest.mark.parametrize(
    "redirect, status, location",
    [
        ({"scheme": "https"}, 302, "https://a.test/old/page?q=1"),
        ({"scheme": "https", "status": 301, "port": 8443}, 301, "https://a.test:8443/old/page?q=1"),
        ({"host": "new.test"}, 302, "http://new.test/old/page?q=1"),
        ({"path": "/new"}, 302, "http://a.test/new?q=1"),
        ({"path_prefix": "/new"}, 302, "http://a.test/new/page?q=1"),
    ],
)
def test_redirects(hive, redirect: dict[str, Any], status: int, location: str) -> None:
    routes = [{"name": "moved", "match": {"path_prefix": "/old"}, "filters": [{"redirect": redirect}]}]
    proxy = hive(routes=routes)
    response = proxy.client().get("/old/page?q=1")
    port = proxy.address.rpartition(":")[2]
    assert response.status == status
    # The scheme stays http in some cases, and then so does the port at which the client reached us.
    assert response.header("location").replace(f":{port}/", "/") == location


def test_direct_response(hive) -> None:
    answer = {"status": 418, "body": "short and stout", "content_type": "text/tea", "headers": {"X-Pot": "1"}}
    proxy = hive(routes=[{"name": "tea", "filters": [{"direct_response": answer}]}])
    client = proxy.client()
    response = client.get("/")
    assert (response.status, response.text) == (418, "short and stout")
    assert (response.header("content-type"), response.header("x-pot")) == ("text/tea", "1")
    assert client.get("/again").status == 418
    assert proxy.logged(path="/again")["route"] == "tea"


def test_options_for_the_server_as_a_whole_is_redirected_to_the_root(hive) -> None:
    proxy = hive(routes=[{"name": "moved", "filters": [{"redirect": {"host": "new.test", "path_prefix": "/new"}}]}])
    client = proxy.client()
    client.ask("OPTIONS", "*")
    response = client.response(to="OPTIONS")
    assert response.status == 302
    assert response.header("location").startswith("http://new.test")
    assert response.header("location").rstrip("/").endswith("/new")
    # Neither this connection nor the listener took harm.
    assert client.get("/page").status == 302
    assert proxy.client().get("/page").status == 302


def test_redirect_of_a_request_without_host_is_relative(hive) -> None:
    proxy = hive(routes=[{"name": "moved", "filters": [{"redirect": {"scheme": "https", "path_prefix": "/new"}}]}])
    client = proxy.client()
    client.send(b"GET /page?q=1 HTTP/1.0\r\n\r\n")
    response = client.response()
    assert response.status == 302
    assert response.header("location") == "/new/page?q=1"


def test_response_edits_replace_what_a_direct_response_says(hive) -> None:
    answer = {"direct_response": {"status": 200, "body": "y", "headers": {"X-A": "1", "X-B": "1", "X-C": "1"}}}
    edit = {"response_headers": {"set": {"X-A": "2", "Content-Type": "text/css"}, "remove": ["x-b"]}}
    response = hive(routes=[{"name": "local", "filters": [answer, edit]}]).client().get()
    assert response.text == "y"
    assert response.all("x-a") == ["2"]
    assert response.all("content-type") == ["text/css"]
    assert response.all("x-b") == []
    assert response.all("x-c") == ["1"]
    assert response.all("content-length") == ["1"]


def test_response_edits_hold_for_errors_of_our_own(hive) -> None:
    edit = {"response_headers": {"set": {"X-Request-Id": "hidden"}, "remove": ["Proxy-Status"]}}
    response = hive(app={"endpoints": []}, routes=route(edit)).client().get()
    assert response.status == 503
    assert response.all("x-request-id") == ["hidden"]
    assert response.all("proxy-status") == []
    assert len(response.all("content-type")) == 1


def test_removed_headers_do_not_come_back_as_trailers(hive, origin: RawOrigin) -> None:
    edits = [{"request_headers": {"remove": ["X-Secret"]}}, {"response_headers": {"remove": ["X-Inner"]}}]
    client = hive(origin, routes=route(*edits)).client()
    client.ask("POST", "/", [("Transfer-Encoding", "chunked"), ("X-Secret", "1"), ("TE", "trailers")])
    client.send(b"2\r\nhi\r\n0\r\nX-Secret: 2\r\nX-Sum: 7\r\n\r\n")
    upstream = origin.accept()
    request = upstream.request()
    assert request.header("x-secret") is None
    assert request.trailers == [("x-sum", "7")]
    upstream.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Inner: 1\r\n\r\n"
        b"2\r\nok\r\n0\r\nX-Inner: 2\r\nX-Sum: 8\r\n\r\n"
    )
    response = client.response(to="POST")
    assert response.header("x-inner") is None
    assert response.trailers == [("x-sum", "8")]
