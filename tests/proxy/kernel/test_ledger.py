"""Lines of numbers and text: what was put is read, what was not is empty, and nothing is longer than its line."""

from __future__ import annotations

import pytest
from heads import request_head
from hypothesis import given
from hypothesis import strategies as st

from proxy.http1.codes import USER_AGENT, VIA
from proxy.kernel.ledger import LINE, NUMBERS, TEXTS, Ledger

ROOM = LINE - 8 * NUMBERS - 4 * TEXTS - 2
WHOLE = st.integers(-(2**63), 2**63 - 1)


@given(
    st.lists(st.tuples(WHOLE, WHOLE, WHOLE, WHOLE), min_size=4, max_size=4),
    st.lists(st.tuples(st.integers(0, TEXTS - 1), st.binary(max_size=400), st.integers(0, 500)), max_size=30),
)
def test_what_was_put_is_read(numbers: list[tuple[int, int, int, int]], texts: list[tuple[int, bytes, int]]) -> None:
    ledger = Ledger(3)
    for line in range(3):
        ledger.begin(line)
        for place, four in enumerate(numbers):
            ledger.numbers(4 * place, *four)
        used = 0
        expected: dict[int, bytes] = {}
        for place, value, most in texts:
            ledger.text(place, value, most)
            expected[place] = value[:most][: ROOM - used]
            used += len(expected[place])
    for line in range(3):
        assert [ledger.number_at(line, place) for place in range(NUMBERS)] == [
            each for four in numbers for each in four
        ]
        assert [ledger.text_at(line, place) for place in range(TEXTS)] == [
            expected.get(place, b"") for place in range(TEXTS)
        ]
        for place, value in expected.items():
            assert ledger.is_text(line, place, value)
            assert not ledger.is_text(line, place, value + b"x")


def test_a_line_that_is_begun_again_is_empty() -> None:
    ledger = Ledger(1)
    ledger.begin(0)
    ledger.numbers(0, 1, 2, 3, 4)
    ledger.text(5, b"five", 99)
    ledger.begin(0)
    assert [ledger.number_at(0, place) for place in range(NUMBERS)] == [0] * NUMBERS
    assert [ledger.text_at(0, place) for place in range(TEXTS)] == [b""] * TEXTS


def test_a_line_that_was_never_begun_is_empty() -> None:
    ledgers = [Ledger(50) for _ in range(20)]
    for ledger in ledgers:
        ledger.begin(0)
        ledger.text(0, b"x" * ROOM, ROOM)
    del ledgers  # so that there is memory that was written to
    ledger = Ledger(50)
    for line in range(50):
        assert [ledger.number_at(line, place) for place in range(NUMBERS)] == [0] * NUMBERS
        assert [ledger.text_at(line, place) for place in range(TEXTS)] == [b""] * TEXTS


def test_text_of_a_head() -> None:
    head = request_head(b"GET /a/b?c HTTP/1.1\r\nHost: x\r\nUser-Agent: tests/1\r\n\r\n")
    ledger = Ledger(1)
    ledger.begin(0)
    ledger.target(0, head, 4)
    assert ledger.field(1, head, USER_AGENT, 99)
    assert not ledger.field(2, head, VIA, 99)
    assert [ledger.text_at(0, place) for place in range(3)] == [b"/a/b", b"tests/1", b""]


@pytest.mark.parametrize(("text", "kept"), [("né", b"n\xc3\xa9"), ("a\udcffb", b"a?b"), ("", b"")])
def test_words_are_utf8(text: str, kept: bytes) -> None:
    ledger = Ledger(1)
    ledger.begin(0)
    ledger.word(0, text, 99)
    assert ledger.text_at(0, 0) == kept


def test_a_line_of_another_ledger_is_taken_over() -> None:
    one, other = Ledger(2), Ledger(1)
    one.begin(1)
    one.numbers(0, 7, 0, 0, 0)
    one.text(3, b"text", 99)
    other.copy(0, one, 1)
    assert (other.number_at(0, 0), other.text_at(0, 3)) == (7, b"text")


def test_nothing_is_outside() -> None:
    ledger = Ledger(2)
    with pytest.raises(IndexError):
        ledger.text(0, b"no line was begun", 99)
    for line in (-1, 2):
        for call in (ledger.begin, lambda line: ledger.text_at(line, 0), lambda line: ledger.number_at(line, 0)):
            with pytest.raises(IndexError):
                call(line)
    ledger.begin(0)
    for place in (-1, TEXTS):
        with pytest.raises(IndexError):
            ledger.text(place, b"x", 9)
        with pytest.raises(IndexError):
            ledger.text_at(0, place)
        with pytest.raises(IndexError):
            ledger.is_text(0, place, b"x")
    for place in (-1, NUMBERS - 3):
        with pytest.raises(IndexError):
            ledger.numbers(place, 1, 2, 3, 4)
    with pytest.raises(ValueError, match="-1 lines"):
        Ledger(-1)
    Ledger(0)
