"""Patterns match whole texts in linear time, alone and in sets."""

from __future__ import annotations

import pytest

from mesh import patterns
from mesh.patterns import PatternError, PatternSet, compile_pattern


def test_a_pattern_matches_the_whole_text_and_any_bytes() -> None:
    pattern = compile_pattern("a.c")
    assert pattern.fullmatch(b"abc") is not None
    assert pattern.fullmatch(b"a\xffc") is not None
    assert pattern.fullmatch(b"xabc") is None
    assert pattern.fullmatch(b"abcd") is None


@pytest.mark.parametrize("text", ["(", "[z-a]", r"(a)\1", "(?=a)", "a{2000}"])
def test_a_wrong_pattern_is_explained(text: str) -> None:
    with pytest.raises(PatternError, match="is not a regular expression"):
        compile_pattern(text)
    with pytest.raises(PatternError, match="is not a regular expression"):
        PatternSet(["fine", text])


def test_a_pattern_longer_than_the_limit_is_refused() -> None:
    assert compile_pattern("a" * patterns.MAX_PATTERN).fullmatch(b"a") is None
    with pytest.raises(PatternError, match="longer than"):
        compile_pattern("a" * (patterns.MAX_PATTERN + 1))


def test_a_set_answers_all_that_match_in_order() -> None:
    several = PatternSet(["a.*", "b", ".*c", "abc"])
    assert several.matches(b"abc") == [0, 2, 3]
    assert several.matches(b"b") == [1]
    assert several.matches(b"x") == []
    assert several.matches(b"\xff\x00c") == [2]


def test_a_set_of_several_groups_numbers_across_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "GROUP", 3)
    several = PatternSet([f"t{n}|all" for n in range(8)])
    assert several.matches(b"all") == list(range(8))
    assert several.matches(b"t5") == [5]
    assert several.matches(b"t8") == []


@pytest.mark.parametrize("memory", [2_500, 20_000])
def test_a_set_that_does_not_fit_into_memory_still_answers(monkeypatch: pytest.MonkeyPatch, memory: int) -> None:
    monkeypatch.setattr(patterns, "MAX_MEMORY", memory)
    patterns._engine.cache_clear()
    try:
        several = PatternSet([f"[a-z]*{n}[a-z]*" for n in range(100)])
        assert len(several._groups) > 1  # the premise: one automaton was too small for all
        assert several.matches(b"abc77def") == [77]
        assert several.matches(b"abc100def") == []
    finally:
        patterns._engine.cache_clear()
