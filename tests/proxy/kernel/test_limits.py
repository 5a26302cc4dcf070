"""Rate limits by key in shared memory: the buckets of mesh/gcra.py, one for each key, exact over processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh import gcra
from proxy.kernel.cells import Table
from proxy.kernel.limits import WAYS, KeyedLimits
from proxy.stats.slots import table_size

ROWS = 64
INTERVAL = 1_000_000  # nanoseconds


def new_memory(rows: int = ROWS) -> int:
    fd = os.memfd_create("statistics")
    os.ftruncate(fd, table_size(2, rows))
    return fd


def new_limits(rows: int = ROWS) -> KeyedLimits:
    fd = new_memory(rows)
    table = Table(fd, 2, rows)
    os.close(fd)
    return KeyedLimits(table)


@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"b", b"", b"\x00" * 40]), st.integers(0, 5_000_000)), max_size=60),
    st.integers(1, 2_000_000),
    st.integers(0, 4),
)
def test_each_key_is_a_bucket_of_the_rule(events: list[tuple[bytes, int]], interval: int, burst: int) -> None:
    limits = new_limits()
    buckets: dict[bytes, int] = {}
    now = 1
    for key, pause in events:
        now += pause
        word = buckets.get(key, 0)
        assert limits.look(limits.digest(1, key)) == word
        expected = gcra.take(word, now, interval, burst)
        wait = limits.take(limits.digest(1, key), interval, interval * burst, now)
        if expected is None:
            assert wait == gcra.wait(word, now, interval, burst) > 0
        else:
            assert wait == 0
            buckets[key] = expected


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_different_keys_or_scopes_are_different_buckets(first: bytes, second: bytes, one: int, other: int) -> None:
    limits = new_limits()
    same = limits.digest(one, first) == limits.digest(other, second)
    assert same == ((one, first) == (other, second))


def test_all_who_share_the_memory_hash_alike_and_nobody_else_does() -> None:
    fd = new_memory()
    first, second = KeyedLimits(Table(fd, 2, ROWS)), KeyedLimits(Table(fd, 2, ROWS))
    os.close(fd)
    assert first.digest(1, b"a") == second.digest(1, b"a")
    assert first.digest(1, b"a") != new_limits().digest(1, b"a")
    assert first.take(first.digest(1, b"a"), INTERVAL, 0, 1) == 0
    assert second.take(second.digest(1, b"a"), INTERVAL, 0, 1) == INTERVAL


@given(st.lists(st.integers(0, 2 * WAYS), min_size=1, max_size=200))
def test_a_set_that_is_full_forgets_the_bucket_that_has_been_idle_for_longest(keys: list[int]) -> None:
    """All keys fall into one set; the model is a dictionary that loses the earliest arrival time."""
    limits = new_limits()
    buckets: dict[int, int] = {}
    for step, key in enumerate(keys, 1):
        now = step * INTERVAL // 4
        tag = 5 + key * limits.sets
        if key not in buckets and len(buckets) == WAYS:
            del buckets[min(buckets, key=lambda each: buckets[each])]
        word = buckets.setdefault(key, 0)
        taken = gcra.take(word, now, INTERVAL, 1)
        wait = limits.take(tag, INTERVAL, INTERVAL, now)
        assert (wait == 0) == (taken is not None)
        if taken is None:
            assert wait == gcra.wait(word, now, INTERVAL, 1)
        else:
            buckets[key] = taken


def test_many_more_keys_than_there_is_room_for_are_all_let_through_once() -> None:
    limits = new_limits(rows=1)
    for number in range(10_000):
        assert limits.take(limits.digest(1, b"%d" % number), INTERVAL, 0, 1) == 0


def test_a_digest_of_0_is_a_bucket_too() -> None:
    limits = new_limits()
    assert limits.take(0, INTERVAL, 0, 1) == 0
    assert limits.take(0, INTERVAL, 0, 1) == INTERVAL


def take_all(fd: int, start: Barrier, keys: int, steps: int, results: multiprocessing.Queue[dict[int, int]]) -> None:
    limits = KeyedLimits(Table(fd, 2, ROWS))
    digests = [limits.digest(1, b"%d" % key) for key in range(keys)]
    admitted = dict.fromkeys(range(keys), 0)
    start.wait()
    for step in range(1, steps + 1):
        for key, digest in enumerate(digests):
            # Time stands still for a while, so that both ask for the same few tokens.
            if limits.take(digest, 1000, 9000, 1_000_000 + step // 50 * 1000) == 0:
                admitted[key] += 1
    results.put(admitted)


@pytest.fixture
def memory() -> Iterator[int]:
    fd = new_memory()
    yield fd
    os.close(fd)


def test_two_processes_share_each_bucket_exactly(memory: int) -> None:
    """Each asks far more often than there are tokens: 10 at once, then one for every 50 steps."""
    keys, steps = 40, 5000
    context = multiprocessing.get_context("fork")
    start = context.Barrier(2)
    results: multiprocessing.Queue[dict[int, int]] = context.Queue()
    workers = [context.Process(target=take_all, args=(memory, start, keys, steps, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    counted = [results.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join(timeout=30)
    tokens = 10 + steps // 50
    assert [counted[0][key] + counted[1][key] for key in range(keys)] == [tokens] * keys
