"""Splices: they turn the old sequence into the new one, whatever happened, and say little where little happened."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.splices import Comparison, Splice, compare, splice

letters = st.lists(st.sampled_from("abcdefgh"), max_size=12)


class Named:
    """Compared by identity unless it is asked for its name."""

    def __init__(self, name: str) -> None:
        self.name = name


def carried_out(old: list[str], found: Comparison[str], new: list[str]) -> list[str]:
    result = splice(old, found.splices)
    assert len(result) == len(new)
    for was, now in found.pairs:
        assert old[was] == new[now] == result[now]
    return result


@given(letters, letters)
def test_the_splices_of_two_sequences_turn_one_into_the_other(old: list[str], new: list[str]) -> None:
    assert carried_out(old, compare(old, new, str), new) == new


@given(letters, letters)
def test_splices_ascend_and_do_not_touch_each_other(old: list[str], new: list[str]) -> None:
    end = -1
    for each in compare(old, new, str).splices:
        assert each.at > end
        assert each.removed or each.inserted
        end = each.at + each.removed


@given(st.permutations("abcdefgh"), st.data())
def test_whoever_stays_in_place_is_paired_if_it_is_another_object(order: list[str], data: st.DataObject) -> None:
    old = [Named(name) for name in "abcdefgh"]
    fresh = set(data.draw(st.lists(st.sampled_from("abcdefgh"))))
    new = [Named(name) if name in fresh else old[ord(name) - ord("a")] for name in order]

    found = compare(old, new, lambda each: each.name)

    inserted = {each.name for one in found.splices for each in one.inserted}
    paired = {new[now].name for _, now in found.pairs}
    assert paired == fresh - inserted
    assert all(old[was].name == new[now].name for was, now in found.pairs)


@pytest.mark.parametrize(
    ("new", "splices"),
    [
        ("abcdef", ()),
        ("abdef", (Splice(at=2, removed=1),)),
        ("abxcdef", (Splice(at=2, inserted=("x",)),)),
        ("abcdefx", (Splice(at=6, inserted=("x",)),)),
        ("bcdefa", (Splice(at=0, removed=1), Splice(at=6, inserted=("a",)))),
        ("fabcde", (Splice(at=0, inserted=("f",)), Splice(at=5, removed=1))),
        ("abxyef", (Splice(at=2, removed=2, inserted=("x", "y")),)),
        ("", (Splice(at=0, removed=6),)),
    ],
)
def test_little_is_said_of_little(new: str, splices: tuple[Splice[str], ...]) -> None:
    assert compare("abcdef", new, str).splices == splices
