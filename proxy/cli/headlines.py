"""What a proxy did to a request head: the lines an endpoint gets, each marked against what was asked.

Pure. Only what the question states can be compared: a client's own fields beyond it are not known here.
"""

from __future__ import annotations

from typing import NamedTuple

from mesh.decision import Question

SAME = " "
ADDED = "+"
CHANGED = "~"
REMOVED = "-"


class HeadLine(NamedTuple):
    """mark: one of the four. before: what a changed line was."""

    mark: str
    line: str
    before: str = ""


def asked_head(question: Question) -> list[str]:
    """The lines of the question as a client would send them."""
    lines = [f"{question.method} {question.target} HTTP/1.1", f"Host: {question.host}"]
    lines += [f"{name}: {value}" for name, value in question.headers]
    names = {name.lower() for name, _ in question.headers}
    if not names & {"content-length", "transfer-encoding"}:
        if question.body_size > 0:
            lines.append(f"Content-Length: {question.body_size}")
        elif question.body_size < 0:
            lines.append("Transfer-Encoding: chunked")
    return lines


def compared(asked: list[str], sent: tuple[str, ...]) -> list[HeadLine]:
    """Every line of `sent` in its order, then the lines of `asked` that it lacks. The first lines are request lines.
    Field names are the same whatever their case."""
    if not sent:
        return []
    found = [_request_line(asked[0], sent[0])]
    before = [_field(line) for line in asked[1:]]
    after = [_field(line) for line in sent[1:]]
    left = list(before)
    same = []
    for field in after:
        if field in left:
            left.remove(field)
            same.append(True)
        else:
            same.append(False)
    for (name, _), line, is_same in zip(after, sent[1:], same, strict=True):
        if is_same:
            found.append(HeadLine(SAME, line))
            continue
        was = next((field for field in left if field[0] == name), None)
        if was is None:
            found.append(HeadLine(ADDED, line))
        else:
            left.remove(was)
            found.append(HeadLine(CHANGED, line, was[1]))
    for line, field in zip(asked[1:], before, strict=True):
        if field in left:
            left.remove(field)
            found.append(HeadLine(REMOVED, line))
    return found


def _request_line(asked: str, sent: str) -> HeadLine:
    return HeadLine(SAME, sent) if asked == sent else HeadLine(CHANGED, sent, asked.removesuffix(" HTTP/1.1"))


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()
