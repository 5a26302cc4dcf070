from __future__ import annotations

from proxy.control.affinity import core_of


def test_worker_n_runs_on_the_n_th_core_the_program_may_use() -> None:
    assert [core_of(worker, {7, 2, 4}) for worker in range(5)] == [2, 4, 7, 2, 4]
