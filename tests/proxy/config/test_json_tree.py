"""JSON bodies become the tree that a file becomes, or a problem."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.json_tree import MAX_BYTES, MAX_NODES, parse_json
from proxy.config.nodes import Mapping, Node, Scalar, Sequence
from proxy.config.reading import Reading
from proxy.config.tree import parse


def plain(node: Node | None) -> Any:
    """Without positions."""
    if isinstance(node, Mapping):
        return {name: plain(value) for name, (_, value) in node.entries.items()}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    assert isinstance(node, Scalar)
    return node.text, node.style


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab: \"'\\\n{}[],#é\U0001f600", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_it_is_the_tree_that_yaml_gives(value: Any) -> None:
    reading = Reading("f")
    text = json.dumps(value, ensure_ascii=False)
    node, again = parse_json(text, reading), parse(text, reading, {})
    assert node is not None
    assert plain(node) == plain(again)
    assert again is not None
    assert node.size == again.size
    assert reading.problems() == ()


def test_numbers_keep_their_spelling_and_pairs_of_surrogates_are_one_character() -> None:
    reading = Reading("f")
    node = parse_json(b'{"a": 1.10, "b": 1e3, "c": "\\ud83d\\ude00", "d": "${HOME}"}', reading)
    assert plain(node) == {"a": ("1.10", 0), "b": ("1e3", 0), "c": ("\U0001f600", 1), "d": ("${HOME}", 1)}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON: expecting value at character 1, expected a JSON text"),
        ("{a: 1}", "not JSON: expecting property name enclosed in double quotes at character 2, expected a JSON text"),
        ("[1, 2", "not JSON: expecting ',' delimiter at character 6, expected a JSON text"),
        ("[NaN]", "not JSON: 'NaN' is no number, expected a JSON text"),
        ('{"a": 1, "a": 2}', "'a' is given twice, expected every key once"),
        ('["\\ud83d"]', "'\\ud83d' is no Unicode text, expected both halves of every surrogate pair"),
        (b'["\xff"]', "byte 0xff is not UTF-8, expected a JSON text"),
        ("[" * 100_000, "nested too deep, expected a flat JSON text"),
        ("[" * 900 + "]" * 900, ""),
        ("[" + "0," * MAX_NODES + "0]", f"more than {MAX_NODES} values, expected fewer"),
        (" " * MAX_BYTES + "1", f"larger than {MAX_BYTES} bytes, expected less"),
    ],
)
def test_what_is_refused(text: str | bytes, problem: str) -> None:
    reading = Reading("api")
    node = parse_json(text, reading)
    found = [each.message for each in reading.problems()]
    assert (node is None) == bool(found)
    if problem:
        assert found == [problem]


@given(st.binary(max_size=20) | st.text('[]{}",:0ae-\\u\x00\ud800', max_size=12))
def test_nothing_raises(text: str | bytes) -> None:
    reading = Reading("api")
    assert (parse_json(text, reading) is None) == bool(reading.problems())
