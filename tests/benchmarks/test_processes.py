import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compare.processes import (
    TICKS_PER_S,
    Started,
    descendants,
    parse_smaps_rollup,
    parse_stat,
    wait_until,
)

ROLLUP = """55d9be950000-7ffea35bc000 ---p 00000000 00:00 0                          [rollup]
Rss:                2156 kB
Pss:                 738 kB
Pss_Dirty:           152 kB
Shared_Clean:       1624 kB
Shared_Dirty:          0 kB
Private_Clean:       380 kB
Private_Dirty:       152 kB
"""


@given(st.text(alphabet="abc ()", max_size=15))
def test_the_name_of_a_program_does_not_move_the_fields(name):
    fields = "R 41 5 6 7 8 9 10 11 12 13 200 100 30 20 20 0 1 0 82683"
    stat = parse_stat(f"4711 ({name}) {fields}")

    assert stat.parent == 41
    assert (stat.user, stat.system) == (200 / TICKS_PER_S, 100 / TICKS_PER_S)
    assert stat.reaped == pytest.approx(50 / TICKS_PER_S)


def test_memory_is_read_in_bytes():
    memory = parse_smaps_rollup(ROLLUP)

    assert (memory.pss, memory.rss, memory.private) == (738 * 1024, 2156 * 1024, 532 * 1024)


def test_a_tree_holds_children_of_children_and_no_strangers():
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 13: 10, 20: 1, 21: 20}

    assert sorted(descendants(10, parents)) == [10, 11, 12, 13]
    assert descendants(12, parents) == [12]


CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "print(1, flush=True); import time; time.sleep(60)"])
print("two", flush=True)
end = time.process_time() + 0.05
while time.process_time() < end: pass
print("burnt", flush=True)
time.sleep(60)
"""


def test_the_cpu_of_a_tree_is_counted_finer_than_a_tick_and_ending_it_leaves_no_process(tmp_path):
    core = min(os.sched_getaffinity(0))
    with Started((sys.executable, "-c", CHILD), core, tmp_path, tmp_path / "output") as started:
        assert wait_until(lambda: {"1", "two", "burnt"} <= set(started.last_words().split()), 20)
        tree = started.pids()
        assert len(tree) == 2
        assert started.cpu() >= 0.05
        assert sorted(started.memory()) == sorted(tree)
        assert sum(started.user_and_system()) == pytest.approx(started.cpu(), abs=len(tree) * 2.5 / TICKS_PER_S)
    assert wait_until(lambda: not any(os.path.exists(f"/proc/{pid}/exe") for pid in tree), 5)


def test_what_a_process_said_before_it_ended_can_be_read(tmp_path):
    core = min(os.sched_getaffinity(0))
    with Started((sys.executable, "-c", "print('no such option')"), core, tmp_path, tmp_path / "output") as started:
        assert wait_until(lambda: started.has_ended, 20)
        assert started.last_words() == "no such option"
