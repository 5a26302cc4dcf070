"""Calls every public method of every compiled class with None, in a process of its own: `python nothing.py MODULE...`.

Compiled code reads an attribute of None only under nonecheck=True without a segmentation fault, and a macro such as
PyBytes_AS_STRING never looks what it is given. So each argument is None, or 0 where a number has to stand, in every
combination; on an object as it is made, and on one whose attributes were never set (`__new__` alone). The name of the
call is written to standard error before it is made: the last line names the one that ended the process.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from proxy.kernel.cells import Table
from proxy.kernel.limits import KeyedLimits
from proxy.stats.slots import table_size

ROWS = 256
MOST = 7  # arguments that are tried in every combination; more than that are all None or all 0
TYPES_OF_CODE = ("cython_function_or_method", "builtin_function_or_method", "method_descriptor", "function")


def classes(module: ModuleType) -> Iterator[type]:
    for each in vars(module).values():
        if isinstance(each, type) and each.__module__ == module.__name__:
            yield each


def functions(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, each in vars(module).items():
        if type(each).__name__ in TYPES_OF_CODE and getattr(each, "__module__", "") == module.__name__:
            yield name, each


def table() -> Table:
    fd = os.memfd_create("statistics")
    os.ftruncate(fd, table_size(1, ROWS))
    return Table(fd, 1, ROWS)


# Windows into a table, which nothing but a table makes.
OF_TABLES: dict[str, Callable[[], object]] = {
    "Table": table,
    "Slot": lambda: table().slot(0, 1),
    "Shared": lambda: table().shared(1),
    "KeyedLimits": lambda: KeyedLimits(table()),
}


def objects(cls: type) -> Iterator[object]:
    """An object of it without attributes, and one that was made, where that needs nothing but None and 0."""
    if cls.__name__ in OF_TABLES:
        yield OF_TABLES[cls.__name__]()
        return
    for make in (lambda arguments: cls.__new__(cls, *arguments), lambda arguments: cls(*arguments)):
        for arguments in combinations(4):
            try:
                yield make(arguments)
            except Exception:
                continue
            break


def combinations(most: int) -> Iterator[tuple[Any, ...]]:
    for count in range(most + 1):
        yield from itertools.product((None, 0), repeat=count)
    for count in range(most + 1, 13):
        yield (None,) * count
        yield (0,) * count


def takes(call: Callable[..., Any]) -> Iterator[tuple[Any, ...]]:
    """Arguments in all combinations, of the number that the call takes where it says so."""
    try:
        count = len(inspect.signature(call).parameters)
    except (TypeError, ValueError):
        yield from combinations(MOST)
        return
    if count > MOST:
        yield (None,) * count
        yield (0,) * count
    else:
        yield from itertools.product((None, 0), repeat=count)


def try_all(name: str, call: Callable[..., Any], counts: dict[str, int]) -> None:
    for arguments in takes(call):
        os.write(2, f"{name}{arguments}\n".encode())
        try:
            result = call(*arguments)
            if inspect.isgenerator(result):
                next(result, None)
        except Exception as problem:
            counts[type(problem).__name__] = counts.get(type(problem).__name__, 0) + 1
        else:
            counts["answered"] = counts.get("answered", 0) + 1


def main(modules: list[str]) -> None:
    counts: dict[str, int] = {}
    for module in map(importlib.import_module, modules):
        for name, function in functions(module):
            try_all(f"{module.__name__}.{name}", function, counts)
        for cls in classes(module):
            for name in dir(cls):
                if name.startswith("_") and name not in ("__init__", "__len__", "__repr__"):
                    continue
                for each in objects(cls):
                    try:
                        member = getattr(each, name)
                    except Exception:
                        continue
                    if callable(member):
                        try_all(f"{cls.__module__}.{cls.__qualname__}.{name}", member, counts)
                    else:
                        os.write(2, f"{cls.__qualname__}.{name} = None\n".encode())
                        try:
                            setattr(each, name, None)
                        except Exception:
                            continue
    os.write(2, b"collecting\n")
    gc.collect()
    print(sum(counts.values()), counts)


if __name__ == "__main__":
    main(sys.argv[1:])
