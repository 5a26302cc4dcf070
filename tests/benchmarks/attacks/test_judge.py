"""The judge of attacks finds what is out of step in bytes that are made up here: the check can fail."""

from __future__ import annotations

from benchmarks.attacks.case import EITHER, FORWARDED, REFUSED, Case, Until, Verdict, chunked, get, post
from benchmarks.attacks.judge import MALFORMED, h11_requests, is_clear, judge
from benchmarks.attacks.lane import Seen

HOST = b"Host: a.test\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
AFTER = b"GET /after HTTP/1.1\r\n" + HOST + b"\r\n"
VICTIM = b"GET /victim-1 HTTP/1.1\r\n" + HOST + b"\r\n"
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def answer(tag: bytes, body: bytes = b"origin\n") -> bytes:
    return b"HTTP/1.1 200 OK\r\nX-Tag: " + tag + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body


GOOD_VICTIM = ("/victim-1", answer(b"/victim-1"), False)


def case(sent: bytes, right: frozenset = EITHER, **more: object) -> Case:  # type: ignore[type-arg]
    more.setdefault("seen", ("POST /attack", "GET /after"))
    return Case("test/case", "made up", (sent, AFTER), right, "RFC 9112", **more)  # type: ignore[arg-type]


def seen(*connections: bytes, received: bytes = b"", ended: bool = False, victim: tuple = GOOD_VICTIM) -> Seen:  # type: ignore[type-arg]
    return Seen(received, ended, False, list(connections), [victim])


LENGTH = b"Content-Length: %d" % (5 + len(SMUGGLED))
BOTH = post(LENGTH, b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED)


def test_what_is_in_order_is_right() -> None:
    forwarded = post(b"Content-Length: 2", body=b"hi")
    outcome = judge(
        case(forwarded, FORWARDED, body=b"hi"),
        seen(forwarded + AFTER + VICTIM, received=answer(b"/attack") + answer(b"/after")),
    )
    assert (outcome.verdict, outcome.wrong, outcome.desyncs) == (Verdict.FORWARDED, "", [])


def test_a_refusal_is_right_where_it_is_wanted() -> None:
    outcome = judge(case(BOTH, REFUSED), seen(VICTIM, received=BAD_REQUEST, ended=True))
    assert (outcome.verdict, outcome.status, outcome.wrong, outcome.desyncs) == (Verdict.REFUSED, 400, "", [])


def test_another_status_than_the_one_that_must_be_is_wrong() -> None:
    outcome = judge(case(BOTH, REFUSED, statuses=frozenset({501})), seen(VICTIM, received=BAD_REQUEST, ended=True))
    assert outcome.wrong == "refused with 400 instead of 501"


def test_a_smuggled_request_is_a_desync() -> None:
    """A proxy that goes by the length, and a server that goes by the coding."""
    outcome = judge(case(BOTH, REFUSED), seen(BOTH + AFTER + VICTIM, received=answer(b"/attack") + answer(b"/after")))
    assert outcome.wrong == "forwarded (200) instead of refused"
    assert any("GET /smuggled" in problem for problem in outcome.desyncs)


def test_what_follows_a_message_whose_end_is_in_doubt_is_a_desync_too() -> None:
    plain = post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")
    outcome = judge(
        case(BOTH, seen=("POST /attack",), forwarded=1),
        seen(plain + AFTER, received=answer(b"/attack") + answer(b"/after")),
    )
    assert outcome.desyncs[0] == "the origin gets GET /after 1 times, and it was sent 0 times"


def test_what_follows_a_message_that_is_wrong_and_clear_is_none() -> None:
    bad = get(b"X[A]: 1")
    outcome = judge(
        case(bad, REFUSED, seen=("GET /attack",)),
        seen(get() + AFTER, received=answer(b"/attack") + answer(b"/after")),
    )
    assert (outcome.verdict, outcome.desyncs) == (Verdict.FORWARDED, [])
    assert outcome.wrong


def test_one_lenient_reading_that_disagrees_is_enough() -> None:
    for field, body, name in (
        (b"Transfer_Encoding: chunked", b"0\r\n\r\n", "underscores"),
        (b"Content_Length: 0", b"hello", "underscores, length first"),
    ):
        forwarded = post(b"Content-Length: 5", field, body=body)
        outcome = judge(case(forwarded), seen(forwarded + AFTER, received=answer(b"/attack") + answer(b"/after")))
        assert outcome.verdict == Verdict.FORWARDED
        assert any(f"“{name}”" in problem for problem in outcome.desyncs), outcome.desyncs


def test_bytes_that_a_strict_server_refuses_are_malformed() -> None:
    for forwarded in (
        get(b"X-A: 1\x002"),
        get(b"X-A: 1\rX-B: 2"),
        get(b"X-A : 1"),
        get().replace(HOST, b""),
        post(b"Transfer-Encoding: chunked", body=b"0x0\r\n\r\n"),
        post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello"),
        b"GET /attack x HTTP/1.1\r\n" + HOST + b"\r\n",
    ):
        outcome = judge(case(forwarded, seen=("GET /attack",)), seen(forwarded))
        assert outcome.verdict == MALFORMED, forwarded
        assert outcome.wrong


def test_a_field_line_that_lf_makes_of_a_value_is_seen() -> None:
    """A server that takes LF for a line end sees a body that the proxy did not."""
    forwarded = get(b"X-A: 1\nContent-Length: %d" % len(SMUGGLED)) + SMUGGLED
    outcome = judge(case(forwarded, seen=("GET /attack", "GET /smuggled")), seen(forwarded))
    assert outcome.verdict == MALFORMED


def test_the_answer_to_another_request_is_a_desync() -> None:
    made = case(get(), seen=("GET /attack", "GET /after"))
    for received in (
        answer(b"/after") + answer(b"/attack"),
        answer(b"injected"),
        answer(b"/attack") + answer(b"/victim-1"),
        answer(b"/attack") + answer(b"/smuggled"),
    ):
        assert judge(made, seen(get() + AFTER, received=received)).desyncs, received


def test_a_victim_that_gets_what_is_not_its_own_is_a_desync() -> None:
    made = case(get(), seen=("GET /attack", "GET /after"))
    good = answer(b"/attack") + answer(b"/after")
    for victim in (
        ("/victim-1", answer(b"injected"), False),
        ("/victim-1", answer(b"/attack"), False),
        ("/victim-1", b"", True),
        ("/victim-1", BAD_REQUEST, True),
    ):
        assert judge(made, seen(get() + AFTER, received=good, victim=victim)).desyncs, victim


def test_a_path_that_leads_into_what_is_denied_is_wrong() -> None:
    for target in (
        b"/open/../secret",
        b"/open/%2e%2e/secret",
        b"//secret",
        b"/%73ecret",
        b"/open\\..\\secret",
        b"/secret%00",
    ):
        sent = b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n"
        outcome = judge(case(sent, clean_path=True, seen=()), seen(sent, received=answer(target)))
        assert "is /secret to a server" in outcome.wrong, target


def response(answers: tuple, right: frozenset) -> Case:  # type: ignore[type-arg]
    sends = (get(), Until.ANSWER, AFTER)
    more = {"seen": ("GET /attack", "GET /after"), "answers": answers, "of_response": True}
    return Case("test/response", "made up", sends, right, "RFC 9112", **more)  # type: ignore[arg-type]


def test_a_body_that_is_cut_short_and_looks_whole_is_wrong() -> None:
    made = response(
        (b"HTTP/1.1 200 OK\r\nX-Tag: attack\r\nContent-Length: 50\r\n\r\nhello", Until.CLOSE), frozenset({Verdict.CUT})
    )
    head = b"HTTP/1.1 200 OK\r\nX-Tag: attack\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    assert judge(made, seen(get(), received=head, ended=True)).wrong == ""
    assert judge(made, seen(get(), received=head + b"0\r\n\r\n", ended=True)).wrong == "forwarded (200) instead of cut"


def test_answers_that_clients_read_differently_are_a_desync() -> None:
    made = response((b"",), EITHER)
    both = (
        b"HTTP/1.1 200 OK\r\nX-Tag: attack\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"%x\r\n" % len(answer(b"injected")) + answer(b"injected") + b"\r\n0\r\n\r\n"
    )
    assert judge(made, seen(get(), received=both)).desyncs
    split = b"HTTP/1.1 200 OK\r\nX-Tag: attack\r\nContent-Length: 0\r\nX-A: 1\n\n" + answer(b"injected")
    outcome = judge(made, seen(get(), received=split))
    assert outcome.verdict == MALFORMED
    assert outcome.desyncs


def test_clear_is_what_all_who_can_read_it_read_alike() -> None:
    assert is_clear(case(post(b"Content-Length: 2", body=b"hi")))
    assert is_clear(case(chunked(b"5\nhello\r\n0\r\n\r\n")))
    assert not is_clear(case(BOTH))
    assert not is_clear(
        case(chunked(b"2;\nxx\r\n%x\r\n" % (len(SMUGGLED) + 5) + b"0\r\n\r\n" + SMUGGLED + b"\r\n0\r\n\r\n"))
    )


def test_h11_is_asked_for_as_many_requests_as_are_looked_for() -> None:
    assert h11_requests(get() + AFTER, 2) == ([(b"GET", b"/attack"), (b"GET", b"/after")], True, "")
    lines, whole, error = h11_requests(post(b"Content-Length: x"), 1)
    assert (lines, whole, bool(error)) == ([], False, True)
