"""Which worker accepts on which socket of a listener.

A listener has sockets numbered from 0, which outlive the workers. Socket n belongs to worker n, and is worker n's as
long as that worker lives and stays. Until it is in service, and where there is no worker n (it died, it is leaving,
or `workers` was lowered), a sibling that is in service accepts for it as well, because the kernel goes on to give
that socket its share of the connections. That two accept on one socket for a moment is harmless.

A unix socket is one socket for all, so nobody has to stand in for anybody.
Pure: it is asked again whenever a worker comes, is ready, leaves or dies.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping


def accepting(sockets: int, staying: Collection[int], in_service: Collection[int]) -> Mapping[int, list[int]]:
    """The sockets of each worker, out of `sockets` of one listener.

    `staying`: workers with a process that is not leaving. `in_service`: those of them that accept already.
    """
    stand_ins = sorted(in_service)
    assigned: dict[int, list[int]] = {worker: [] for worker in staying}
    for number in range(sockets):
        if number in assigned:
            assigned[number].append(number)
        if stand_ins and number not in in_service:
            assigned[stand_ins[number % len(stand_ins)]].append(number)
    return assigned


def accepting_on_one(staying: Collection[int]) -> Mapping[int, list[int]]:
    """The same for a listener with one socket that all share; its numbers are those of the workers."""
    return {worker: [worker] for worker in staying}
