"""What DNS answers to one question, ready to be sent once id, RD, case, order and EDNS have been patched in.

An answer is kept by whoever sends it, until the service it belongs to changes, one of its circuit breakers does, or
the answer's own end comes: it is made once and sent often.
"""

from __future__ import annotations

from typing import NamedTuple


class Rotation(NamedTuple):
    """Records of one size that stand side by side and may take any order: `records` of `size` bytes from `start`."""

    start: int
    size: int
    records: int


NO_ROTATION = Rotation(0, 0, 0)


class Answer(NamedTuple):
    """`wire` is a whole message: id 0, RD 0, the question in lower case, no OPT.

    `variants`, where there are any, are alternatives to `wire` (the first of them): one after the other they give each
    address its share of first places. `rotation` holds for `wire` and for each variant.
    """

    wire: bytes
    rcode: int
    owner: str = ""  # the service that it speaks of
    cacheable: bool = False  # it stays right until `owner` or the settings change; implies an owner
    rotation: Rotation = NO_ROTATION
    variants: tuple[bytes, ...] = ()
    additional: int = 0  # where the ADDITIONAL section begins, which may be left out; 0 = it is empty
    epoch: int | None = None  # of the owner's breakers, which it holds with; None = it does not depend on them
    until: int = 0  # milliseconds of the monotonic clock: it holds no more from then on; 0 = it has no end
