"""mesh.capture: any lines are a capture or a CaptureError; what is counted is what was read."""

from __future__ import annotations

from fuzz.support import expect
from mesh.capture import CaptureError, read_capture

START = b'{"capture":1,"started":"2026-01-01T00:00:00Z","headers":["via"]}\n'
RECORD = b'{"method":"GET","path":"/a","status":200,"headers":[["via","x"]]}\n'
END = b'{"ended":"2026-01-01T00:00:01Z","count":1,"lost":2}\n'

SEEDS = (
    START + RECORD + b'{"lost":2}\n' + END,
    START,
    START + RECORD + RECORD[:20],
    START + b"\n \n" + END,
    b"{}",
    START + END + RECORD,
)
WORDS = (
    START,
    RECORD,
    END,
    b'{"lost":3}\n',
    b"null",
    b'"status":',
    b"\n",
    b'"\\ud800"',
    b"[]",
    b"1e999",
    b"-1",
    b"true",
    b"{}",
)


def check(data: bytes) -> None:
    try:
        capture = read_capture(data.splitlines(keepends=True))
        records = list(capture)
    except CaptureError as error:
        expect(str(error), "no words")
        return
    expect(capture.count == len(records), "another count", capture.count, len(records))
    expect(capture.end is None or capture.end.count == capture.count, "the end counts otherwise", capture.end)
