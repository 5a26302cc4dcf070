"""Growth is seen through noise, and noise is not taken for growth."""

from __future__ import annotations

import random

import pytest

from benchmarks.soak.slope import MIB, Sample, lines, theil_sen

EVERY = 2.0
MINUTES_10 = int(600 / EVERY)


def life(per_minute: float, descriptors: float = 0.0, pid: int = 1, count: int = MINUTES_10) -> list[Sample]:
    """Samples of a worker of 30 MiB, half a MiB up and down, with a spike now and then. Growth is per minute."""
    noise = random.Random(pid)
    samples = []
    for number in range(count):
        at = number * EVERY
        spike = 20 * MIB if noise.random() < 0.1 else 0
        warming = min(1.0, at / 30.0) * 5 * MIB
        private = 25 * MIB + warming + per_minute * at / 60 + noise.uniform(-0.5, 0.5) * MIB + spike
        held = 23 + noise.randint(0, 12) + descriptors * at / 60
        samples.append(Sample(at, pid, 7, f"worker {pid}", int(private), int(held), 4))
    return samples


def test_a_process_that_keeps_its_size_is_flat() -> None:
    for pid in range(1, 20):
        (line,) = lines(life(0.0, pid=pid))
        assert line.is_flat, line
        assert line.seconds == pytest.approx(540, abs=5)


def test_a_leak_is_seen() -> None:
    # 20 bytes of each of 10,000 exchanges a minute.
    (line,) = lines(life(200_000.0))

    assert not line.is_flat
    assert line.memory == pytest.approx(9 * 200_000, rel=0.2)


def test_descriptors_that_are_left_open_are_seen() -> None:
    (line,) = lines(life(0.0, descriptors=4.0))

    assert not line.is_flat


def test_a_replaced_process_begins_a_line_of_its_own() -> None:
    former = life(0.0)
    successor = [sample._replace(born=8, private=sample.private + 8 * MIB) for sample in life(0.0)]

    assert [line.is_flat for line in lines(former + successor)] == [True, True]


def test_a_short_life_says_nothing() -> None:
    assert lines(life(5.0 * MIB, count=60)) == []


def test_the_slope_is_that_of_the_most_and_not_moved_by_a_few() -> None:
    line = [(float(at), 3.0 * at) for at in range(100)]
    wild = [(at, 1e9 if at % 5 == 0 else value) for at, value in line]

    assert theil_sen(line) == pytest.approx(3.0)
    assert theil_sen(wild) == pytest.approx(3.0)
    assert theil_sen(line[:1]) == 0.0
