"""What a client gets when hivemesh itself answers: status, body by Accept, Proxy-Status, and the flag in the log."""

from __future__ import annotations

import pytest
from raw_origin import RawOrigin


def test_body_is_plain_text_unless_json_is_wanted(hive) -> None:
    response = hive(routes=[]).client().get("/nowhere")
    assert response.status == 404
    assert response.header("content-type").startswith("text/plain")
    assert response.header("content-length") == str(len(response.body))
    assert response.body


@pytest.mark.parametrize(
    "accept", ["application/json", "application/problem+json", "text/html, application/json;q=0.9"]
)
def test_body_is_problem_json_for_programs(hive, accept: str) -> None:
    response = hive(routes=[]).client().get("/nowhere", {"Accept": accept})
    assert response.header("content-type") == "application/problem+json"
    assert response.json["status"] == 404
    assert response.json["title"]


def test_answer_names_the_request_so_that_it_can_be_found_in_the_log(hive) -> None:
    proxy = hive(routes=[])
    response = proxy.client().get("/nowhere", {"Accept": "application/json"})
    entry = proxy.logged(status=404)
    assert entry["request_id"] in response.text or response.header("x-request-id") == entry["request_id"]


def test_no_route_is_404(hive) -> None:
    proxy = hive(routes=[])
    response = proxy.client().get("/nowhere")
    assert (response.status, proxy.logged(status=404)["flags"]) == (404, "NR")
    assert "destination_not_found" in response.header("proxy-status")


def test_no_usable_endpoint_is_503(hive) -> None:
    response = hive(app={"endpoints": []}).client().get()
    assert response.status == 503
    assert "destination_unavailable" in response.header("proxy-status")


def test_refused_connection_is_502(hive, refused_address: str) -> None:
    response = hive(refused_address).client().get()
    assert response.status == 502
    assert "connection_refused" in response.header("proxy-status")


def test_connect_timeout_is_504(hive, silent_address: str) -> None:
    response = hive(silent_address, timeouts={"connect": "100ms"}).client().get()
    assert response.status == 504
    assert "connection_timeout" in response.header("proxy-status")


def test_response_timeout_is_504(hive, origin: RawOrigin) -> None:
    response = hive(origin, timeouts={"response_header": "100ms"}).client().get()
    assert response.status == 504
    assert "http_response_timeout" in response.header("proxy-status")


def test_connection_closed_by_the_origin_is_502(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask()
    upstream = origin.accept()
    upstream.request()
    upstream.close()
    response = client.response()
    assert response.status == 502
    assert "connection_terminated" in response.header("proxy-status")


def test_nonsense_of_the_origin_is_502(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask()
    origin.accept().answer(b"what?\r\n\r\n")
    response = client.response()
    assert response.status == 502
    assert "http_protocol_error" in response.header("proxy-status")


def test_proxy_status_begins_with_the_name_in_via(hive, refused_address: str, origin: RawOrigin) -> None:
    """RFC 9209 section 2: the identifier of the intermediary comes first."""
    proxy = hive(origin)
    client = proxy.client()
    client.ask()
    upstream = origin.accept()
    name = upstream.answer().header("via").split(" ")[1]
    client.response()
    client.ask()
    upstream.request()
    upstream.send(b"what?\r\n\r\n")
    assert client.response().header("proxy-status").startswith(name)


def test_answers_of_the_origin_carry_no_proxy_status_of_ours(hive, origin: RawOrigin) -> None:
    client = hive(origin).client()
    client.ask()
    origin.accept().answer(b"HTTP/1.1 502 Theirs\r\nContent-Length: 0\r\n\r\n")
    response = client.response()
    assert (response.status, response.reason, response.header("proxy-status")) == (502, "Theirs", None)


def test_connection_stays_usable_after_an_error_that_is_not_the_clients(hive, origin: RawOrigin) -> None:
    client = hive(origin, routes=[{"name": "app", "match": {"path": "/app"}, "service": "app"}]).client()
    assert client.get("/nowhere").status == 404
    client.ask(target="/app")
    origin.accept().answer()
    assert client.response().status == 200


def test_connection_closes_after_an_error_that_left_a_body_unread(hive) -> None:
    client = hive(routes=[]).client()
    client.ask("POST", "/nowhere", {"Content-Length": "1000000"})
    client.send(b"the beginning")
    response = client.response()
    assert (response.status, response.header("connection")) == (404, "close")
    assert client.is_ended_by_peer()
