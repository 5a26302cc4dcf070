"""proxy.control.channel's messages: any bytes are a message or an error of the decoder, and a message that is written
is the same when it is read again."""

from __future__ import annotations

import msgspec

from fuzz.support import expect
from proxy.control.channel import Message
from proxy.control.messages import Applied, Drain, Event, Find, Hello, Listen, Tap, Unlisten

ENCODER = msgspec.msgpack.Encoder()
DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)

SEEDS = tuple(
    ENCODER.encode(message)
    for message in (
        Listen("web", "127.0.0.1:80", 1),
        Unlisten("web"),
        Drain(1.0, 2.0),
        Hello(0, 1, 2, (Listen("a"),), {"a": 1}, (1,)),
        Applied(7),
        Event("x", {"a": 1, "b": "c", "d": 0.5}),
        Find(1, "id"),
        Tap(1, "status >= 500", ("via",)),
    )
)
WORDS = (
    b"\xa4type",
    b"\xa6listen",
    b"\xa5hello",
    b"\xc0",
    b"\xc3",
    b"\xdf\xff\xff\xff\xff",
    b"\xdd\x7f\xff\xff\xff",
    b"\xcb",
    b"\xd9",
    b"\x81",
)


def check(data: bytes) -> None:
    try:
        message = DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        expect(str(error), "no words")
        return
    again = DECODER.decode(ENCODER.encode(message))
    expect(ENCODER.encode(again) == ENCODER.encode(message), "another message", message, again)
