from __future__ import annotations

import operator
import re
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh import expression
from mesh.expression import FIELDS, ExpressionError
from mesh.record import Record

RECORD = Record(
    ts="2026-01-01T10:00:00.000Z",
    duration_ms=1600.5,
    method="POST",
    host="shop.local",
    path="/api/items?id=7",
    status=502,
    flags="UC,URX",
    route="api",
    service="web",
    attempts=2,
    probe=True,
    bytes_out=20480,
    t_queue=0.25,
    t_connect=1.2,
    t_first_byte=1099.9,
    tried=("10.0.0.1:80", "10.0.0.2:80"),
    headers=(("x-debug", "1"), ("x-debug", "two"), ("x-empty", "")),
)
PLAIN = Record(method="GET", path="/", status=200, route="default")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("  ", True),
        ('route == "api" && status >= 500 && t_upstream > 1s', True),
        ("route == 'api' && status < 500", False),
        ("status in [500, 502]", True),
        ("status in [500]", False),
        ('method in ["GET","POST"]', True),
        ("t_upstream == 1101.1ms", True),
        ("t_upstream > 1101.1ms || t_upstream < 1101100us", False),
        ("duration >= 1s600ms", True),
        ("duration > 1.6005s", False),
        ("duration == 1.6005s", True),
        ("duration_ms > 1600", True),
        ("duration_ms <= 2s", True),
        ("t_queue == 250us && t_recv == 0", True),
        ("t_queue == 250µs", True),
        ("bytes_out == 20KiB", True),
        ("bytes_out >= 20480 && bytes_out < 20.5kB", True),
        ('path =~ "/api/.*"', True),
        ('path =~ "/api"', False),
        (r"path =~ '/api/\w+\?id=\d'", True),
        ("probe", True),
        ("!probe", False),
        ("probe == false", False),
        ("error", True),
        ("error != true", False),
        ('flags == "URX"', True),
        ('flags != "URX"', False),
        ('flags != "UH"', True),
        ('flags =~ "U."', True),
        ('flags in ["UH", "UC"]', True),
        ('tried == "10.0.0.2:80"', True),
        ('tried in ["10.0.0.3:80"]', False),
        ('header.x-debug == "two"', True),
        ('header.X-Debug == "1"', True),
        ('header.x-debug != "1"', False),
        ("header.x-debug", True),
        ("header.x-empty", True),
        ("header.x-other", False),
        ('header.x-other == ""', True),
        ('header.x-other =~ ".*"', True),
        ('ts > "2026-01-01T09"', True),
        ("status == 1 || status == 502 && attempts == 2", True),
        ("(status == 502 || status == 1) && attempts == 3", False),
        ("!(status == 502) || !!probe", True),
        ("status==502&&probe", True),
    ],
)
def test_what_it_says_of_a_request(text: str, expected: bool) -> None:
    assert expression.compile(text).matches(RECORD) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("error", False), ('flags == ""', True), ('flags != ""', False), ('tried == ""', True), ("t_upstream == 0", True)],
)
def test_a_request_that_went_well(text: str, expected: bool) -> None:
    assert expression.compile(text).matches(PLAIN) is expected


def test_it_says_which_headers_it_looks_at() -> None:
    compiled = expression.compile('header.X-B && (header.x-a == "1" || !header.x-b)')
    assert compiled.headers == ("x-a", "x-b")
    assert not compiled.is_all
    assert expression.compile("").is_all


MANY = " && ".join(["probe"] * 65)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("status > 1 && rout == 'x'", "column 15: 'rout' is no field, did you mean route"),
        ("headers == 1", "column 1: 'headers' is no field, did you mean header.NAME"),
        ("zzz", "column 1: 'zzz' is no field, expected one of ts, duration_ms, "),
        ("status = 500", "column 8: '=' is not expected here, did you mean =="),
        ("probe & error", "column 7: '&' is not expected here, did you mean &&"),
        ("probe and error", "column 7: expected &&, || or the end, got 'and', did you mean &&"),
        ("probe ||", "column 9: expected a field, got the end"),
        ("|| probe", "column 1: expected a field, got '||'"),
        ("not probe", "column 1: 'not' is no field, did you mean !"),
        ("(probe", "column 7: expected &&, || or ), got the end"),
        ("probe)", "column 6: expected &&, || or the end, got ')'"),
        ("status", "column 7: status is a number, expected one of == != < <= > >= =~ in, got the end"),
        ("status 500", "column 8: status is a number, expected one of == != < <= > >= =~ in, got '500'"),
        ("status == ", "column 11: status is a number, expected a number such as 503, got the end"),
        ("status == route", "column 11: status is a number, expected a number such as 503, got 'route'"),
        ('status == "500"', 'column 11: status is a number, expected a number such as 503, got the text "500"'),
        ("status > 1KiB", "column 10: status is a number, expected a number such as 503, got the size 1KiB"),
        ("route == 5", "column 10: route is text, expected text in quotes, got the number 5"),
        ("route == true", "column 10: route is text, expected text in quotes, got true"),
        ("t_queue > 5", "column 11: t_queue is a time, expected a duration such as 1s, 200ms or 3us, got the number 5"),
        ("bytes_in > 5s", "column 12: bytes_in is a size, expected bytes such as 512 or 10KiB, got the duration 5s"),
        ("probe == 1", "column 10: probe is true or false, expected true or false, got the number 1"),
        ("probe < true", "column 7: probe is true or false, expected == or !="),
        ("status =~ 'x'", "column 8: status is a number, =~ expected a field that is text"),
        ("route =~ '('", "column 10: '(' is not a regular expression (RE2 syntax): "),
        ("status in 5", "column 11: expected a list such as [1, 2], got '5'"),
        ("status in []", "column 12: status is a number, expected a number such as 503, got ']'"),
        ("status in [1, 'x']", "column 15: status is a number, expected a number such as 503, got the text 'x'"),
        ("status in [1 2]", "column 14: expected , or ], got '2'"),
        ('route == "api', 'column 10: the text that begins here has no end, expected "'),
        ("status == 5x", "column 11: '5x' is no number, expected a number, a duration such as 1s, 200ms or 3us, or a"),
        ("t_queue > 1s5", "column 11: '1s5' is no number, expected a number, a duration"),
        ("bytes_in > 1KiB1B", "column 12: '1KiB1B' is no number"),
        ("status == 1234567890123456", "column 11: the number is too long, expected at most 15 digits"),
        ("t_queue > 1.1234567s", "column 11: the number is too long"),
        ("status ; 1", "column 8: ';' is not expected here"),
        ("!" * 33 + "probe", "column 33: expected at most 32 of ! and ( within each other"),
        ("(" * 33, "column 33: expected at most 32 of ! and ( within each other"),
        (MANY, "column 577: expected at most 64 comparisons"),
        ("||".join(["path=~'a'"] * 9), "column 95: expected at most 8 regular expressions"),
        ("status in [" + "1," * 300 + "1]", "column 525: expected at most 256 values in a list"),
        (" " * 4097, "column 4097: expected at most 4096 characters, got 4097"),
    ],
)
def test_mistakes_are_told_with_their_column(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        expression.compile(text)
    assert str(raised.value).startswith(message)
    assert str(raised.value).startswith(f"column {raised.value.column}: {raised.value.message}")


def test_every_value_of_a_record_has_a_field() -> None:
    names = {each.name for each in msgspec.structs.fields(Record)}
    assert names - set(FIELDS) == {"headers"}  # those are header.NAME
    assert set(FIELDS) - names == {"duration", "error", "t_upstream"}


# --- random expressions against what Python makes of the same tree ----------------------------------------------------

Tree = tuple[str, Callable[[Record], bool]]
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
WORDS = ["", "api", "web", "a b", "x'y", "&&", "/api/1"]


def quoted(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"


def leaf(draw: Random) -> Tree:
    name = draw.choice(["route", "path", "status", "bytes_in", "t_queue", "list", "pattern", "flags", "probe", "error"])
    sign = draw.choice(list(SIGNS))
    word = draw.choice(WORDS)
    number = draw.randrange(4)
    match name:
        case "list":
            values = draw.sample(range(4), 2)
            return f"status in [{values[0]}, {values[1]}]", lambda record: record.status in values
        case "pattern":
            text = draw.choice([".*", "/api/.*", "/api", "[a-z/]+"])
            return f"path =~ {quoted(text)}", lambda record: re.fullmatch(text, record.path) is not None
        case "flags":
            flag = draw.choice(["", "UH", "UC"])
            if draw.random() < 0.5:
                return f"flags == {quoted(flag)}", lambda record: flag in record.flags.split(",")
            return f"flags != {quoted(flag)}", lambda record: flag not in record.flags.split(",")
        case "probe":
            return name, lambda record: record.probe
        case "error":
            return name, lambda record: record.status >= 500 or bool(record.flags)
        case "t_queue":
            text = draw.choice([f"{number}us", f"0.00{number}ms", f"0.00000{number}s"])
            return f"t_queue {sign} {text}", lambda record: SIGNS[sign](record.t_queue, number / 1000)
        case "status" | "bytes_in":
            return f"{name} {sign} {number}", lambda record: SIGNS[sign](getattr(record, name), number)
    return f"{name} {sign} {quoted(word)}", lambda record: SIGNS[sign](getattr(record, name), word)


def tree(draw: Random, depth: int) -> Tree:
    if depth == 0 or draw.random() < 0.2:
        return leaf(draw)
    left, right = tree(draw, depth - 1), tree(draw, depth - 1)
    space = draw.choice(["", " "])
    match draw.randrange(4):
        case 0:
            return f"!({left[0]})", lambda record: not left[1](record)
        case 1:
            return f"({left[0]}){space}&&{space}({right[0]})", lambda record: left[1](record) and right[1](record)
        case 2:  # && binds closer
            text = f"{left[0]} || ({right[0]})" if "||" in left[0] else f"({right[0]}){space}||{space}{left[0]}"
            return f"({text})", lambda record: left[1](record) or right[1](record)
    return f"({left[0]}{space})", left[1]


def request(draw: Random) -> Record:
    return Record(
        status=draw.randrange(4),
        bytes_in=draw.randrange(4),
        path=draw.choice(WORDS),
        route=draw.choice(WORDS),
        probe=draw.random() < 0.5,
        flags=draw.choice(["", "UH", "UH,UC"]),
        t_queue=draw.randrange(4) / 1000,
    )


def test_random_expressions_say_what_python_says() -> None:
    draw = Random(1)
    answers = []
    for _ in range(400):
        text, naive = tree(draw, 4)
        try:
            compiled = expression.compile(text)
        except ExpressionError as error:
            assert "at most 8 regular expressions" in str(error), text
            continue
        for _ in range(5):
            record = request(draw)
            assert compiled.matches(record) is bool(naive(record)), (text, record)
            answers.append(bool(naive(record)))
    assert min(answers.count(True), answers.count(False)) > 400


@settings(max_examples=50)
@given(st.integers(0, 10**9), st.sampled_from(["us", "ms", "s"]))
def test_a_time_equals_itself_in_every_unit(micros: int, unit: str) -> None:
    record = Record(t_queue=micros / 1000)
    text = {
        "us": f"{micros}us",
        "ms": f"{micros // 1000}.{micros % 1000:03}ms",
        "s": f"{micros // 10**6}.{micros % 10**6:06}s",
    }
    assert expression.compile(f"t_queue == {text[unit]}").matches(record)


PIECES = st.sampled_from(
    ["status", "route", "header.x", "header.", "t_queue", "probe", "in", "[", "]", "(", ")", "!", "&&", "||", "&", "==",
     "=~", "<", "=", "'", '"', "'a'", "5", "5s", "1KiB", "9" * 20, "1.", ".", ",", " ", "\n", "é", "\x00", "true", "µs"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=40))
def test_random_text_is_an_expression_or_an_expression_error(text: str) -> None:
    try:
        compiled = expression.compile(text)
    except ExpressionError as error:
        assert 1 <= error.column <= len(text) + 1
    else:
        assert compiled.matches(RECORD) in (True, False)
