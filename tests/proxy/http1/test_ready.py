"""Refusals that are ready but for id and date are, byte for byte, those that would have been rendered."""

from __future__ import annotations

import json
import re
import uuid
from email.utils import parsedate_to_datetime

import pytest

from proxy.http1 import ready, replies
from proxy.http1.ready import ReadyAnswers
from proxy.http1.replies import About, Failure, render_answer, render_failure
from proxy.kernel.emit import FieldEdits

FAILURES = {name: value for name, value in vars(replies).items() if isinstance(value, Failure)}
DATE = re.compile(rb"\r\nDate: ([^\r]*)\r\n")
EDITS = FieldEdits([b"x-request-id"], b"X-Share: 100%\r\n")


def rendered(failure: Failure, about: About, accept: bytes, to_head: bool, connection: bytes, edits: FieldEdits | None):
    fields, body = render_failure(failure, about, accept)
    return render_answer(failure.status, fields, body, to_head, connection, edits)


def without_date(data: bytes) -> bytes:
    assert parsedate_to_datetime(DATE.search(data)[1].decode())
    return DATE.sub(b"\r\n", data)


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_a_ready_answer_is_the_rendered_one(failure: Failure) -> None:
    answers = ReadyAnswers()
    for detail in ("", 'a limit of 5 % "as written" by \\ somebody'):
        for accept in (b"text/html", b"application/json"):
            for to_head in (False, True):
                for connection in (b"", b"close", b"keep-alive"):
                    for edits in (None, EDITS):
                        for _ in range(2):  # made, and then kept
                            id_ = str(uuid.uuid4()).encode()
                            mine = answers.get(
                                failure, ("hive", detail, failure.flag, id_), accept, to_head, connection, edits
                            )
                            about = About("hive", detail, failure.flag, id_)
                            theirs = rendered(failure, about, accept, to_head, connection, edits)
                            assert without_date(mine) == without_date(theirs)
    assert len(answers.kept) == 2 * 2 * 2 * 3 * 2


@pytest.mark.parametrize(
    "id_",
    [b"", b"short", b'6e9d1f0a-5b7c-4d32-9a41-c2f87e0b6d"5', b"6e9d1f0a-5b7c-4d32-9a41-c2f87e0b6d155", b"%" * 36],
)
def test_an_id_that_is_none_of_ours_is_rendered_for_itself(id_: bytes) -> None:
    answers = ReadyAnswers()
    assert answers.get(replies.NO_ROUTE, ("hive", "", "NR", id_), None, False, b"", None) is None
    assert not answers.kept


def test_what_is_kept_is_bounded_in_number_and_size() -> None:
    answers = ReadyAnswers()
    id_ = str(uuid.uuid4()).encode()
    for number in range(3 * ready.MOST_KEPT):
        about = ("hive", f"client {number} is not allowed here", "UAEX", id_)
        assert f"client {number} is".encode() in answers.get(replies.ACCESS_DENIED, about, None, False, b"", None)
        assert len(answers.kept) <= ready.MOST_KEPT
    answers.kept.clear()
    long = answers.get(replies.NO_ROUTE, ("hive", "x" * ready.MOST_BYTES, "NR", id_), None, False, b"", None)
    assert id_ in long
    assert not answers.kept


def test_an_answer_says_the_name_that_is_in_force() -> None:
    answers = ReadyAnswers()
    id_ = str(uuid.uuid4()).encode()
    for name in ("first", "second"):
        data = answers.get(replies.NO_ROUTE, (name, "", "NR", id_), b"application/json", False, b"", None)
        assert f"\r\nProxy-Status: {name};".encode() in data
        assert json.loads(data.partition(b"\r\n\r\n")[2])["request_id"] == id_.decode()


def test_the_date_moves_on(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ReadyAnswers()
    for second, text in (
        (784111777.9, b"Sun, 06 Nov 1994 08:49:37 GMT"),
        (784111778.0, b"Sun, 06 Nov 1994 08:49:38 GMT"),
    ):
        monkeypatch.setattr(ready.time, "time", lambda second=second: second)
        assert answers.now() == text
