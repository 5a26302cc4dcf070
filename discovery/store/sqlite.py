"""Registrations on disk, in one SQLite file.

Everything happens in one thread of its own, so that waiting for the disk stops nothing. A write is one transaction in
WAL mode with `synchronous=FULL`: when it returns, the records survive the loss of power, and a process killed at any
moment leaves all of a transaction or nothing. The catalog hands over whatever waits at once, so a burst of
registrations shares one wait for the disk.

One table of records by kind and key, each a JSON text, so that the file can be read with the `sqlite3` shell.
`user_version` is the version of this layout; a file of a later version is left alone.
Two processes may have the file open (an upgrade, a successor whose predecessor is still ending): who finds it busy
waits a little.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from discovery.changes import StoreFailed
from discovery.overlay import Edit, Record, RecordKey
from discovery.store import CannotOpen, Stored

LAYOUT = 1
_BUSY = 5.0  # seconds that another process may take for its transaction

_CREATE = """
    CREATE TABLE IF NOT EXISTS record (
        number INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        id TEXT NOT NULL,
        value TEXT NOT NULL,
        UNIQUE (kind, name, id)
    );
    CREATE TABLE IF NOT EXISTS progress (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        registry_index INTEGER NOT NULL
    );
"""
# An update keeps the row's number, so records come back in the order in which their keys came up first.
_PUT = """
    INSERT INTO record (kind, name, id, value) VALUES (?, ?, ?, ?)
    ON CONFLICT (kind, name, id) DO UPDATE SET value = excluded.value
"""
_DELETE = "DELETE FROM record WHERE kind = ? AND name = ? AND id = ?"
_SELECT = "SELECT kind, name, id, value FROM record ORDER BY number"
_PROGRESS = """
    INSERT INTO progress (one, registry_index) VALUES (1, ?)
    ON CONFLICT (one) DO UPDATE SET registry_index = max(registry_index, excluded.registry_index)
"""

T = TypeVar("T")


class SqliteStore:
    def __init__(self, path: str) -> None:
        """`path` is relative to the working directory. Nothing is opened yet."""
        self.path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._connection: sqlite3.Connection | None = None

    async def load(self) -> Stored:
        try:
            return await self._in_thread(self._load)
        except RuntimeError as error:  # the system starts no further thread
            raise CannotOpen(f"registry.store: {self.path} cannot be used: {error}") from None

    async def write(self, edits: Sequence[Edit], index: int) -> None:
        removed = [edit.key for edit in edits if edit.record is None]
        last = {edit.key: edit.record for edit in edits}
        puts = [(*key, msgspec.json.encode(record).decode()) for key, record in last.items() if record is not None]
        await self._in_thread(lambda: self._write(removed, puts, index))

    async def close(self) -> None:
        await self._in_thread(self._close)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # --- in the thread ----------------------------------------------------------------------------------------------

    def _load(self) -> Stored:
        try:
            connection = self._open()
            rows = connection.execute(_SELECT).fetchall()
            progress = connection.execute("SELECT registry_index FROM progress").fetchone()
        except sqlite3.Error as error:
            raise CannotOpen(f"registry.store: {self.path} cannot be used: {_told(error)}") from None
        edits = []
        for kind, name, id, value in rows:
            try:
                record = msgspec.json.decode(value, type=Record)
            except msgspec.MsgspecError as error:
                what = f"{kind} {name} {id}".rstrip()
                raise CannotOpen(f"registry.store: {self.path}: the record of {what} is damaged: {error}") from None
            edits.append(Edit(RecordKey(kind, name, id), record))
        return Stored(edits, progress[0] if progress is not None else 0)

    def _open(self) -> sqlite3.Connection:
        directory = Path(self.path).parent
        if not directory.is_dir():
            raise CannotOpen(f"registry.store: {self.path} cannot be used: there is no directory {directory}")
        connection = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None)
        try:
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found > LAYOUT:
                raise CannotOpen(
                    f"registry.store: {self.path} was written by a later version "
                    f"(its layout is {found}, this one knows {LAYOUT})"
                )
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            (damage,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if damage != "ok":
                raise sqlite3.DatabaseError(damage)
            connection.execute("BEGIN IMMEDIATE")  # also finds out whether it can be written to
            for statement in _CREATE.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={LAYOUT}")
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _write(self, removed: Sequence[RecordKey], puts: Sequence[tuple[str, ...]], index: int) -> None:
        connection = self._connection
        assert connection is not None, "the store is not open"
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                # A record that was removed and put again has its place behind the others, as in the registry.
                connection.executemany(_DELETE, removed)
                connection.executemany(_PUT, puts)
                connection.execute(_PROGRESS, (index,))
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreFailed(f"{self.path} cannot be written to: {_told(error)}") from None

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _told(error: sqlite3.Error) -> str:
    return str(error).strip() or type(error).__name__
