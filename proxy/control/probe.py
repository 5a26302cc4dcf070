"""Asking the program on disk whether it could take over, before anything is given to it.

`python -m proxy.control.program --probe FORMAT FILE` runs `examine`: the new code must know the format of the
hand-over, be importable as a whole, compiled modules included, and find the configuration valid. One sentence goes to
standard output, and the exit code is 1, when that is not so. The old program starts it as `Probe` and goes on working
meanwhile; whatever it wrote last before it crashed is the reason then.
Standard library only on the old program's side.
"""

from __future__ import annotations

import os
from importlib import import_module

from proxy.control.children import Spawner
from proxy.control.handover import FORMAT

PROGRAM = "proxy.control.program"
LIMIT = 90.0  # seconds: reading a configuration may take its own limit of 60
_MOST_OUTPUT = 64 * 1024
_MODULES = ("proxy.control.agent", "proxy.control.worker", "proxy.dataplane", "proxy.admin.server")


class Probe:
    """The probe of a program. Raises OSError when it cannot be started."""

    def __init__(self, config: str, spawn: Spawner) -> None:
        self._output = os.memfd_create("hivemesh-probe", os.MFD_CLOEXEC)
        try:
            self.pid = spawn(PROGRAM, ["--probe", str(FORMAT), config], [], output=self._output)
        except OSError:
            os.close(self._output)
            raise

    def reason(self, code: int) -> str:
        """Why the new program cannot take over, given the exit code of the probe; empty if it can. Call it once."""
        output = os.pread(self._output, _MOST_OUTPUT, max(0, os.fstat(self._output).st_size - _MOST_OUTPUT))
        os.close(self._output)
        if code == 0:
            return ""
        lines = output.decode(errors="replace").strip().splitlines()
        ending = f"its probe ended with {code}" if code > 0 else f"its probe was ended by signal {-code}"
        return lines[-1].strip() if lines else ending


def examine(arguments: list[str]) -> int:
    """The new program's side. The exit code."""
    reason = _objection(int(arguments[0]), arguments[1])
    if reason:
        print(reason, flush=True)
    return 1 if reason else 0


def _objection(number: int, path: str) -> str:
    if number != FORMAT:
        return f"the new program takes a hand-over of format {FORMAT}, and this one gives format {number}: restart"
    for module in _MODULES:
        try:
            import_module(module)
        except Exception as error:
            return f"the new program cannot be loaded: {module}: {type(error).__name__}: {error}"
    from proxy.config.validate import check

    loaded = check(path)
    if loaded.config is None:
        more = f" (and {len(loaded.problems) - 1} more)" if len(loaded.problems) > 1 else ""
        return f"the configuration is not valid for the new program: {loaded.problems[0]}{more}"
    return ""
