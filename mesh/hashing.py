"""Hashes for consistent hashing: the same in every worker, instance and release, whoever computes them.

Two lanes of 32 bits (FNV-1a), finished as MurmurHash3 finishes its own, so that no product leaves 64 bits and the
interpreted form gives the same numbers. Not for secrets, and no protection against keys that are chosen to collide.
"""

from __future__ import annotations

MASK = 0xFFFF_FFFF  # 32 bits
FNV_START = 0x811C_9DC5
OTHER_START = 0x9747_B28C
FNV_PRIME = 0x0100_0193
OTHER_PRIME = 0x85EB_CA6B
FINISH_1 = 0x85EB_CA6B
FINISH_2 = 0xC2B2_AE35

UNIT = 2.0**-53
LN_2 = 0.693_147_180_559_945_3


def finish(value: int) -> int:
    """32 bits, each of which depends on all of `value`'s (MurmurHash3 fmix32; one to one)."""
    value ^= value >> 16
    value = (value * FINISH_1) & MASK
    value ^= value >> 13
    value = (value * FINISH_2) & MASK
    return value ^ (value >> 16)


def hash_bytes(text: bytes) -> int:
    """64 bits."""
    low = FNV_START
    high = OTHER_START
    for byte in text:
        byte &= 0xFF  # compiled, bytes from 128 on are negative
        low = ((low ^ byte) * FNV_PRIME) & MASK
        high = ((high ^ byte) * OTHER_PRIME) & MASK
    low = finish(low)
    return (finish(high ^ low) << 32) | low


def mix(one: int, other: int) -> int:
    """One number of 64 bits for two of them, as if drawn for the pair."""
    low = finish((one ^ (other >> 32)) & MASK)
    high = finish(((one >> 32) ^ other ^ low) & MASK)
    low = finish(low ^ high)
    return (high << 32) | low


def unit_of(value: int) -> float:
    """64 bits as a number from 0 up to but not including 1."""
    return (value >> 11) * UNIT


def log_of(unit: float) -> float:
    """The natural logarithm of a number from 0 (taken as the smallest that `unit_of` gives) to 1, to 9 digits.

    By addition and multiplication alone, so it is cheap and the same everywhere: ln m = 2 artanh((m - 1) / (m + 1)).
    """
    if unit < UNIT:
        unit = UNIT
    halvings = 0
    while unit < 0.75:
        unit *= 2.0
        halvings += 1
    part = (unit - 1.0) / (unit + 1.0)  # at most 1/5 away from 0
    square = part * part
    series = 1.0 + square * (1 / 3 + square * (1 / 5 + square * (1 / 7 + square * (1 / 9 + square / 11))))
    return 2.0 * part * series - halvings * LN_2
