"""Inputs made from others by chance: what runs where no engine watches which branches are taken.

Deterministic: the same seed gives the same inputs on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

INTERESTING = (0, 1, 9, 10, 13, 32, 47, 58, 63, 64, 127, 128, 192, 255)


def mutated(rng: random.Random, corpus: Sequence[bytes], words: Sequence[bytes], largest: int) -> bytes:
    """One of `corpus`, changed in a few places, perhaps by pieces of `words` or of another one."""
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(8)
        if kind == 0 and at < len(data):
            data[at] = rng.choice(INTERESTING)
        elif kind == 1 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del data[at : at + rng.choice((1, 1, 2, 8))]
        elif kind == 3:
            data[at:at] = rng.randbytes(rng.choice((1, 1, 2, 8)))
        elif kind == 4 and words:
            data[at:at] = rng.choice(words)
        elif kind == 5 and words:
            word = rng.choice(words)
            data[at : at + len(word)] = word
        elif kind == 6:
            other = rng.choice(corpus)
            begin = rng.randrange(len(other) + 1)
            data[at:at] = other[begin : begin + rng.choice((4, 16, 64))]
        elif kind == 7:
            data[at:at] = data[at : at + rng.choice((1, 4, 16, 64))] * rng.choice((1, 2, 8))
    return bytes(data[:largest])
