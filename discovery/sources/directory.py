"""A directory with files of services, watched.

Looked at twice a second (see fingerprints.py for why), in a thread, because a network file system may take its time.
What has to be read is read by `read`, which the proxy brings, because only it knows the configuration's language; it
does so in another process, so that a large file delays nobody. What goes wrong is a problem of the source and never
an empty service.
"""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence

from discovery.changes import DIRECTORY, ChangeError, Replace
from discovery.config import FollowedName
from discovery.model import Service
from discovery.sources import Reports
from discovery.sources.fingerprints import Fingerprint, fingerprint_of
from discovery.sources.folder import MAX_FILES, Content, Folder, is_service_file

INTERVAL = 0.5  # seconds; a change is read within two of them

Read = Callable[[Sequence[str]], Awaitable[Mapping[str, Content]]]  # paths -> what they say
Follow = Callable[[str, Sequence[FollowedName]], None]  # a source, and all endpoints of it that are names


class DirectorySource:
    def __init__(
        self, catalog: Reports, path: str, read: Read, follow: Follow | None = None, interval: float = INTERVAL
    ) -> None:
        self.source = DIRECTORY + path
        self.folder = Folder()
        self.was_looked_at = asyncio.Event()
        self._catalog = catalog
        self._path = path
        self._read = read
        self._follow = follow
        self._interval = interval
        self._told: tuple[tuple[Service, ...], tuple[FollowedName, ...]] = ((), ())
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        """Look no more. What it said stays in force; `withdraw` takes it back."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    def withdraw(self) -> None:
        """The directory is not a source any more."""
        self._catalog.report(Replace(source=self.source))
        self._catalog.problem(self.source, None)
        if self._follow is not None:
            self._follow(self.source, ())

    async def look(self) -> None:
        """One look, and what follows from it."""
        folder = self.folder
        try:
            files = await asyncio.to_thread(service_files, self._path)
        except OSError as error:
            folder.fail(f"{self._path} cannot be read: {(error.strerror or str(error)).lower()}; what was known stays")
        else:
            names = folder.look(files)
            if names:
                paths = {os.path.join(self._path, name): name for name in names}
                found = await self._read(list(paths))
                folder.take({name: found[path] for path, name in paths.items() if path in found})
            self._tell()
        self._catalog.problem(self.source, folder.problem)
        self.was_looked_at.set()

    def _tell(self) -> None:
        folder = self.folder
        now = (folder.services, folder.followed)
        if now == self._told:
            return
        try:
            self._catalog.report(Replace(source=self.source, services=folder.services))
        except ChangeError as error:
            folder.fail(f"{error}; what was known stays")
            return
        self._told = now
        if self._follow is not None:
            self._follow(self.source, folder.followed)

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:  # ours; the next look may succeed
                traceback.print_exc()
                self._catalog.problem(self.source, f"{self._path} could not be looked at: {error!r}")
            await asyncio.sleep(self._interval)


def service_files(path: str) -> dict[str, Fingerprint]:
    """The files of services in `path`, links followed, by name. Raises OSError."""
    found = {}
    with os.scandir(path) as entries:
        for entry in entries:
            if not is_service_file(entry.name):
                continue
            try:
                if entry.is_file():
                    found[entry.name] = fingerprint_of(entry.stat())
            except OSError:
                continue  # it was there and is gone, or points nowhere: like one that is not there
            if len(found) > MAX_FILES:
                break  # the folder says what is wrong
    return found
