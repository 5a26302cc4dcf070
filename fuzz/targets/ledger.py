"""proxy.kernel.ledger: any sequence of what can be done with lines, beside a model of dictionaries."""

from __future__ import annotations

from fuzz.support import exact, expect
from proxy.kernel.ledger import LINE, NUMBERS, TEXTS, Ledger
from proxy.kernel.scan import FIELD_IDS, Head, HeadLimits, scan_request

LINES = 3
ROOM = LINE - 8 * NUMBERS - 4 * TEXTS - 2
HEAD = b"GET /a?b HTTP/1.1\r\nHost: a.test\r\nUser-Agent: fuzz\r\nVia: 1.1 x\r\n\r\n"
NAMED = Head()
scan_request(exact(HEAD), NAMED, HeadLimits())

SEEDS = (
    b"\0\0\1\2\x05hello\2\1\x03abc\3\4\x7f\xff\1\6\0\1\5\2\2\2\1\1\1\2",
    b"\0\1\1\x13\x14" + b"x" * 20 + b"\1\x13\xff" + b"y" * 255 + b"\7\1\0\6\1\1",
    b"\6\0\0\5\2\2\1\1\3abc\3\0\1\2",
)
WORDS = (b"\0\0", b"\0\1", b"\0\2", b"\1\0\x04text", b"\1\x13\xff", b"\7\1\2", b"\6\1\1", b"\3\x0c\1\2")


class Model:
    """A line as it should be."""

    def __init__(self) -> None:
        self.numbers = [0] * NUMBERS
        self.texts = [b""] * TEXTS
        self.used = 0

    def put(self, place: int, value: bytes, most: int) -> None:
        value = value[:most][: ROOM - self.used]
        self.texts[place] = value
        self.used += len(value)

    def copy(self) -> Model:
        other = Model()
        other.numbers, other.texts, other.used = list(self.numbers), list(self.texts), self.used
        return other


def check(data: bytes) -> None:
    ledgers = (Ledger(LINES), Ledger(LINES))
    models = ([Model() for _ in range(LINES)], [Model() for _ in range(LINES)])
    ledger, lines = ledgers[0], models[0]
    begun: Model | None = None
    at = 0

    def byte() -> int:
        nonlocal at
        at += 1
        return data[at - 1] if at <= len(data) else 0

    while at < len(data):
        what, place = byte() & 7, byte()
        try:
            if what == 0:
                ledger.begin(place)
                lines[place] = begun = Model()
            elif what == 1:
                size = byte()
                value = data[at : at + size]
                at += size
                ledger.text(place, value, byte())
                begun.put(place, value, data[at - 1] if at <= len(data) else 0)  # type: ignore[union-attr]
            elif what == 2:
                value = data[at : at + place]
                at += place
                ledger.word(place % TEXTS, value.decode("utf-8", "surrogateescape"), 99)
                text = value.decode("utf-8", "surrogateescape")
                begun.put(place % TEXTS, text.encode("utf-8", "replace"), 99)  # type: ignore[union-attr]
            elif what == 3:
                four = [byte() << 55, -byte(), byte(), byte() - 128]
                ledger.numbers(place, *four)
                begun.numbers[place : place + 4] = four  # type: ignore[union-attr]
            elif what == 4:
                field = byte() & 63
                found = ledger.field(place, NAMED, field, 8)
                value = NAMED.get_id(field)
                expect(found == (value is not None), "a field is there or not", field)
                if value is not None:
                    begun.put(place, value, 8)  # type: ignore[union-attr]
            elif what == 5:
                ledger.target(place, NAMED, 3)
                begun.put(place, b"/a?", 3)  # type: ignore[union-attr]
            elif what == 6:
                other = byte()
                ledgers[1].copy(place, ledger, other)
                models[1][place] = lines[other].copy()
            else:
                other = byte()
                expect(ledgers[0].text_at(place, other) == models[0][place].texts[other], "another text", place, other)
        except IndexError as error:
            expect("of" in str(error), "an error without words", error)
    for one, model in zip(ledgers, models, strict=True):
        for number, line in enumerate(model):
            expect([one.number_at(number, place) for place in range(NUMBERS)] == line.numbers, "other numbers", number)
            expect([one.text_at(number, place) for place in range(TEXTS)] == line.texts, "other texts", number)
            for place, text in enumerate(line.texts):
                expect(one.is_text(number, place, text) and not one.is_text(number, place, text + b"x"), "unequal")


assert FIELD_IDS["via"] < 64
