"""docs/guide/top.md: the columns and options that it explains are those of `hivemesh top`."""

from __future__ import annotations

import re
from pathlib import Path

from proxy.cli.main import hivemesh
from proxy.cli.top import columns

TEXT = (Path(__file__).parents[3] / "docs/guide/top.md").read_text()


def test_every_column_is_explained() -> None:
    explained = [
        name for cells in re.findall(r"^\| ([A-Z][A-Z0-9%/, ]+) \|", TEXT, re.MULTILINE) for name in [cells.strip()]
    ]
    names = [column.name for column in columns(200)]
    assert [
        "SERVICE",
        *(part for name in explained for part in ([name] if name in names else name.split(", "))),
    ] == names


def test_its_screen_has_the_columns_of_a_small_terminal() -> None:
    heading = next(line for line in TEXT.splitlines() if line.startswith("SERVICE"))
    layout = columns(80)
    expected = [c.name.rjust(c.width) if c.right else c.name.ljust(c.width) for c in layout]
    assert heading == " ".join(expected).rstrip()


def test_every_option_is_explained() -> None:
    own = {option for parameter in hivemesh.commands["top"].params for option in parameter.opts}
    explained = set(re.findall(r"^\| `(--\w+)", TEXT, re.MULTILINE))
    assert explained == own - {"--admin", "--token"}
