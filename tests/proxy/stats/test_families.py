from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.stats.families import FAMILIES, Family, Kind, code_label

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"


def documented() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name -> (type, labels) of every row of the tables in docs/metrics.md."""
    found = {}
    for line in DOCS.read_text().splitlines():
        columns = [column.strip() for column in line.split("|")[1:-1]]
        if columns and (name := re.fullmatch(r"`(\w+)`", columns[0])):
            assert name[1] not in found, f"{name[1]} is documented twice"
            found[name[1]] = (columns[1], tuple(re.findall(r"`(\w+)`", columns[2])))
    return found


def test_the_documentation_lists_exactly_the_families_there_are() -> None:
    assert documented() == {family.name: (family.kind.value, family.labels) for family in FAMILIES}


def test_the_queries_of_the_documentation_name_families_that_exist() -> None:
    names = {family.name for family in FAMILIES}
    used = set(re.findall(r"\b(?:hivemesh|process)_\w+", DOCS.read_text()))
    unknown = {name for name in used if name not in names and name.rpartition("_")[0] not in names}
    assert not unknown


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_name_says_its_unit_and_its_kind(family: Family) -> None:
    assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
    assert family.name.endswith("_info") == (family.kind is Kind.INFO)
    assert family.name.startswith(("hivemesh_", "process_"))
    assert not re.search(r"_(ms|milliseconds|kb|mb)\b", family.name)
    if family.kind in (Kind.HISTOGRAM, Kind.SUMMARY):
        assert family.name.endswith("_seconds")


def test_a_status_that_is_none_has_the_label_of_all_others() -> None:
    assert [code_label(code) for code in (0, 99, 100, 200, 599, 600, -1)] == [
        "other",
        "other",
        "100",
        "200",
        "599",
        "other",
        "other",
    ]
