"""A page of text in a column of labels and a column of what they label, made of lines that keep to a width.

A `Page` collects lines of rich's `Text`, with styles that a console without colours leaves away. Whatever is too long
is continued below where it began, so that a hostile name costs lines and never the shape of the page. All texts pass
`output.printable`. Never prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import StringIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from proxy.cli.output import printable

# Wide enough for every label, with two blanks behind it.
GUTTER = 11
GAP = 2  # between two columns of a table
LEAST = (8, 4, 2)  # cells that a column keeps, as long as that is possible; two are one letter of Chinese
NARROWEST = 60  # what a page can still be laid out in
WIDEST = 120  # lines that are longer are hard to read

# What words mean, in styles of rich.
DIM = "dim"
GOOD = "bold green"
BAD = "bold red"
WARN = "yellow"
STRONG = "bold"

# rich wraps for a console; nothing is ever written to this one.
_WRAPPING = Console(file=StringIO(), width=WIDEST)


@dataclass(frozen=True)
class Marks:
    """Signs that are not letters. `fills` draw areas that lie side by side."""

    arrow: str = "→"
    yes: str = "✓"
    no: str = "✗"
    under: str = "▲"
    fills: str = "█▒▓░▄"
    dot: str = "·"


ASCII = Marks(arrow=">", yes="+", no="x", under="^", fills="#=%-+", dot="-")


def marks_for(encoding: str | None) -> Marks:
    """Those that a terminal of this encoding can show."""
    try:
        "".join(vars(Marks()).values()).encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return Marks()


def text(content: object, style: str = "") -> Text:
    """One run of text, with control characters shown instead of meant. Its style is not that of what is added to it."""
    return Text.assemble((printable(str(content)), style))


def joined(parts: Iterable[Text | str], separator: str = " ") -> Text:
    """Those that are not empty, one after the other."""
    found = [part if isinstance(part, Text) else text(part) for part in parts]
    return Text(separator).join(part for part in found if part.plain)


@dataclass(frozen=True)
class Column:
    """`most`: cells at most; longer ones are continued on the next line. `right`: aligned to the right. `gives`: it
    gives way when the table is too wide, before the others."""

    most: int = 30
    right: bool = False
    gives: bool = False


@dataclass
class Page:
    """`width` cells from side to side, of which labels take the first `GUTTER`."""

    width: int
    marks: Marks = field(default_factory=Marks)
    lines: list[Text] = field(default_factory=list)
    _label: str = ""

    def __post_init__(self) -> None:
        self.width = min(max(self.width, NARROWEST), WIDEST)

    @property
    def room(self) -> int:
        return self.width - GUTTER

    def headline(self, content: Text) -> None:
        """A line over the whole width."""
        self.lines += [_trimmed(line) for line in wrapped(content, self.width)]

    def begin(self, label: str) -> None:
        """What is added from here on belongs to `label`. It appears with the first line, after an empty one."""
        self._label = label

    def add(self, content: Text | str, indent: int = 0) -> None:
        """A paragraph; its second line and all that follow are indented by `indent`."""
        for line in wrapped(content if isinstance(content, Text) else text(content), self.room, indent):
            self._put(line)

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[Text | str]]) -> None:
        """Columns that are empty in every row take no room."""
        for line in tabled(columns, rows, self.room):
            self._put(line)

    def _put(self, line: Text) -> None:
        whole = Text()
        if self._label:
            if self.lines:
                self.lines.append(Text(""))
            whole.append(self._label.ljust(GUTTER), "bold cyan")
            self._label = ""
        else:
            whole.append(" " * GUTTER)
        whole.append_text(line)
        whole.rstrip()  # what is copied out of a terminal has no blanks at its end
        self.lines.append(whole)


def wrapped(content: Text, width: int, indent: int = 0) -> list[Text]:
    """`content` in lines of at most `width` cells; all but the first begin with `indent` blanks."""
    if cell_len(content.plain) <= width:
        return [content]
    first, *rest = content.wrap(_WRAPPING, width, overflow="fold")
    if indent and rest:
        remainder = content[len(first.plain) :]
        remainder = remainder[len(remainder.plain) - len(remainder.plain.lstrip(" ")) :]
        rest = [Text(" " * indent) + line for line in remainder.wrap(_WRAPPING, width - indent, overflow="fold")]
    return [_trimmed(line) for line in (first, *rest)]


def tabled(columns: Sequence[Column], rows: Sequence[Sequence[Text | str]], width: int) -> list[Text]:
    cells = [[cell if isinstance(cell, Text) else text(cell) for cell in row] for row in rows]
    used = [index for index in range(len(columns)) if any(row[index].plain for row in cells)]
    widths = _widths([columns[index] for index in used], [[row[index] for index in used] for row in cells], width)
    lines = []
    for row in cells:
        blocks = [wrapped(row[index], space) for index, space in zip(used, widths, strict=True)]
        for number in range(max((len(block) for block in blocks), default=0)):
            line = Text()
            for place, (index, space) in enumerate(zip(used, widths, strict=True)):
                piece = blocks[place][number] if number < len(blocks[place]) else _NOTHING
                padding = " " * (space - cell_len(piece.plain))
                if place:
                    line.append(" " * GAP)
                if columns[index].right:
                    line.append(padding).append_text(piece)
                else:
                    line.append_text(piece).append(padding)
            lines.append(line)
    return lines


_NOTHING = Text("")


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int) -> list[int]:
    """How wide each column is: what it needs, at most what it may; one that gives makes room for the others."""
    widths = [
        min(max((cell_len(row[index].plain) for row in rows), default=0), column.most)
        for index, column in enumerate(columns)
    ]
    over = sum(widths) + GAP * (len(widths) - 1) - width
    for least in LEAST:
        for giving in (True, False):
            for index in sorted(range(len(widths)), key=lambda index: -widths[index]):
                if over > 0 and columns[index].gives is giving:
                    given = min(over, max(0, widths[index] - least))
                    widths[index] -= given
                    over -= given
    return widths


def _trimmed(line: Text) -> Text:
    """Without blanks at the end: what is copied out of a terminal has none."""
    found = line.copy()
    found.rstrip()
    return found
