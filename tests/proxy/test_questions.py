"""A method, a URL and fields as the request that a client would send, and the listener that it would come to."""

from __future__ import annotations

import pytest

from discovery.model import Listener, Protocol
from mesh.decision import Question
from proxy.questions import question_of

WEB = Listener(name="web", address="0.0.0.0:8080")
INSIDE = Listener(name="inside", address="[::1]:80", protocol=Protocol.AUTO)
LOCAL = Listener(name="local", address="unix:/run/hivemesh:81")
DATABASE = Listener(name="db", address="0.0.0.0:5432", protocol=Protocol.TCP)
ALL = (WEB, INSIDE, LOCAL, DATABASE)


def asked(url: str, *fields: tuple[str, str], listeners: tuple[Listener, ...] = (WEB,), **other: object) -> Question:
    given = {"method": "GET", "client": "127.0.0.1", "body_size": 0, "listener": "", "request_id": "", **other}
    return question_of(url=url, headers=fields, listeners=listeners, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "host", "target"),
    [
        ("http://Shop.local/a?b=c", "shop.local", "/a?b=c"),
        ("http://shop.local:8080", "shop.local:8080", "/"),
        ("https://[0::1]:443/?", "[::1]:443", "/?"),
        ("/a", "", "/a"),
    ],
)
def test_the_host_field_is_the_authority_of_the_url(url: str, host: str, target: str) -> None:
    question = asked(url)
    assert (question.host, question.target, question.listener) == (host, target, "web")


def test_a_host_field_stands_in_for_that_of_the_url() -> None:
    question = asked("http://127.0.0.1:8080/", ("X-A", "1"), ("host", "shop.local"), ("x-a", "2"))
    assert question.host == "shop.local"
    assert question.headers == (("X-A", "1"), ("x-a", "2"))


def test_what_a_question_says_besides() -> None:
    question = asked("*", method="OPTIONS", client="::0001", body_size=-1, request_id="abc-1")
    assert question == Question(
        method="OPTIONS", target="*", client="::1", body_size=-1, listener="web", request_id="abc-1"
    )
    assert asked("/", client="").client == ""


@pytest.mark.parametrize(
    ("url", "name", "expected"),
    [
        ("/", "inside", "inside"),
        ("http://a:8080/", "", "web"),
        ("http://a/", "", "inside"),
        ("http://a:8080/", "local", "local"),
    ],
)
def test_the_listener_is_the_one_that_is_named_or_the_one_at_the_port(url: str, name: str, expected: str) -> None:
    assert asked(url, listener=name, listeners=ALL).listener == expected


@pytest.mark.parametrize(
    ("url", "other", "problem"),
    [
        ("ftp://a/", {}, "'ftp://a/' is not a URL: "),
        ("a:8080/b", {}, "'a:8080/b' is not a URL: it begins with neither http:// nor /, expected http://HOST/PATH or"),
        ("/" + "a" * 9000, {}, "a URL of 9001 characters is longer than 8192"),
        ("/", {"method": "get"}, "did you mean 'GET'?"),
        ("/", {"client": "nobody"}, "'nobody' is not an IP address"),
        ("/", {"body_size": -2}, "-2 is not the size of a body"),
        ("/", {"request_id": "a b"}, "'a b' is not a request id"),
        ("/", {"listener": "wrb"}, "listener 'wrb' is none, expected one of web (0.0.0.0:8080), inside"),
        ("/", {"listener": "db"}, "listener 'db' takes no HTTP requests, expected one of web"),
        ("/", {}, "more than one listener takes HTTP requests and the URL has no host: name one of web"),
        ("https://a/", {}, "more than one listener takes HTTP requests and none of them is at port 443: name one"),
        ("http://a:81/", {}, "and none of them is at port 81"),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_sentence(url: str, other: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        asked(url, listeners=ALL, **other)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        (("x a", "1"), "'x a' is not a header name"),
        (("x-a", "1\r\nx-b: 2"), "is not a header value"),
        (("Content-Length", "3"), "header Content-Length is not expected: the size of the body"),
        (("transfer-encoding", "chunked"), "header transfer-encoding is not expected: a body of unknown length"),
        (("Host", "a b"), "'a b' is not a host name"),
    ],
)
def test_fields_that_no_request_has(field: tuple[str, str], problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        asked("/", field)
    assert problem in str(caught.value)


def test_without_a_listener_of_requests_nothing_can_be_asked() -> None:
    with pytest.raises(ValueError, match="no listener takes HTTP requests"):
        asked("/", listeners=(DATABASE,))
