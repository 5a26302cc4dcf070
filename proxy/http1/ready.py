"""Refusals that are ready but for the request's id and the date.

A proxy that has more to refuse than to serve must not pay more for a refusal than for a request. What such an answer
says is the same again and again: which limit, of which service, how large. So an answer is rendered once by
proxy/http1/replies, with marks in place of what differs, and from then on only these are filled in. What is rendered
for the first time, and what does not have an id of the usual length, costs what it costs.
"""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from typing import Final

from proxy.http1.replies import About, Failure, render_answer, render_failure, wants_problem
from proxy.kernel.emit import FieldEdits
from proxy.kernel.entropy import random_hex

# Of an id that we make, as most clients do: a UUID. Others are rendered each time.
ID_LENGTH: Final = 36

# Answers that are kept, of a kilobyte at most. Details can name a client, so there can be many: then all begin anew.
MOST_KEPT: Final = 256
MOST_BYTES: Final = 1024

# Nobody can know them, so no text of a client can be taken for one.
ID_MARK: Final = random_hex(ID_LENGTH // 2)
DATE_MARK: Final = random_hex(20)  # of no certain length: it is not in the body
MARKS: Final = re.compile(ID_MARK + b"|" + DATE_MARK)

# What needs no escape in JSON either.
PLAIN_ID: Final = re.compile(rb"[0-9A-Za-z._:-]{%d}" % ID_LENGTH)

Key = tuple[Failure, str, str, bool, bool, bytes, FieldEdits | None]


class Template:
    """An answer with places for ids and the date; `ids` says which of the places are for the id."""

    __slots__ = ("ids", "text")

    def __init__(self, data: bytes) -> None:
        self.ids = [found == ID_MARK for found in MARKS.findall(data)]
        self.text = MARKS.sub(b"%b", data.replace(b"%", b"%%"))

    def fill(self, request_id: bytes, date: bytes) -> bytes:
        return self.text % tuple([request_id if is_id else date for is_id in self.ids])


class ReadyAnswers:
    """Those of a worker. `name`: ours, as in Via."""

    def __init__(self) -> None:
        self.name = ""
        self.kept: dict[Key, Template] = {}
        self.second = 0
        self.date = b""

    def get(
        self,
        failure: Failure,
        about: tuple[str, str, str, bytes],
        accept: bytes | None,
        to_head: bool,
        connection: bytes,
        edits: FieldEdits | None,
    ) -> bytes | None:
        """The complete answer; None where it has to be rendered for this request alone. `about`: name, detail, flags
        and id of a request that has met no endpoint. The rest: as of render_answer."""
        name, detail, flags, request_id = about
        if PLAIN_ID.fullmatch(request_id) is None:
            return None
        if name != self.name:
            self.name = name
            self.kept.clear()
        key = (failure, detail, flags, wants_problem(accept), to_head, connection, edits)
        template = self.kept.get(key)
        if template is None:
            fields, body = render_failure(failure, About(name, detail, flags, ID_MARK), accept)
            data = render_answer(failure.status, fields, body, to_head, connection, edits, DATE_MARK)
            template = Template(data)
            if len(data) <= MOST_BYTES:
                if len(self.kept) >= MOST_KEPT:
                    self.kept.clear()
                self.kept[key] = template
        return template.fill(request_id, self.now())

    def now(self) -> bytes:
        """The value of Date, which has seconds."""
        second = int(time.time())
        if second != self.second:
            self.second = second
            self.date = formatdate(second, usegmt=True).encode()
        return self.date
