"""SQLite set up to keep what it acknowledges: which library, and how each connection is opened.

Three defaults lose data and are all turned round here. Transactions of Python's driver begin deferred, so that two
read-modify-write cycles overwrite each other without an error: the driver begins none (``isolation_level=None``),
``cache.database`` begins its own. WAL with ``synchronous=NORMAL`` forgets committed rows at a power cut: ``FULL``. And
SQLite 3.7.0 to 3.51.2 can corrupt a WAL database when two connections write and checkpoint at once (the WAL-reset bug):
an older library is refused.

Only one copy of the library may open a database in one process: POSIX locks belong to the process, so a second copy
(Python's own ``sqlite3``, say), or merely opening and closing the file, would drop the locks that the first one holds.
"""

from __future__ import annotations

import asyncio
import importlib
import sqlite3
import time
from functools import partial
from types import ModuleType
from typing import Any, Self

import aiosqlite
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_connection, AsyncAdapt_aiosqlite_dbapi
from sqlalchemy.util.concurrency import await_

from zooproxy.errors import SettingsError

OLDEST_SOUND = (3, 51, 3)
BUSY_SECONDS = 10.0
_ROWS_PER_FETCH = 64


def sound_library() -> ModuleType:
    """The DB-API module over a SQLite without the WAL-reset bug: ``pysqlite3``, else Python's own if new enough.

    Raises:
        SettingsError: there is none; the message says what to install.
    """
    try:
        library = importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        library = sqlite3
    return require_sound(library)


def require_sound(library: ModuleType) -> ModuleType:
    """``library``, if its SQLite is new enough."""
    if library.sqlite_version_info < OLDEST_SOUND:
        wanted = ".".join(map(str, OLDEST_SOUND))
        raise SettingsError(
            f"SQLite {library.sqlite_version} can corrupt a database in WAL mode; SQLite {wanted} or later is needed:"
            " install the pysqlite3 package (it is part of zooproxy[server] on Linux)"
        )
    return library


class SqliteModule(AsyncAdapt_aiosqlite_dbapi):
    """What SQLAlchemy takes for the ``aiosqlite`` module, over the library given here.

    aiosqlite itself needs no more than a function that connects; the error classes must be those of that library.
    """

    def __init__(self, library: ModuleType, busy_seconds: float) -> None:
        self._library = library
        self._busy_seconds = busy_seconds
        super().__init__(aiosqlite, library)
        self.Error = library.Error
        self.DatabaseError = library.DatabaseError
        self.IntegrityError = library.IntegrityError
        self.NotSupportedError = library.NotSupportedError
        self.OperationalError = library.OperationalError
        self.ProgrammingError = library.ProgrammingError
        self.sqlite_version = library.sqlite_version
        self.sqlite_version_info = library.sqlite_version_info

    def connect(self, *arg: Any, **kw: Any) -> AsyncAdapt_aiosqlite_connection:
        """Follows the dialect's own ``connect``; the arguments are those of the library's ``connect``."""
        options = {**kw, "timeout": self._busy_seconds, "isolation_level": None}
        connector = partial(_connect, self._library, arg, options)
        connection: Any = _ThreadedConnection(connector, _ROWS_PER_FETCH)
        return AsyncAdapt_aiosqlite_connection(self, await_(connection.opened()))


class _ThreadedConnection(aiosqlite.Connection):
    """A connection whose thread is known to have ended when it could not be opened.

    aiosqlite asks that thread to stop and does not wait; it then reports to an event loop that may be closed by now.
    """

    _stopped: asyncio.Future[None] | None = None

    def stop(self) -> asyncio.Future[None] | None:
        self._stopped = super().stop()
        return self._stopped

    async def opened(self) -> Self:
        try:
            await self
        except BaseException:
            if self._stopped is not None:
                await self._stopped
            raise
        return self


def _connect(library: ModuleType, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Called in the connection's own thread."""
    connection = library.connect(*arguments, **options)
    try:
        _enter_wal(connection, library, time.monotonic() + options["timeout"])
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _enter_wal(connection: Any, library: ModuleType, deadline: float) -> None:
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except library.OperationalError as error:
            # The busy timeout does not cover the change of mode: two processes that start on a new file meet here.
            if error.sqlite_errorcode != library.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
