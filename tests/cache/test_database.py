"""Transactions: nothing acknowledged is lost, nobody waits for ever, every failure has a type."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import text

from zooproxy.cache.database import Database, open_database
from zooproxy.errors import CacheError, OutOfSpace, SettingsError

HOLD_THE_WRITE_LOCK = """
import sys
from pysqlite3 import dbapi2 as sqlite

connection = sqlite.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""

OPEN_AND_END = """
import asyncio, sys
from zooproxy.cache.database import open_database

async def main():
    async with open_database(sys.argv[1]) as database:
        async with database.read(), database.read():
            pass
    print("alembic" in sys.modules)

asyncio.run(main())
"""


@contextmanager
def locked_by_another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD_THE_WRITE_LOCK, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        yield holder
        holder.communicate()


async def make_counter(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE counter (value INTEGER)"))
        await connection.execute(text("INSERT INTO counter VALUES (0)"))


async def increment(database: Database) -> None:
    async with database.write() as connection:
        value = (await connection.execute(text("SELECT value FROM counter"))).scalar_one()
        await connection.execute(text("UPDATE counter SET value = :value"), {"value": value + 1})


async def count(database: Database) -> int:
    async with database.read() as connection:
        return int((await connection.execute(text("SELECT value FROM counter"))).scalar_one())


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 10_000)]
)
async def test_every_connection_is_set_up_for_durability(database: Database, pragma: str, value: object) -> None:
    async with database.read() as first, database.read() as second, database.write() as third:
        for connection in (first, second, third):
            assert (await connection.execute(text(f"PRAGMA {pragma}"))).scalar_one() == value


async def test_twenty_writers_at_once_lose_no_update(database: Database) -> None:
    await make_counter(database)
    await asyncio.gather(*(increment(database) for _ in range(20)))
    assert await count(database) == 20


async def test_twenty_writers_through_two_pools_lose_no_update(database: Database, url: str) -> None:
    await make_counter(database)
    async with open_database(url) as other:
        await asyncio.gather(*(increment(each) for each in (database, other) for _ in range(10)))
    assert await count(database) == 20


async def test_write_left_by_an_error_is_rolled_back(database: Database) -> None:
    await make_counter(database)

    async def fail() -> None:
        async with database.write() as connection:
            await connection.execute(text("UPDATE counter SET value = 7"))
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        await fail()
    assert await count(database) == 0


async def test_write_cancelled_is_rolled_back_and_frees_the_lock(database: Database) -> None:
    await make_counter(database)
    writing = asyncio.Event()

    async def stall() -> None:
        async with database.write() as connection:
            await connection.execute(text("UPDATE counter SET value = 7"))
            writing.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stall())
    await writing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await increment(database)
    assert await count(database) == 1


async def test_read_sees_one_state_while_another_writes(database: Database) -> None:
    await make_counter(database)
    async with database.read() as connection:
        before = (await connection.execute(text("SELECT value FROM counter"))).scalar_one()
        await increment(database)
        assert (await connection.execute(text("SELECT value FROM counter"))).scalar_one() == before
    assert await count(database) == before + 1


async def test_database_locked_by_another_process_reads_go_on_and_writes_say_so(tmp_path: Path, url: str) -> None:
    async with open_database(url, busy_seconds=0.1) as database:
        await make_counter(database)
        with locked_by_another_process(tmp_path / "zooproxy.sqlite3"):
            assert await count(database) == 0
            with pytest.raises(CacheError, match="locked by another process"):
                await increment(database)
        await increment(database)
        assert await count(database) == 1


async def test_new_database_locked_by_another_process_is_reported(tmp_path: Path, url: str) -> None:
    with (
        locked_by_another_process(tmp_path / "zooproxy.sqlite3"),
        pytest.raises(CacheError, match="locked by another process"),
    ):
        async with open_database(url, busy_seconds=0.1):
            pass


async def test_new_database_locked_by_another_process_opens_when_that_lets_go(tmp_path: Path, url: str) -> None:
    async def start() -> None:
        async with open_database(url) as database:
            await make_counter(database)

    with locked_by_another_process(tmp_path / "zooproxy.sqlite3") as holder:
        assert holder.stdin is not None
        await asyncio.gather(start(), asyncio.to_thread(holder.stdin.close))
        holder.stdin = None


async def test_writer_that_waits_too_long_for_its_turn_is_told(url: str) -> None:
    async with open_database(url, busy_seconds=0.1) as database:
        await make_counter(database)
        async with database.write():
            with pytest.raises(CacheError, match="busy"):
                await increment(database)


async def test_reader_that_waits_too_long_for_a_connection_is_told(url: str) -> None:
    async with open_database(url, busy_seconds=0.05) as database, asyncio.TaskGroup() as group:
        release = asyncio.Event()
        full = asyncio.Barrier(9)

        async def occupy() -> None:
            async with database.read():
                await full.wait()
                await release.wait()

        for _ in range(8):
            group.create_task(occupy())
        await full.wait()
        with pytest.raises(CacheError, match="database failed"):
            await count(database)
        release.set()


async def test_database_that_may_not_grow_is_out_of_space(database: Database) -> None:
    async with database.write() as connection:
        pages = (await connection.execute(text("PRAGMA page_count"))).scalar_one()
        await connection.execute(text(f"PRAGMA max_page_count = {pages}"))

    async def fill() -> None:
        async with database.write() as connection:
            await connection.execute(text("CREATE TABLE large AS SELECT zeroblob(1000000)"))

    with pytest.raises(OutOfSpace, match="free space"):
        await fill()


async def test_wrong_statement_is_a_typed_error_with_its_cause(database: Database) -> None:
    with pytest.raises(CacheError, match="SQLITE_ERROR") as failure:
        await count(database)
    assert isinstance(failure.value.__cause__.__cause__, sqlite.OperationalError)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "zooproxy.sqlite3",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite://data/zooproxy.sqlite3",
        "sqlite:////data/zooproxy.sqlite3?mode=ro",
        "postgresql://user:secret@db/zooproxy",
        "mysql://db:port/zooproxy",
    ],
)
async def test_url_that_names_no_sqlite_file_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL") as refusal:
        async with open_database(url):
            pass
    assert "secret" not in str(refusal.value)


async def test_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="directory of DATABASE_URL"):
        async with open_database(f"sqlite:///{tmp_path}/file/below/zooproxy.sqlite3"):
            pass


async def test_directory_in_place_of_the_file_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="SQLITE_CANTOPEN"):
        async with open_database(f"sqlite:///{tmp_path}"):
            pass


def test_process_that_closed_its_database_ends_and_a_second_start_imports_no_alembic(url: str) -> None:
    command = [sys.executable, "-c", OPEN_AND_END, url]
    starts = [subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout for _ in range(2)]
    assert starts == ["True\n", "False\n"]
