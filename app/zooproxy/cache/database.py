"""The index's database: where it is, how a transaction begins, what its failures are called.

Only SQLite now. Another database is another branch of ``_engine``: whoever reads and writes sees ``Database`` alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from zooproxy.cache import schema
from zooproxy.cache.sqlite import BUSY_SECONDS, SqliteModule, sound_library
from zooproxy.errors import CacheError, OutOfSpace, SettingsError

_CONNECTIONS = 8
_BEGIN = "zooproxy_begin"


class Database:
    """Transactions on one database, each ended by the context that began it: committed, or rolled back on an error.

    Built by ``open_database``, closed there too.
    """

    def __init__(self, engine: AsyncEngine, busy_seconds: float) -> None:
        self._readers = engine
        self._writers = engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        self._busy_seconds = busy_seconds
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that sees one state of the database throughout; it must not write.

        Raises:
            CacheError: the database cannot be read.
        """
        with _database_errors():
            async with self._readers.begin() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that holds the write lock from its beginning, so that what it reads it may act upon.

        Writers of this process take turns in the order they came: SQLite's own waiting is a lottery.

        Raises:
            CacheError: another process has held the lock for longer than the time to wait, or the write failed.
            OutOfSpace: the disk is full.
        """
        with _database_errors():
            async with self._take_turn(), self._writers.begin() as connection:
                yield connection

    @asynccontextmanager
    async def _take_turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._busy_seconds):
                await self._turn.acquire()
        except TimeoutError as error:
            raise CacheError("the database is busy with other writes; try again") from error
        try:
            yield
        finally:
            self._turn.release()


@asynccontextmanager
async def open_database(url: str, *, busy_seconds: float = BUSY_SECONDS) -> AsyncIterator[Database]:
    """The database at ``url`` (``sqlite:////data/zooproxy.sqlite3``), made if need be and migrated.

    ``busy_seconds`` is how long a transaction waits for another's lock.

    Raises:
        SettingsError: the URL names no database that can be used, or the SQLite library is too old.
        DatabaseTooNew: a later version of zooproxy has migrated it.
        CacheError: it cannot be opened.
    """
    engine = _engine(url, busy_seconds)
    try:
        database = Database(engine, busy_seconds)
        await _bring_up_to_date(database)
        yield database
    finally:
        # aiosqlite's threads are not daemons: a connection left open keeps the process from ending.
        await engine.dispose()


async def _bring_up_to_date(database: Database) -> None:
    async with database.read() as connection:
        if await connection.run_sync(schema.is_current):
            return
    async with database.write() as connection:
        # Asked again under the lock: another process that starts now may have migrated meanwhile.
        if not await connection.run_sync(schema.is_current):
            await connection.run_sync(schema.migrate)


def _engine(url: str, busy_seconds: float) -> AsyncEngine:
    file = _database_file(url)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError("the directory of DATABASE_URL cannot be made; check its permissions") from error
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(file)),
        module=SqliteModule(sound_library(), busy_seconds),
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=busy_seconds,
    )
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _database_file(url: str) -> Path:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise SettingsError("DATABASE_URL is no URL; an example is sqlite:////data/zooproxy.sqlite3") from error
    if parsed.drivername not in {"sqlite", "sqlite+aiosqlite"}:
        raise SettingsError("DATABASE_URL must name an SQLite database: sqlite:////data/zooproxy.sqlite3")
    if parsed.host is not None or parsed.query or parsed.database in {None, "", ":memory:"}:
        raise SettingsError("DATABASE_URL must name a plain file after three slashes: sqlite:////data/zooproxy.sqlite3")
    return Path(str(parsed.database))


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))


@contextmanager
def _database_errors() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise _translate(error) from error
    except SQLAlchemyError as error:
        raise CacheError("the database failed; see the log") from error


def _translate(error: DBAPIError) -> CacheError:
    name = getattr(error.orig, "sqlite_errorname", None) or "unknown"
    if name.startswith("SQLITE_FULL"):
        return OutOfSpace("no room left for the database; free space in the data directory")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return CacheError("the database is locked by another process; end that process or try again")
    return CacheError(f"the database failed ({name}); check the file that DATABASE_URL names")
