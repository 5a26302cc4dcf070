"""Requests and responses in pieces, one after the other and at once, as both drivers and the forwarder handle them."""

from __future__ import annotations

from pathlib import Path

import pytest
from playbook import LISTENER, Origin, Playbook, service
from raw_origin import EMPTY, OK

from discovery.model import AccessLog, Limits, LogFormat, Settings, Timeouts

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;x\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n"
)
CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3\r\nfin\r\n0\r\nX-Sum: 2\r\n\r\n"


def book_of(origin: Origin, **given: object) -> Playbook:
    return Playbook(service("app", origin), origins=(origin,), **given)


@pytest.mark.parametrize("raw", [GET, POST, CHUNKED], ids=["get", "post", "chunked"])
def test_a_request_in_single_bytes(origin: Origin, raw: bytes) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.send(*(raw[index : index + 1] for index in range(len(raw))))
        request = origin.accept().answer()
        assert request.target == "/a"
        assert request.body == {GET: b"", POST: b"hello", CHUNKED: b"hello world"}[raw]
        assert request.trailers == ([("x-sum", "1")] if raw is CHUNKED else [])
        assert client.response().body == b"ok"


@pytest.mark.parametrize("raw", [OK, EMPTY, CHUNKED_OK], ids=["length", "empty", "chunked"])
def test_a_response_in_single_bytes(origin: Origin, raw: bytes) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.request()
        upstream.send(*(raw[index : index + 1] for index in range(len(raw))))
        response = client.response()
        assert response.status == 200
        assert response.body == {OK: b"ok", EMPTY: b"", CHUNKED_OK: b"okfin"}[raw]
        assert response.trailers == ([("x-sum", "2")] if raw is CHUNKED_OK else [])


def test_the_connections_are_used_again(origin: Origin) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        for round_ in range(5):
            upstream.answer()
            assert client.response().body == b"ok"
            assert book.gauges() == {
                f"listener/{LISTENER} connections": 1,
                f"endpoint/app/a/{origin.address} connections": 1,
                "service/app connections": 1,
                f"endpoint/app/a/{origin.address} idle": 1,
            }
            if round_ < 4:
                client.send(POST if round_ % 2 else GET)
        assert not origin.has_connection_waiting()
        assert book.codes() == {200: 5}
        # Nothing is held for a connection that is idle.
        (downstream,), (server,) = book.downstreams(), book.upstreams()
        assert downstream.rx is None and downstream.out is None
        assert server.rx is None and server.out is None


def test_pipelined_requests_are_answered_in_order(origin: Origin) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(8)) + POST + GET)
        upstream = origin.accept()
        for number in range(8):
            request = upstream.request()
            assert request.target == f"/{number}"
            # The next one is not sent before this one is answered.
            assert upstream.has_nothing_to_read()
            upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
        assert upstream.answer().body == b"hello"
        upstream.answer()
        assert [client.response().body for _ in range(10)] == [b"%d" % number for number in range(8)] + [b"ok", b"ok"]


def test_a_body_that_is_followed_by_a_request(origin: Origin) -> None:
    """Bytes behind a body are the next request, however they are cut."""
    raw = CHUNKED + GET
    with book_of(origin) as book:
        upstream = None
        for cut in range(1, len(raw), 7):
            client = book.client()
            client.send(raw[:cut], raw[cut:])
            upstream = upstream or origin.accept()
            assert upstream.answer().body == b"hello world"
            assert client.response().status == 200
            upstream.answer()
            assert client.response().status == 200
            client.close()


def test_an_interim_response_goes_through_and_the_final_one_follows(origin: Origin) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        upstream = origin.accept()
        assert upstream.head().header("expect") == "100-continue"
        upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert client.interim_response().status == 100
        client.send(b"hello")
        assert upstream.read_exactly(5) == b"hello"
        upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK)
        response = client.response()
        assert (response.status, [hint.status for hint in response.interim]) == (200, [103])


@pytest.mark.parametrize("count", [16, 17])
def test_a_flood_of_interim_responses_ends_at_the_limit(origin: Origin, count: int) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.request()
        upstream.send(b"HTTP/1.1 102 Processing\r\n\r\n" * count + OK)
        response = client.response()
        assert len(response.interim) == 16
        assert response.status == (200 if count == 16 else 502)


def test_an_interim_response_is_not_for_an_old_client(origin: Origin) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        upstream = origin.accept()
        upstream.request()
        upstream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
        assert client.read_to_end().startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_early_response_ends_the_client_connection(origin: Origin) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome")
        upstream = origin.accept()
        upstream.head()
        upstream.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        response = client.response()
        assert (response.status, response.body, response.header("connection")) == (403, b"no", "close")
        # What still comes is thrown away, so that the answer is not lost to a reset.
        client.send_some(b"x" * 200_000, 200_000)
        client.finish_sending()
        assert client.is_ended_by_peer() and not client.was_reset
        # The endpoint's connection lacks the rest of the request.
        assert upstream.is_ended_by_peer()
        assert book.codes() == {403: 1}


def test_a_response_that_begins_before_the_end_of_its_request(origin: Origin) -> None:
    """Both bodies stream at once, as an echo does."""
    with book_of(origin) as book:
        client = book.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        upstream = origin.accept()
        upstream.head()
        upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.read_until(b"\r\n\r\n")
        for piece in (b"1\r\na\r\n", b"2\r\nbc\r\n"):
            client.send(piece)
            assert upstream.read_exactly(len(piece)) == piece
            upstream.send(piece)
            assert client.read_exactly(len(piece)) == piece
        client.send(b"0\r\n\r\n")
        assert upstream.read_exactly(5) == b"0\r\n\r\n"
        upstream.send(b"0\r\n\r\n")
        assert client.read_exactly(5) == b"0\r\n\r\n"


def test_a_client_that_leaves_is_counted_as_499_and_its_endpoint_connection_closed(
    origin: Origin, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    settings = Settings(access_log=AccessLog(path=str(log), format=LogFormat.JSON))
    with book_of(origin, settings=settings, log=log) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.request()
        client.close()
        assert upstream.is_ended_by_peer()
        assert book.codes() == {499: 1}
        (entry,) = book.log_entries()
        assert (entry["status"], entry["flags"]) == (499, "DC")


def test_a_response_cut_short_breaks_the_client_connection(origin: Origin, tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = Settings(access_log=AccessLog(path=str(log), format=LogFormat.JSON))
    with book_of(origin, settings=settings, log=log) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.request()
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        upstream.close()
        assert not client.response().complete
        assert client.was_reset
        (entry,) = book.log_entries()
        assert (entry["status"], entry["flags"]) == (200, "UC")
        assert "incomplete" in entry["flag_details"]


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"nonsense\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
    ids=["lengths", "nonsense", "http2", "unasked upgrade", "large head"],
)
def test_an_answer_that_is_not_http_is_502(origin: Origin, raw: bytes) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.send(POST)
        upstream = origin.accept()
        upstream.request()
        upstream.send_some(raw, len(raw))
        response = client.response()
        assert response.status == 502
        assert "(UPE)" in response.text
        assert upstream.is_ended_by_peer()
        # The client's connection is good.
        client.send(GET)
        origin.accept().answer()
        assert client.response().status == 200


def test_a_chunked_response_that_turns_bad_breaks_the_client_connection(origin: Origin) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.request()
        upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nxyz")
        response = client.response()
        assert (response.body, response.complete) == (b"ok", False)


def test_bytes_after_a_response_retire_the_connection(origin: Origin) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.request()
        upstream.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
        assert client.response().body == b"ok"
        client.send(GET)
        origin.accept().answer()
        assert client.response().body == b"ok"
        assert upstream.is_ended_by_peer()


def test_bytes_on_an_idle_connection_retire_it(origin: Origin) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.answer()
        assert client.response().body == b"ok"
        upstream.send(b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n")
        assert upstream.is_ended_by_peer()
        client.send(GET)
        origin.accept().answer()
        assert client.response().status == 200


def test_a_body_until_close_becomes_chunks(origin: Origin) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.request()
        upstream.send(b"HTTP/1.0 200 OK\r\n\r\nsome", b"thing")
        upstream.close()
        response = client.response()
        assert (response.body, response.complete) == (b"something", True)
        assert response.header("transfer-encoding") == "chunked"


def test_a_slow_head_is_408_and_an_idle_connection_is_closed_without_a_word(origin: Origin) -> None:
    settings = Settings(timeouts=Timeouts(request_head=0.1, keep_alive=0.1))
    with book_of(origin, settings=settings) as book:
        client = book.client()
        client.send(b"GET / HT")
        assert client.response().status == 408
        assert client.is_ended_by_peer()
        silent = book.client()
        assert silent.is_ended_by_peer() and silent.received == b""
        assert book.codes() == {408: 1}


def test_a_body_that_stops_coming_is_408(origin: Origin) -> None:
    with book_of(origin, settings=Settings(timeouts=Timeouts(stream_idle=0.1))) as book:
        client = book.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
        upstream = origin.accept()
        assert client.response().status == 408
        assert upstream.is_ended_by_peer()


def test_an_endpoint_that_does_not_answer_is_504(origin: Origin) -> None:
    with book_of(origin, settings=Settings(timeouts=Timeouts(response_header=0.1))) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.request()
        assert client.response().status == 504
        assert upstream.is_ended_by_peer()
        # No answer may come late: the connection is good and the next request has its own.
        client.send(GET)
        origin.accept().answer()
        assert client.response().status == 200


def test_a_total_timeout_counts_from_the_head(origin: Origin) -> None:
    with Playbook(service("app", origin, timeout=0.15), origins=(origin,)) as book:
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.request()
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        response = client.response()
        assert not response.complete
        # An event stream is meant to stay open.
        client = book.client()
        client.send(GET)
        upstream = origin.accept()
        upstream.request()
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        client.read_until(b"data: 1\n\n")
        assert not client.is_ended_by_peer(0.4)


def test_a_body_over_the_limit_is_413(origin: Origin) -> None:
    settings = Settings(limits=Limits(body=4))
    with book_of(origin, settings=settings) as book:
        client = book.client()
        client.send(POST)
        assert client.response().status == 413
        assert not origin.has_connection_waiting()
        client = book.client()
        client.send(CHUNKED)
        upstream = origin.accept()
        assert client.response().status == 413
        assert upstream.is_ended_by_peer()
        assert book.codes() == {413: 2}


@pytest.mark.parametrize("piece", [b"zz\r\n", b"5\r\nhelloXX", b"0\r\nbad\r\n\r\n"])
def test_a_bad_chunk_is_400_and_never_forwarded(origin: Origin, piece: bytes) -> None:
    with book_of(origin) as book:
        client = book.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        upstream = origin.accept()
        upstream.head()
        client.send(piece)
        assert client.response().status == 400
        assert client.is_ended_by_peer()
        rest = upstream.read_to_end()
        assert b"zz" not in rest and b"XX" not in rest and b"0\r\n" not in rest
