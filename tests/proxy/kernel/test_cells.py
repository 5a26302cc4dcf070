from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kernel.cells import Table, constants
from proxy.stats import slots


def make_table(workers: int = 2, rows: int = 4) -> Table:
    fd = os.memfd_create("cells")
    try:
        os.ftruncate(fd, slots.table_size(workers, rows))
        return Table(fd, workers, rows)
    finally:
        os.close(fd)


def test_the_compiled_numbers_are_those_of_the_layout() -> None:
    assert constants() == {name: getattr(slots, name) for name in constants()}


def test_no_two_cells_of_the_layout_overlap() -> None:
    singles = {
        name: value
        for name, value in vars(slots).items()
        if name.isupper()
        and isinstance(value, int)
        and name not in _NOT_CELLS
        and not name.startswith(("DATAGRAMS_", "DNS_"))
    }
    for again in ("ATTEMPTS", "ATTEMPT_FAILURES", "PROBES", "RETRIES_ACTIVE"):
        assert singles.pop(again) in singles.values()  # of another kind of row
    used = [(cell, name) for name, cell in singles.items()]
    used += [(slots.BUCKETS + bucket, "bucket") for bucket in range(len(slots.BUCKET_BOUNDS) + 1)]
    shared = [cell for cell, count in Counter(cell for cell, _ in used).items() if count > 1]
    assert not shared
    assert max(cell for cell, _ in used) < slots.CELLS
    assert slots.CODES + 2 * slots.CODE_PAIRS == slots.CELLS


def test_gauges_that_only_some_rows_have_are_reset_with_their_worker() -> None:
    assert {slots.PROBES, slots.RETRIES_ACTIVE} <= set(slots.GAUGES)
    assert not {slots.ATTEMPTS, slots.ATTEMPT_FAILURES} & set(slots.GAUGES)


def test_a_listener_counts_datagrams_where_only_endpoints_count_otherwise() -> None:
    datagrams = [value for name, value in vars(slots).items() if name.startswith("DATAGRAMS_")]
    of_endpoints = (slots.CONNECT_FAILURES, slots.CONNECT_TIMEOUTS, slots.REPLAYS, slots.CONNECT_MICROSECONDS)
    assert len(datagrams) == len(set(datagrams))
    assert set(datagrams) <= {*of_endpoints, slots.CONNECTS}
    assert not set(datagrams) & set(slots.GAUGES)


def test_a_row_of_the_dns_server_has_its_cells_to_itself() -> None:
    own = [slots.DNS_TRUNCATED, slots.DNS_MALFORMED, slots.DNS_RATE_LIMITED, slots.DNS_NOT_SENT, slots.DNS_UNCACHED]
    own += [slots.DNS_TYPES + index for index in range(len(slots.DNS_TYPE_NUMBERS) + 1)]
    own += [slots.DNS_RCODES + index for index in range(len(slots.DNS_RCODE_NUMBERS) + 1)]
    own += [slots.BUCKETS + index for index in range(len(slots.BUCKET_BOUNDS) + 1)]
    own += [slots.ACTIVE, slots.CONNECTIONS_TOTAL, slots.CONNECTIONS_ACTIVE, slots.BYTES_IN, slots.BYTES_OUT]
    own += [slots.OVERFLOWS, slots.REQUESTS, slots.DURATION_MICROSECONDS]
    assert len(own) == len(set(own))
    assert max(own) < slots.CELLS
    assert set(own) & set(slots.GAUGES) == {slots.ACTIVE, slots.CONNECTIONS_ACTIVE}


# Sizes and numbers of rows; the worker's own cells lie where other rows keep code pairs.
_NOT_CELLS = {
    "CELLS",
    "CELL_SIZE",
    "SLOT_SIZE",
    "MAX_WORKERS",
    "SLOTS_PER_WORKER",
    "SHARED_BLOCKS",
    "BUCKETS",
    "CODES",
    "CODE_PAIRS",
    "WORKER_SLOT",
}


def test_totals_add_up_what_all_workers_counted() -> None:
    table = make_table()
    table.slot(0, 1).count_request(200, 1500, 10, 100)
    table.slot(1, 1).count_request(404, 700, 20, 200)
    table.slot(1, 1).count_request(200, 700, 30, 300)

    cells, codes = table.totals(1)

    assert codes == {200: 2, 404: 1}
    assert (cells[slots.REQUESTS], cells[slots.BYTES_IN], cells[slots.BYTES_OUT]) == (3, 60, 600)
    assert cells[slots.DURATION_MICROSECONDS] == 2900


def test_a_gauge_that_one_worker_raised_and_another_lowered_is_their_sum() -> None:
    table = make_table()
    table.slot(0, 1).add(slots.ACTIVE, -2)
    table.slot(1, 1).add(slots.ACTIVE, 5)
    assert table.totals(1)[0][slots.ACTIVE] == 3
    assert table.read(1)[0][slots.ACTIVE] == -2


def test_a_table_grows_for_everyone_who_has_mapped_it() -> None:
    fd = os.memfd_create("cells")
    os.ftruncate(fd, slots.table_size(3, 4))
    mine, other = Table(fd, 1, 4), Table(fd, 1, 4)
    os.close(fd)
    assert (mine.workers, mine.blocks) == (1, 3)
    late = other.slot(2, 1)
    late.add(slots.ACTIVE, 5)
    assert mine.total(1, slots.ACTIVE) == 0

    other.grow(3)
    other.grow(2)

    assert (mine.workers, mine.total(1, slots.ACTIVE), len(mine.read(1))) == (3, 5, 3)
    assert mine.totals(1)[0][slots.ACTIVE] == 5
    with pytest.raises(ValueError, match="room for 3 workers, not for 4"):
        mine.grow(4)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(100, 130)), max_size=200))
def test_no_request_is_lost_however_many_codes_occur(requests: list[tuple[int, int]]) -> None:
    table = make_table()
    for worker, code in requests:
        table.slot(worker, 2).count_request(code, 1, 0, 0)

    cells, codes = table.totals(2)

    assert sum(codes.values()) == cells[slots.REQUESTS] == len(requests)
    expected = Counter(code for _, code in requests)
    assert all(count <= expected[code] for code, count in codes.items() if code)
    # Up to 15 codes have a pair each, so nothing is lumped together.
    if len({code for _, code in requests}) < slots.CODE_PAIRS:
        assert codes == dict(expected)


@given(st.integers(0, 200_000_000))
def test_a_duration_falls_into_the_first_bucket_whose_bound_it_does_not_exceed(microseconds: int) -> None:
    table = make_table()
    table.slot(0, 1).count_request(200, microseconds, 0, 0)
    cells = table.totals(1)[0]
    buckets = cells[slots.BUCKETS : slots.CODES]
    expected = sum(1 for bound in slots.BUCKET_BOUNDS if microseconds > round(bound * 1_000_000))
    assert buckets.index(1) == expected
    assert sum(buckets) == 1


def test_zero_clears_one_row_of_one_worker_or_some_of_its_cells() -> None:
    table = make_table()
    for worker in (0, 1):
        table.slot(worker, 1).count_request(200, 1, 1, 1)
        table.slot(worker, 1).add(slots.ACTIVE, 1)

    table.zero(0, 1, slots.GAUGES)
    assert table.read(1)[0][slots.ACTIVE] == 0
    assert table.read(1)[0][slots.REQUESTS] == 1

    table.zero(0, 1)
    assert not any(table.read(1)[0])
    assert table.read(1)[1][slots.ACTIVE] == 1


def test_a_row_outside_the_table_is_refused() -> None:
    table = make_table(workers=2, rows=4)
    for worker, number in [(2, 0), (-1, 0), (0, 4), (0, -1)]:
        with pytest.raises(IndexError, match="outside the table"):
            table.slot(worker, number)
    with pytest.raises(IndexError, match="outside the table"):
        table.totals(4)
    with pytest.raises(IndexError, match="no cell 64"):
        table.zero(0, 0, [64])


def test_a_file_smaller_than_the_table_is_refused() -> None:
    fd = os.memfd_create("cells")
    os.ftruncate(fd, slots.table_size(1, 1))
    with pytest.raises(ValueError, match="the statistics table needs 3072"):
        Table(fd, 1, 2)
    os.close(fd)


def test_shared_words_are_the_same_for_every_mapping_and_change_only_as_expected() -> None:
    fd = os.memfd_create("cells")
    os.ftruncate(fd, slots.table_size(2, 4))
    mine, other = Table(fd, 2, 4), Table(fd, 2, 4)
    os.close(fd)
    word, same = mine.shared(1), other.shared(1)

    assert word.add(5, 3) == 3
    assert not same.swap(5, 2, 9)
    assert same.swap(5, 3, 2**64 - 1)
    assert word.load(5) == 2**64 - 1
    assert word.add(5, 1) == 0
    assert word.load(0) == mine.shared(2).load(5) == mine.total(1, 5) == 0
    with pytest.raises(IndexError, match="no word 64"):
        word.load(64)
    with pytest.raises(IndexError, match="outside the table"):
        mine.shared(4)


def test_clearing_a_row_clears_all_blocks_and_its_shared_words() -> None:
    table = make_table()
    for worker in (0, 1):
        table.slot(worker, 1).add(slots.REQUESTS, 7)
    for row in (1, 2):
        table.shared(row).add(3, 1)

    table.clear(1)

    assert table.totals(1)[0][slots.REQUESTS] == table.shared(1).load(3) == 0
    assert table.shared(2).load(3) == 1
