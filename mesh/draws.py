# cython: overflowcheck=False
"""Random numbers for rules: an object that is passed in, so that a test or a question can say what is drawn.

splitmix64 (Steele, Lea, Flood 2014): one multiplication chain per number, good enough for spreading load, useless as a
secret. Ids and signatures get theirs from the kernel of the operating system instead. The numbers wrap at 64 bits,
which is why this module is compiled without checks for overflow.

A worker has a stream of its own. What is drawn once for a request (a split, a fault, a mirror) comes from the request's
id instead (`draws_of`), so that it can be told afterwards, and is the same wherever the request is decided again.
"""

from __future__ import annotations

from mesh.hashing import hash_bytes, mix

MASK = 0xFFFF_FFFF_FFFF_FFFF
STEP = 0x9E37_79B9_7F4A_7C15
MIX_1 = 0xBF58_476D_1CE4_E5B9
MIX_2 = 0x94D0_49BB_1331_11EB
UNIT = 2.0**-53


class Draws:
    """A stream of numbers from a seed (64 bits)."""

    state: int

    def __init__(self, seed: int) -> None:
        self.state = seed & MASK

    def bits(self) -> int:
        """64 random bits."""
        self.state = (self.state + STEP) & MASK
        mixed = self.state
        mixed = ((mixed ^ (mixed >> 30)) * MIX_1) & MASK
        mixed = ((mixed ^ (mixed >> 27)) * MIX_2) & MASK
        return mixed ^ (mixed >> 31)

    def unit(self) -> float:
        """From 0 up to but not including 1."""
        return (self.bits() >> 11) * UNIT

    def below(self, count: int) -> int:
        """One of `count` whole numbers from 0; `count` is at least 1 and far below 2**53."""
        return int(self.unit() * count)


def salt_of(*words: str) -> int:
    """64 bits that say whose draw it is: what for, by whom, in which instance. The same in every process. Made when
    something is configured."""
    salt = len(words)
    for word in words:
        salt = mix(salt, hash_bytes(word.encode()))
    return salt


def draws_of(request_id: bytes, salt: int) -> Draws:
    """The numbers of one request for one purpose. They are as good as random ones even where ids are counted up, and
    independent of those with another salt."""
    return Draws(mix(hash_bytes(request_id), salt))


def hit(draws: Draws, percent: float) -> bool:
    """Whether this one is among `percent` of all: never at 0, always at 100."""
    return draws.unit() * 100.0 < percent
