"""The index's database: where it is, how a transaction begins, what its failures are called.

Only SQLite now. Another database is another branch of ``_engine``: whoever reads and writes sees ``Database`` alone.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from zooproxy.cache import schema
from zooproxy.cache.database_file import DatabaseFile
from zooproxy.cache.sqlite import BUSY_SECONDS, SqliteModule, sound_library
from zooproxy.cache.tables import metadata, tensor_indexes
from zooproxy.errors import CacheError, DatabaseDamaged, OutOfSpace, SettingsError

_CONNECTIONS = 8

#: Tables that are read through when the database is opened: all but the large one, which can be made again.
_CHECKED = [table.name for table in metadata.sorted_tables if table is not tensor_indexes]
_RETRY_SECONDS = 0.05
_TICK_NS = 50_000_000  # several ticks of a kernel at 100 Hz
_BEGIN = "zooproxy_begin"


class Database:
    """Transactions on one database, each ended by the context that began it: committed, or rolled back on an error.

    Built by ``open_database``, closed there too.
    """

    def __init__(self, engine: AsyncEngine, busy_seconds: float, file: Path) -> None:
        self._readers = engine
        self._files = (f"{file}-wal", str(file))
        self._writers = engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        self._busy_seconds = busy_seconds
        self._turn = asyncio.Lock()

    def stamp(self) -> tuple[tuple[int, int], ...] | None:
        """Equal stamps: nobody, in any process, has committed in between. None where that can't be told now.

        Every commit writes to the WAL, or to the database when the WAL is folded into it; their times and lengths tell.
        A time that is nearly now may hide a second write within the same tick of the file system's clock.
        """
        found = tuple(_times(file) for file in self._files)
        newest = max(changed for changed, _ in found)
        return found if time.time_ns() - newest > _TICK_NS else None

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

    @contextmanager
    def sole(self, work: str) -> Iterator[bool]:
        """Whether this process is the only one on this database that is at ``work``, while the context lasts."""
        with self._beside(work) as descriptor:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    @contextmanager
    def _beside(self, work: str) -> Iterator[int]:
        try:
            descriptor = os.open(f"{self._files[1]}.{work}", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise CacheError("the directory of the database cannot be written") from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    async def close(self) -> None:
        # aiosqlite's threads are not daemons: a connection left open keeps the process from ending.
        await self._readers.dispose()

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

    One that is damaged is put aside and made anew, empty. ``busy_seconds`` is how long a transaction waits for
    another's lock.

    Raises:
        SettingsError: the URL names no database that can be used, or the SQLite library is too old.
        DatabaseTooNew: a later version of zooproxy has migrated it.
        DatabaseDamaged: it is damaged, and another process has it open.
        CacheError: it cannot be opened.
    """
    with DatabaseFile(_database_file(url)) as file:
        database = await _sound(file, busy_seconds)
        try:
            yield database
        finally:
            await database.close()


async def _sound(file: DatabaseFile, busy_seconds: float) -> Database:
    deadline = time.monotonic() + busy_seconds
    while True:
        if not file.is_alone:
            await file.share(busy_seconds)
        try:
            database = await _opened(file.path, busy_seconds)
        except DatabaseDamaged as error:
            # Looked at once more by whoever is alone with it: another process may have made it anew meanwhile.
            if file.is_alone:
                file.put_aside(error.how)
            elif not file.be_alone():
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)
            continue
        try:
            await file.share(busy_seconds)
        except BaseException:
            await database.close()
            raise
        return database


async def _opened(file: Path, busy_seconds: float) -> Database:
    database = Database(_engine(file, busy_seconds), busy_seconds, file)
    try:
        await _bring_up_to_date(database)
        await _check(database)
    except BaseException:
        await database.close()
        raise
    return database


async def _check(database: Database) -> None:
    async with database.read() as connection:
        for table in _CHECKED:
            found = (await connection.exec_driver_sql(f"PRAGMA quick_check({table})")).scalars().all()
            if found != ["ok"]:
                raise _damaged("quick_check")


async def _bring_up_to_date(database: Database) -> None:
    async with database.read() as connection:
        if await connection.run_sync(schema.is_current):
            return
    async with database.write() as connection:
        # Asked again under the lock: another process that starts now may have migrated meanwhile.
        if not await connection.run_sync(schema.is_current):
            await connection.run_sync(schema.migrate)


def _times(file: str) -> tuple[int, int]:
    """When it was last written (nanoseconds) and its length in bytes; zeros where it is not there."""
    try:
        status = os.stat(file)  # noqa: PTH116  # on every look-up: a Path would cost more than the call
    except FileNotFoundError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _engine(file: Path, busy_seconds: float) -> AsyncEngine:
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
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return _damaged(name)
    if name.startswith("SQLITE_READONLY"):
        return CacheError("the database cannot be written; zooproxy has to be able to write its data directory")
    return CacheError(f"the database failed ({name}); check the file that DATABASE_URL names")


def _damaged(how: str) -> DatabaseDamaged:
    message = (
        f"the database is damaged ({how}); end every zooproxy on this data directory and start one again: it puts the"
        " damaged file aside and writes the index anew"
    )
    return DatabaseDamaged(message, how=how)
