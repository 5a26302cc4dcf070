"""hivemesh without processes: the data plane of `proxy.control.embedded` on an event loop in a thread.

It starts in milliseconds, so a test can have a proxy of its own; what belongs to processes (signals, workers, the admin
API) needs the real program of program.py.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import uvloop
from waiting import PATIENCE

from proxy.control.embedded import Embedded
from proxy.control.messages import Seen, Tap

T = TypeVar("T")

# Only a failing test ever waits this long.
TIMEOUT = 20.0 * PATIENCE


class Inside:
    """Serving once it is made; raises what Embedded raises for a configuration that it refuses."""

    def __init__(self, config_text: str) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hivemesh", daemon=True)
        self._thread.start()
        try:
            self.embedded: Embedded = self._call(_started(config_text))
        except BaseException:
            self._end_loop()
            raise

    def apply(self, config_text: str) -> None:
        """Put another configuration in force."""
        self._call(self.embedded.apply(config_text))

    def tap(self, seen: Callable[[Seen], None], **wanted: Any) -> Callable[[], None]:
        """Show requests as they end: `seen` is called in the loop's thread. The result ends that."""
        end: Callable[[], None] = self._call(self.embedded.tap(Tap(number=0, **wanted), seen))
        return lambda: self._call(_called(end))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is served inside the block, so whatever peers send meanwhile is found all at once."""
        is_paused, go_on = threading.Event(), threading.Event()

        def pause() -> None:
            is_paused.set()
            go_on.wait(TIMEOUT)

        self._loop.call_soon_threadsafe(pause)
        assert is_paused.wait(TIMEOUT)
        try:
            yield
        finally:
            go_on.set()

    def stop(self) -> None:
        self._call(self.embedded.__aexit__(None, None, None))
        del self.embedded
        # What the data plane holds in cycles goes while its loop is still there, and not under another test.
        self._call(_collect_garbage())
        self._end_loop()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT)


async def _collect_garbage() -> None:
    gc.collect()


async def _started(config_text: str) -> Embedded:
    return await Embedded(config_text, ephemeral=False).__aenter__()


async def _called(work: Callable[[], None]) -> None:
    work()
